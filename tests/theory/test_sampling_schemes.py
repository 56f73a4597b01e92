"""Estimates in epochs against the exact moments of the same process."""

import numpy as np
import pytest

from pipeline_lib.theory.epochs_exact import EpochProblem, epoch_moments, shuffled_once_moments
from pipeline_lib.theory.regression_moments import RegressionProblem
from pipeline_lib.theory.sampling_schemes import _steps, estimate_in_epochs

EXACT = {"epochs": epoch_moments, "shuffled_once": shuffled_once_moments}
RUNS = 20_000


def problem(n=8, p=2, seed=0):
    rng = np.random.default_rng(seed)
    return RegressionProblem(
        rng.standard_normal((n, p)), rng.standard_normal(n), rng.standard_normal(p)
    )


@pytest.mark.parametrize("scheme", ["epochs", "shuffled_once"])
@pytest.mark.parametrize("b", [2, 3])
def test_both_estimators_are_unbiased(scheme, b):
    given = problem()
    rates = np.full(3 * -(-8 // b), 0.2)
    exact = EXACT[scheme](
        EpochProblem(given.features, given.target, given.initial_weights, rates.tolist()), b, 3
    ).stochastic_gradient
    found = estimate_in_epochs(given, rates, b, scheme, RUNS, np.random.default_rng(1))
    for one in (found.sample, found.rao_blackwell):
        error = np.sqrt(one.m2 / (RUNS * (RUNS - 1)))
        # 4.5 standard errors: a chance of 1e-4 over all the steps of a fixed seed
        assert (np.abs(one.mean - exact) < 4.5 * error + 1e-12).all()
    # at the first step nothing is left to chance: the closed form at the initial weights
    assert found.rao_blackwell.m2[0] == pytest.approx(0.0, abs=1e-20)
    assert found.rao_blackwell.mean[0] == pytest.approx(exact[0], rel=1e-12)


def test_the_conditional_moments_are_those_of_every_subset_left():
    """Runs that share their past: the mean and spread of their next gradients, by enumeration."""
    given, b = problem(6), 2
    steps = _steps(given, [0.2, 0.2], b, "epochs", 4000, np.random.default_rng(2))
    first = next(steps)[0]
    g, conditional, mean = next(steps)
    groups = {}
    for run, key in enumerate(map(tuple, np.round(first, 9).tolist())):
        groups.setdefault(key, []).append(run)
    assert len(groups) == 15
    for runs in groups.values():
        distinct = np.unique(np.round(g[runs], 9), axis=0)
        assert len(distinct) == 6  # C(4, 2) mini-batches of the four samples left
        np.testing.assert_allclose(mean[runs[0]], distinct.mean(axis=0), atol=1e-8)
        spread = np.sum((distinct - distinct.mean(axis=0)) ** 2, axis=1).mean()
        assert conditional[runs[0]] == pytest.approx(spread, rel=1e-6)


def test_the_estimate_with_the_past_has_less_noise():
    given = problem(40, 3)
    found = estimate_in_epochs(given, np.full(8, 0.1), 5, "epochs", 500, np.random.default_rng(3))
    # but for the last mini-batch of the epoch, of which nothing is left to average over
    assert (found.rao_blackwell.m2[:7] < found.sample.m2[:7]).all()
    assert found.rao_blackwell.mean[7] == pytest.approx(found.sample.mean[7], rel=1e-12)


def test_bad_input():
    with pytest.raises(ValueError, match="scheme is 'fresh'; allowed: epochs, shuffled_once"):
        estimate_in_epochs(problem(), [0.1], 2, "fresh", 10, np.random.default_rng(0))
    with pytest.raises(ValueError, match="needs at least 2"):
        estimate_in_epochs(problem(), [0.1], 2, "epochs", 1, np.random.default_rng(0))
