"""Epochs by dynamic programming against every sequence of orders, in fractions."""

from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest

from pipeline_lib.claims.enumeration import (
    SmallRegression,
    covariance,
    random_regression,
    trace,
)
from pipeline_lib.theory.epochs_exact import (
    EpochProblem,
    batch_sizes_of_epoch,
    epoch_moments,
    ordered_batches,
    shuffled_once_moments,
)

RATES = tuple(Fraction(1, 6 + t) for t in range(12))


def small(seed=0, n=4, p=2) -> SmallRegression:
    return random_regression(np.random.default_rng(seed), n, p)


def as_epochs(problem, kind=None):
    if kind is None:
        return EpochProblem(problem.x, problem.y, problem.w0, RATES)
    return EpochProblem(
        problem.x.astype(kind), problem.y.astype(kind), problem.w0.astype(kind),
        [float(rate) for rate in RATES],
    )  # fmt: skip


def by_permutations(problem, b, n_epochs, once):
    """Variances and losses over all permutations of the samples, an order an epoch or one."""
    n = problem.n
    sizes = batch_sizes_of_epoch(n, b)
    starts = np.cumsum([0, *sizes])
    orders = list(permutations(range(n)))
    paths = [(problem.w0, None)]
    stochastic, full, losses = [], [], []

    def loss(w):
        return sum((problem.x @ w - problem.y) ** 2, Fraction(0)) / (2 * n)

    for epoch in range(n_epochs):
        fresh = not (once and epoch)
        paths = [(w, order) for w, kept in paths for order in (orders if fresh else [kept])]
        for k, size in enumerate(sizes):
            losses.append(sum((loss(w) for w, _ in paths), Fraction(0)) / len(paths))
            gradients = [problem.sample_gradients(w) for w, _ in paths]
            full.append(trace(covariance([g.sum(axis=0) / n for g in gradients])))
            batches = [list(order[starts[k] : starts[k + 1]]) for _, order in paths]
            g = [
                one[batch].sum(axis=0) / size for one, batch in zip(gradients, batches, strict=True)
            ]
            stochastic.append(trace(covariance(g)))
            rate = RATES[epoch * len(sizes) + k]
            paths = [(w - rate * step, order) for (w, order), step in zip(paths, g, strict=True)]
    losses.append(sum((loss(w) for w, _ in paths), Fraction(0)) / len(paths))
    return stochastic, full, losses


@pytest.mark.parametrize("once", [False, True])
@pytest.mark.parametrize("b", [1, 2, 3, 4])
def test_two_epochs_equal_all_orders_as_fractions(b, once):
    problem = small(b, n=4 if b > 1 else 3)
    find = shuffled_once_moments if once else epoch_moments
    found = find(as_epochs(problem), b, 2)
    stochastic, full, losses = by_permutations(problem, b, 2, once)
    assert list(found.stochastic_gradient) == stochastic
    assert list(found.full_gradient) == full
    assert list(found.expected_loss) == losses
    assert found.steps_per_epoch == len(batch_sizes_of_epoch(problem.n, b))
    assert list(found.after_epochs()) == losses[:: found.steps_per_epoch]


@pytest.mark.parametrize("find", [epoch_moments, shuffled_once_moments])
def test_float64_equals_the_fractions(find):
    problem = small(7, n=6, p=3)
    exact, rounded = (find(as_epochs(problem, kind), 2, 2) for kind in (None, float))
    for name in ("stochastic_gradient", "full_gradient", "expected_loss"):
        truth = getattr(exact, name).astype(float)
        np.testing.assert_allclose(getattr(rounded, name), truth, rtol=1e-10, atol=1e-13)


def test_the_first_epoch_does_not_know_whether_there_is_a_second_order():
    problem = as_epochs(small(9, n=6))
    one, other = epoch_moments(problem, 2, 1), shuffled_once_moments(problem, 2, 1)
    assert (one.stochastic_gradient == other.stochastic_gradient).all()
    two, second = epoch_moments(problem, 2, 2), shuffled_once_moments(problem, 2, 2)
    assert (two.stochastic_gradient != second.stochastic_gradient).any()


def test_orders_are_all_ways_to_deal():
    assert list(ordered_batches(3, [2, 1])) == [(0, 1, 2), (0, 2, 1), (1, 2, 0)]
    assert len(set(ordered_batches(6, [2, 2, 2]))) == 90


def test_bad_input():
    problem = small()
    with pytest.raises(ValueError, match=r"whole number in \[1, 4\], got 5"):
        epoch_moments(as_epochs(problem), 5, 1)
    with pytest.raises(ValueError, match="16 steps need as many learning rates, got 12"):
        shuffled_once_moments(as_epochs(problem), 1, 4)
    large = EpochProblem(np.ones((17, 1)), np.ones(17), np.ones(1), [0.1] * 17)
    with pytest.raises(ValueError, match="n must be at most 16, got 17"):
        epoch_moments(large, 1, 1)
    with pytest.raises(ValueError, match="orders of 17 samples, at most 500,000"):
        shuffled_once_moments(large, 1, 1)
    with pytest.raises(ValueError, match=r"expected features \(n, p\)"):
        EpochProblem(np.ones((4, 2)), np.ones(3), np.ones(2), [0.1])
