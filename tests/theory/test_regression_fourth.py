"""Fourth moments and standard errors against every mini-batch sequence, in fractions."""

from fractions import Fraction
from itertools import combinations, product

import numpy as np
import pytest

from pipeline_lib.claims.enumeration import (
    batch_factor,
    batch_gradients,
    covariance,
    mean,
    random_regression,
    sq_norm,
    trace,
    weights_at,
)
from pipeline_lib.estimation.variance import (
    rao_blackwell_contributions,
    sample_contributions,
    vector_moments,
)
from pipeline_lib.theory.linear_regression import conditional_variance
from pipeline_lib.theory.regression_fourth import fourth_moments, log_steps, mean_coefficients
from pipeline_lib.theory.regression_moments import RegressionProblem

RATES = [1 / 6, 1 / 7]


def as_problem(small):
    return RegressionProblem(small.x, small.y, small.w0)


def spread(values):
    """The variance of equally likely numbers."""
    centre = sum(values, Fraction(0)) / len(values)
    return sum(((value - centre) ** 2 for value in values), Fraction(0)) / len(values)


def full_gradient(small, w):
    return small.sample_gradients(w).sum(axis=0) / Fraction(small.n)


def by_enumeration(small, b, step):
    """The five numbers of `FourthMoments`, from their definitions."""
    paths = weights_at(small, b, step)
    gradients = [g for w in paths for g in batch_gradients(small, w, b)]
    full = [full_gradient(small, w) for w in paths]
    centre, middle = mean(gradients), mean(full)
    own = [trace(covariance(list(batch_gradients(small, w, b)))) for w in paths]
    matrix, other = covariance(gradients), covariance(full)
    return (
        trace(matrix),
        spread([sq_norm(g - centre) for g in gradients]),
        trace(matrix @ matrix),
        spread([v + sq_norm(f - middle) for v, f in zip(own, full, strict=True)]),
        trace(other @ other),
    )


@pytest.mark.parametrize(("n", "p"), [(4, 2), (5, 2), (5, 1), (3, 2), (2, 1)])
def test_every_number_equals_enumeration(n, p):
    small = random_regression(np.random.default_rng(n + 10 * p), n, p)
    scale = float(max(sq_norm(g) for g in small.sample_gradients(small.w0)))
    for step, b in product(range(3), range(1, n + 1)):
        (found,) = fourth_moments(as_problem(small), RATES, b, [step])
        values = (
            found.variance, found.spread, found.trace_square,
            found.blackwell_spread, found.blackwell_trace_square,
        )  # fmt: skip
        truth = [float(value) for value in by_enumeration(small, b, step)]
        # Some of the truths are zero (b = n, t = 0, two samples): the difference of terms of the
        # size of the samples' squared gradients.
        np.testing.assert_allclose(values[:1], truth[:1], 1e-11, 1e-15 * scale)
        np.testing.assert_allclose(values[1:], truth[1:], 1e-9, 1e-14 * scale**2)


def test_coefficients_of_the_mean_of_numbers():
    """Third and fourth moments of the mean of b of n numbers, by going through all subsets."""
    values = [Fraction(v) for v in (1, 4, -2, 7, 3, -1)]
    n = len(values)
    centre = sum(values) / n
    moment = {k: sum((v - centre) ** k for v in values) / n for k in (2, 3, 4)}
    for b in range(1, n + 1):
        means = [sum(batch) / b - centre for batch in combinations(values, b)]
        got = mean_coefficients(b, n)
        assert got.second == batch_factor(b, n)
        truth = {k: sum((m**k for m in means), Fraction(0)) / len(means) for k in (2, 3, 4)}
        assert got.second * moment[2] == truth[2]
        assert got.third * moment[3] == truth[3]
        assert got.fourth * moment[4] + 3 * got.pairs * moment[2] ** 2 == truth[4]
    for b in (1, 2, 3):
        means = [sum(batch) / b - centre for batch in product(values, repeat=b)]
        got = mean_coefficients(b, n, "with_replacement")
        assert got.third * moment[3] == sum(m**3 for m in means) / len(means)
        fourth = sum(m**4 for m in means) / len(means)
        assert got.fourth * moment[4] + 3 * got.pairs * moment[2] ** 2 == fourth


def test_the_standard_error_is_that_of_all_experiments_of_two_runs():
    """Every pair of runs of one step, that is every experiment there is with R = 2, and R = 3."""
    small = random_regression(np.random.default_rng(8), 4, 2)
    problem, b = as_problem(small), 2
    (moments,) = fourth_moments(problem, RATES, b, [1])
    runs = [
        (w, g) for w in weights_at(small, b, 1) for g in batch_gradients(small, w, b)
    ]  # 36 equally likely
    weights = np.array([w for w, _ in runs], dtype=float)
    stochastic = np.array([g for _, g in runs], dtype=float)
    full = np.array([full_gradient(small, w) for w, _ in runs], dtype=float)
    own = conditional_variance(problem.features, problem.target, weights, b)
    for n_runs in (2, 3):
        index = np.indices((len(runs),) * n_runs).reshape(n_runs, -1).T
        plain = sample_contributions(vector_moments(stochastic[index]).sq_deviations).mean(axis=-1)
        spread_of_full = vector_moments(full[index]).sq_deviations
        better = rao_blackwell_contributions(own[index], spread_of_full).mean(axis=-1)
        assert plain.mean() == pytest.approx(moments.variance, rel=1e-10)
        assert better.mean() == pytest.approx(moments.variance, rel=1e-10)
        assert moments.standard_error("sample", n_runs) == pytest.approx(plain.std(), rel=1e-9)
        assert moments.standard_error("rao_blackwell", n_runs) == pytest.approx(
            better.std(), rel=1e-9
        )


@pytest.mark.parametrize("estimator", ["sample", "rao_blackwell"])
@pytest.mark.parametrize("precision", [0.5, 0.05, 0.01])
def test_runs_needed_is_the_smallest_number(estimator, precision):
    small = random_regression(np.random.default_rng(9), 5, 2)
    (moments,) = fourth_moments(as_problem(small), RATES, 2, [2])
    runs = moments.runs_needed(estimator, precision)
    assert moments.standard_error(estimator, runs) <= precision * moments.variance
    if runs > 2:
        assert moments.standard_error(estimator, runs - 1) > precision * moments.variance


def test_steps_and_bad_input():
    assert log_steps(1) == [0]
    steps = log_steps(2000)
    assert (steps[0], steps[-1]) == (0, 1999)
    assert 30 < len(steps) <= 41
    problem = as_problem(random_regression(np.random.default_rng(0)))
    with pytest.raises(ValueError, match=r"steps must lie in \[0, 2\], got 3 to 3"):
        fourth_moments(problem, RATES, 2, [3])
    with pytest.raises(ValueError, match=r"whole number in \[1, 5\], got 6"):
        fourth_moments(problem, RATES, 6, [1])
    (moments,) = fourth_moments(problem, RATES, 2, [1])
    with pytest.raises(ValueError, match="needs at least 2, got 1"):
        moments.standard_error("sample", 1)
    with pytest.raises(ValueError, match="estimator is 'plain'"):
        moments.standard_error("plain", 5)
    with pytest.raises(ValueError, match="precision must be positive"):
        moments.runs_needed("sample", 0.0)
