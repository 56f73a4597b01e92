"""Variances averaged over the steps of an epoch."""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from pipeline_lib.artifacts.files import write_table
from pipeline_lib.artifacts.schemas import SCHEMAS
from pipeline_lib.estimation.aggregation import variance_table
from pipeline_lib.estimation.epoch_means import epoch_variances
from pipeline_lib.estimation.inference import variance_interval
from pipeline_lib.estimation.statistics import STOCHASTIC, statistics_rows
from pipeline_lib.training.gradient_records import all_moments
from pipeline_lib.training.report import Report, gather_record


def epochs_of(gradients: np.ndarray, n_lost: int = 0) -> pd.DataFrame:
    """Means over epochs of two steps from gradients (steps, R, p); the last step may lose runs."""
    reports = [
        Report(all_moments(STOCHASTIC, {"w": torch.from_numpy(g)}, False)) for g in gradients
    ]
    steps = np.arange(len(gradients))
    lost = np.where(steps == steps[-1], n_lost, 0)
    rows = statistics_rows(gather_record(steps, reports), lost, steps // 2)
    return epoch_variances(variance_table({(0, 4): [rows]}, 0.95), 0.95).set_index("epoch")


def test_means_and_errors_of_an_epoch_are_those_of_the_runs(tmp_path) -> None:
    """A run that keeps its place: the error of its mean over steps is the mean of the errors."""
    rng = np.random.default_rng(3)
    g = rng.standard_normal((50, 6))
    gradients = np.stack([g, 2 * g, g, g])
    table = epochs_of(gradients)
    names = SCHEMAS["epoch_variance"].names
    write_table(tmp_path / "means.parquet", table.reset_index()[names], "epoch_variance")
    contributions = 50 / 49 * ((gradients - gradients.mean(axis=1, keepdims=True)) ** 2).sum(axis=2)
    of_runs = contributions[:2].mean(axis=0)
    assert_allclose(table.loc[0, "variance"], of_runs.mean(), rtol=1e-12)
    m2 = ((of_runs - of_runs.mean()) ** 2).sum()
    interval = variance_interval(50, of_runs.mean(), m2, 0.0)
    assert_allclose(table.loc[0, "std_error"], np.sqrt(m2 / (50 * 48)), rtol=1e-12)
    ends = [interval.low, interval.high]
    assert_allclose(table.loc[0, ["ci_low", "ci_high"]].astype(float), ends, rtol=1e-10)
    assert_array_equal(table["n_steps"], 2)
    assert_array_equal(table["n_runs"], 50)
    assert_array_equal(table["dof"], 49)


def first_epochs(
    rng: np.random.Generator, repeats: int, share: float, shape: tuple[int, int]
) -> pd.DataFrame:
    """The first of two epochs of each repeat, whose steps have a ``share`` of noise in common."""
    gradients = []
    for _ in range(repeats):
        common, own = rng.standard_normal((1, *shape)), rng.standard_normal((4, *shape))
        gradients.append(np.sqrt(share) * common + np.sqrt(1 - share) * own)
    table = epochs_of(np.concatenate(gradients)).loc[::2]
    assert len(table) == repeats
    return table


@pytest.mark.slow
def test_intervals_hold_whether_steps_move_together_or_not() -> None:
    """At least nearly as often as is said, with few runs: steps alike, related, and independent."""
    rng = np.random.default_rng(6)
    for share, most in ((1.0, 0.98), (0.7, 1.0), (0.0, 1.0)):
        table = first_epochs(rng, 300, share, (6, 40))
        held = ((table["ci_low"] <= 40) & (table["ci_high"] >= 40)).sum()
        assert 0.95 - 3.5 * np.sqrt(0.95 * 0.05 / 300) < held / 300 <= most


def test_two_runs_have_a_mean_without_an_error() -> None:
    table = epochs_of(np.random.default_rng(7).standard_normal((4, 2, 6)))
    assert table["variance"].notna().all()
    assert table[["std_error", "ci_low", "ci_high"]].isna().all(axis=None)


@pytest.mark.slow
def test_error_bounds_that_of_independent_and_correlated_steps() -> None:
    rng = np.random.default_rng(4)
    for share, margin in ((0.0, 1.2), (0.7, 1.0)):
        table = first_epochs(rng, 150, share, (20, 3))
        error = np.sqrt((table["std_error"] ** 2).mean())
        assert error > margin * table["variance"].std(ddof=0)


def test_an_epoch_with_a_lost_step_has_no_mean() -> None:
    table = epochs_of(np.random.default_rng(5).standard_normal((4, 6, 2)), n_lost=2)
    numbers = ["variance", "std_error", "ci_low", "ci_high"]
    assert table.loc[0, numbers].notna().all()
    assert table.loc[1, numbers].isna().all()
    assert table.loc[1, "n_diverged"] == 2
