"""Tables of linear regression beyond the variance, and of the ways of drawing mini-batches."""

import numpy as np
import pytest

from pipeline_lib.artifacts.files import write_table
from pipeline_lib.estimation.inference import standard_error
from pipeline_lib.seeding import seed_sequence
from pipeline_lib.theory.epochs_exact import EpochProblem, epoch_moments
from pipeline_lib.theory.linear_regression import exact_moments
from pipeline_lib.theory.regression_fourth import fourth_moments
from pipeline_lib.theory.regression_limits import noise_at_minimum, stationary_state
from pipeline_lib.theory.regression_moments import Optimiser, RegressionProblem
from pipeline_lib.theory.regression_tables import (
    PrecisionPlan,
    Training,
    constant_rate_table,
    inverse_time_table,
    losses_table,
    precision_table,
    split_rows,
)
from pipeline_lib.theory.sampling_schemes import estimate_in_epochs
from pipeline_lib.theory.scheme_tables import (
    SchemeRuns,
    equal_epochs_table,
    sampling_schemes_table,
    small_sample,
)


def problem(n=12, p=2, seed=0):
    rng = np.random.default_rng(seed)
    return RegressionProblem(
        rng.standard_normal((n, p)), rng.standard_normal(n), rng.standard_normal(p)
    )


def test_precision_rows(tmp_path):
    given, rates = problem(), [0.2, 0.1, 0.1]
    table = precision_table(given, rates, [2, 12], PrecisionPlan([0, 2], 50, [0.1]), 0)
    write_table(tmp_path / "one.parquet", table, "precision")
    assert table["b"].unique().tolist() == [2]  # with all samples there is no variance
    row = table[(table["step"] == 2) & (table["estimator"] == "sample")].iloc[0]
    (one,) = fourth_moments(given, rates, 2, [2])
    assert row["variance"] == one.variance
    assert row["relative_std_error"] == one.standard_error("sample", 50) / one.variance
    assert row["runs_needed"] == one.runs_needed("sample", 0.1)


def test_limit_rows(tmp_path):
    given = problem()
    table = constant_rate_table(given, [0.1, 5.0], [1, 4], ["fresh"])
    write_table(tmp_path / "one.parquet", table, "limits")
    stable = table[table["learning_rate"] == 0.1]
    assert stable["excess_loss"].iloc[1] == stationary_state(given, 0.1, 8 / 44).excess_loss
    wild = table[table["learning_rate"] == 5.0]
    assert wild["smallest_stable_b"].isna().all()
    assert wild["excess_loss"].isna().all()
    slow = 0.4 / np.linalg.eigvalsh(given.hessian)[0]
    table = inverse_time_table(given, [slow, 3 * slow], [3])
    write_table(tmp_path / "two.parquet", table, "limits")
    assert table["excess_loss"].isna().tolist() == [True, False]
    noise = np.trace(noise_at_minimum(given))
    assert table["stochastic_gradient"].tolist() == pytest.approx([9 / 33 * noise] * 2)


def test_test_loss_rows(tmp_path):
    whole = problem(20)
    training, test = split_rows(whole.features, whole.target)
    assert (len(training.target), len(test.target)) == (16, 4)
    given = RegressionProblem(training.features, training.target, whole.initial_weights)
    rates = [0.1] * 6
    table = losses_table(
        given,
        test,
        {
            "sgd": Training(rates, Optimiser()),
            "momentum": Training(rates, Optimiser(0.5)),
        },
        [1, 4, 16],
        [0, 5],
    )
    write_table(tmp_path / "one.parquet", table, "test_loss")
    sgd = table[(table["optimiser"] == "sgd") & (table["step"] == 5)]
    moments = exact_moments(given.features, given.target, given.initial_weights, rates, [1, 4, 16])
    np.testing.assert_allclose(sgd["training_loss"], moments.expected_loss[5], rtol=1e-12)
    assert np.allclose(table["gap"], table["test_loss"] - table["training_loss"])
    momentum = table[(table["optimiser"] == "momentum") & (table["step"] == 5)]
    assert (momentum["test_loss"].to_numpy() != sgd["test_loss"].to_numpy()).all()


def test_scheme_rows(tmp_path):
    given = problem()
    rates = [0.2 / (t + 1) for t in range(8)]
    table = sampling_schemes_table(given, rates, [3, 4], SchemeRuns(200, 1, 0.95))
    write_table(tmp_path / "one.parquet", table, "sampling_schemes")
    assert len(table) == 2 * 8 * (2 + 2 * 2)
    exact = exact_moments(
        given.features, given.target, given.initial_weights, rates, [4], "with_replacement"
    )
    rows = table[(table["scheme"] == "with_replacement") & (table["b"] == 4)]
    np.testing.assert_array_equal(rows["variance"], exact.stochastic_gradient[:, 0])
    again = sampling_schemes_table(given, rates, [4], SchemeRuns(200, 1, 0.95))
    same = table[(table["scheme"] == "epochs") & (table["b"] == 4)].reset_index(drop=True)
    assert same.equals(again[again["scheme"] == "epochs"].reset_index(drop=True))


def test_errors_of_schemes_allow_for_independent_conditional_variances():
    """And where all runs are the same, or share their weights, there is none."""
    given, runs = problem(), 6
    table = sampling_schemes_table(given, [0.2] * 3, [3, 12], SchemeRuns(runs, 1, 0.95))
    rows = table[(table["scheme"] == "epochs") & (table["estimator"] == "rao_blackwell")]
    stream = seed_sequence(1, "sampling_schemes", "epochs", 3, runs)
    generator = np.random.default_rng(stream)
    one = estimate_in_epochs(given, [0.2] * 3, 3, "epochs", runs, generator).rao_blackwell
    expected = standard_error(runs, one.m2, one.dof, one.conditional_m2)
    assert (one.conditional_m2[1:] > 0).all()
    np.testing.assert_allclose(rows[rows["b"] == 3]["std_error"], expected, atol=1e-15)
    assert expected[0] < 1e-12
    whole = rows[rows["b"] == 12]
    np.testing.assert_allclose(whole[["variance", "std_error", "ci_high"]], 0, atol=1e-25)


def test_equal_epochs_rows(tmp_path):
    rng = np.random.default_rng(1)
    given = small_sample(rng.standard_normal((30, 2)), rng.standard_normal(30), 6)
    assert given.features.shape == (6, 3)
    np.testing.assert_allclose(given.features.mean(axis=0), [1, 0, 0], atol=1e-15)
    table = equal_epochs_table(given, [0.1], [1, 2, 6], 2)
    write_table(tmp_path / "one.parquet", table, "equal_epochs")
    start = table[table["epoch"] == 0]
    np.testing.assert_allclose(start["loss"], 0.5, rtol=1e-12)  # zero weights, unit variance
    whole = table[(table["b"] == 6) & (table["epoch"] == 2)].set_index("scheme")["loss"]
    assert whole["fresh"] == pytest.approx(whole["epochs"], rel=1e-12)
    assert whole["shuffled_once"] == pytest.approx(whole["epochs"], rel=1e-12)
    assert whole["with_replacement"] > whole["fresh"]
    exact = epoch_moments(
        EpochProblem(given.features, given.target, given.initial_weights, [0.1] * 6), 2, 2
    )
    row = table.set_index(["scheme", "b", "epoch"]).loc[("epochs", 2, 2)]
    assert row["loss"] == exact.expected_loss[-1]
