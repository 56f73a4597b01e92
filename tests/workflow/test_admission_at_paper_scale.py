"""Monte Carlo against exact theory for the study of Figures 1a and 1b, at the paper's own scale."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from pipeline_lib.data.admissions import design_matrix, load_admissions
from pipeline_lib.errors import DataError
from pipeline_lib.estimation.inference import holm, p_value
from pipeline_lib.models import MODELS
from pipeline_lib.models.initial_weights import gaussian_weights
from pipeline_lib.models.linear_regression.block import regression_block
from pipeline_lib.study.block import Block, Hardware
from pipeline_lib.study.config import load_study
from pipeline_lib.theory.linear_regression import exact_moments
from pipeline_lib.training.steps import StepPlan


@pytest.fixture(scope="module")
def design(raw_data: list[Path]):
    try:
        return design_matrix(load_admissions(raw_data).frame)
    except DataError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def study(repository: Path):
    raw = yaml.safe_load((repository / "config.yaml").read_text())
    return load_study(raw | {"scale": "paper"}, MODELS)


@pytest.mark.parametrize("name", ["admission", "admission_sweep"])
def test_every_estimate_lies_within_simultaneous_bounds(name, study, design):
    """Every b, step, quantity and estimator is one hypothesis of a single family (Holm)."""
    experiment = study.experiments[name]
    rates = np.array(experiment.learning_rates())
    initial = gaussian_weights(
        {"w": (len(design.names),)},
        experiment.initial_weights.scale,
        experiment.initial_weights.seed,
        0,
    )["w"]
    sizes = [b for b in experiment.batch_sizes if b <= len(design.target)]
    exact = exact_moments(design.features, design.target, initial, rates, sizes)
    p_values = []
    for column, b in enumerate(sizes):
        block = Block(experiment, 0, b, 0, study.seed, Hardware(threads=2))
        rows = regression_block(
            design.features, design.target, initial, StepPlan.of(block), block.hardware
        ).statistics
        for quantity, truth in (
            ("stochastic_gradient", exact.stochastic_gradient[:, column]),
            ("full_gradient", exact.full_gradient[:, column]),
        ):
            for estimator, group in rows[rows["quantity"] == quantity].groupby("estimator"):
                expected = truth[group["step"]]
                got = group["contribution_mean"].to_numpy()
                # At step 0 all runs share their weights, so two values are known without error.
                certain = (group["step"] == 0).to_numpy() & (
                    (quantity == "full_gradient") | (estimator == "rao_blackwell")
                )
                np.testing.assert_allclose(got[certain], expected[certain], rtol=1e-12)
                if b == len(design.target):
                    np.testing.assert_array_equal(got, 0.0)
                    continue
                uncertain = group[~certain]
                p_values.append(
                    p_value(
                        uncertain["n_replicas"],
                        got[~certain],
                        uncertain["contribution_m2"],
                        uncertain["contribution_m3"],
                        expected[~certain],
                    )
                )
    family = np.concatenate(p_values)
    assert np.isfinite(family).all()
    assert len(family) >= 3 * (len(rates) - 1) * (len(sizes) - 1)
    assert holm(family).min() > 0.01


def test_variance_decreases_in_b_for_every_b_and_step(study, design):
    """Corollary 1, exactly, for all b in [1, n] and all 2,000 steps."""
    experiment = study.experiments["admission"]
    initial = gaussian_weights({"w": (len(design.names),)}, 1.0, 1, 0)["w"]
    moments = exact_moments(
        design.features,
        design.target,
        initial,
        experiment.learning_rates(),
        np.arange(1, len(design.target) + 1),
    )
    assert (np.diff(moments.stochastic_gradient, axis=1) < 0).all()
    # At step 0 every run is still at the initial weights.
    assert (np.diff(moments.full_gradient[1:], axis=1) < 0).all()
    assert (moments.full_gradient[0] == 0).all()
