"""Test loss, momentum, weight decay and replacement, against every mini-batch sequence there is."""

from fractions import Fraction
from itertools import combinations, pairwise, product

import numpy as np
import pytest

from pipeline_lib.claims.enumeration import (
    batch_factor,
    covariance,
    fractions,
    is_nonnegative_definite,
    mean,
    random_regression,
)
from pipeline_lib.theory.expected_losses import Sample, expected_losses
from pipeline_lib.theory.linear_regression import exact_moments, sampling_factor
from pipeline_lib.theory.regression_moments import (
    Optimiser,
    RegressionProblem,
    covariance_coefficients,
    weight_moments,
)

MOMENTUM = Optimiser(Fraction(1, 2), Fraction(1, 10))
OPTIMISERS = [Optimiser(0, 0), Optimiser(Fraction(1, 2), 0), MOMENTUM]


def small(seed=0, n=4, p=2):
    return random_regression(np.random.default_rng(seed), n, p)


def batches(n, b, sampling):
    if sampling == "fresh":
        return [list(batch) for batch in combinations(range(n), b)]
    return [list(batch) for batch in product(range(n), repeat=b)]


def weights_after(problem, b, step, optimiser, sampling="fresh"):
    """w_t after every equally likely sequence of t mini-batches, by the update rule itself."""
    states = [(problem.w0, problem.w0 * Fraction(0))]
    for rate in problem.learning_rates[:step]:
        moved = []
        for w, v in states:
            gradients = problem.sample_gradients(w)
            for batch in batches(problem.n, b, sampling):
                g = gradients[batch].sum(axis=0) / Fraction(b)
                speed = optimiser.momentum * v + g + optimiser.weight_decay * w
                moved.append((w - rate * speed, speed))
        states = moved
    return [w for w, _ in states]


def as_problem(problem):
    return RegressionProblem(problem.x, problem.y, problem.w0)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("step", [1, 2])
def test_coefficients_in_the_batch_factor_equal_enumeration_as_fractions(optimiser, step):
    problem = small()
    found = covariance_coefficients(
        problem.x, problem.y, problem.w0, problem.learning_rates[:step], optimiser
    )[step]
    assert len(found) == step + 1
    for b in range(1, problem.n + 1):
        c = batch_factor(b, problem.n)
        value = sum(one * c**k for k, one in enumerate(found))
        truth = covariance(weights_after(problem, b, step, optimiser))
        assert (value == truth).all()


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_every_coefficient_is_nonnegative_definite(optimiser):
    problem = random_regression(np.random.default_rng(3), 6, 3, steps=5)
    rows = covariance_coefficients(
        problem.x, problem.y, problem.w0, problem.learning_rates, optimiser
    )
    assert all(is_nonnegative_definite(one) for row in rows for one in row)
    assert (rows[5][5] != 0).any()


@pytest.mark.slow
@pytest.mark.parametrize("sampling", ["fresh", "with_replacement"])
@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_moments_equal_enumeration(optimiser, sampling):
    problem = small(1, n=3)
    sizes = [1, 2, 3]
    factor = sampling_factor(sizes, 3, sampling)
    found = list(weight_moments(as_problem(problem), [1 / 6, 1 / 7, 0], factor, optimiser))
    for step, b in product(range(3), sizes):
        weights = weights_after(problem, b, step, optimiser, sampling)
        np.testing.assert_allclose(found[step].mean, mean(weights).astype(float), 1e-12)
        truth = covariance(weights).astype(float)
        np.testing.assert_allclose(found[step].covariance[b - 1], truth, 1e-11, 1e-15)
        noise = mean(
            [
                covariance(
                    [
                        problem.sample_gradients(w)[batch].sum(axis=0) / Fraction(b)
                        for batch in batches(3, b, sampling)
                    ]
                )
                for w in weights
            ]
        ).astype(float)
        np.testing.assert_allclose(found[step].noise[b - 1], noise, 1e-11, 1e-14)


def test_replacement_in_the_fast_recursion():
    problem = small(2, n=3)
    sizes = [1, 2, 5]
    fast = exact_moments(
        problem.x, problem.y, problem.w0, [1 / 6, 1 / 7, 0.1], sizes, "with_replacement"
    )
    factor = sampling_factor(sizes, 3, "with_replacement")
    for t, one in enumerate(weight_moments(as_problem(problem), [1 / 6, 1 / 7, 0.1], factor)):
        hessian = as_problem(problem).hessian
        full = hessian @ one.covariance @ hessian
        np.testing.assert_allclose(
            fast.full_gradient[t], np.trace(full, axis1=1, axis2=2), 1e-11, 1e-20
        )
        np.testing.assert_allclose(
            fast.stochastic_gradient[t], np.trace(full + one.noise, axis1=1, axis2=2), 1e-11
        )


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_expected_losses_equal_enumeration(optimiser):
    problem = small(4)
    rng = np.random.default_rng(5)
    x, y = fractions(rng, (3, 2)), fractions(rng, (3,))
    test = Sample(x.astype(float), y.astype(float))
    sizes = np.arange(1, problem.n + 1)
    found = expected_losses(
        as_problem(problem), test, [1 / 6, 1 / 7, 0], sampling_factor(sizes, 4, "fresh"), optimiser
    )
    for step, b in product(range(3), sizes.tolist()):
        weights = weights_after(problem, b, step, optimiser)
        truth = []
        for features, target in ((problem.x, problem.y), (x, y)):
            losses = [((features @ w - target) ** 2).sum() / Fraction(2 * len(y)) for w in weights]
            truth.append(sum(losses, Fraction(0)) / len(losses) * Fraction(len(y), len(target)))
        assert found.training[step, b - 1] == pytest.approx(float(truth[0]), rel=1e-12)
        assert found.test[step, b - 1] == pytest.approx(float(truth[1]), rel=1e-12)
        assert found.gap[step, b - 1] == pytest.approx(float(truth[1] - truth[0]), rel=1e-10)


def test_the_test_loss_falls_in_b_and_the_gap_has_no_sign():
    """Two test sets, wider and narrower than the training set: the gap rises in b on one."""
    rng = np.random.default_rng(6)
    x = rng.standard_normal((30, 3))
    problem = RegressionProblem(x, rng.standard_normal(30), rng.standard_normal(3))
    factor = sampling_factor(np.arange(1, 31), 30, "fresh")
    signs = []
    for scale in (2.0, 0.5):
        test = Sample(scale * rng.standard_normal((40, 3)), rng.standard_normal(40))
        found = expected_losses(problem, test, 0.3 / np.arange(1, 21), factor)
        assert (np.diff(found.test_noise[1:], axis=1) < 0).all()
        assert (found.test_noise[0] == 0).all()
        gap = found.test_noise - found.training_noise
        signs.append(np.sign(np.diff(gap[1:], axis=1)))
    assert (signs[0] < 0).all()
    assert (signs[1] > 0).all()


def test_momentum_covariances_fall_in_b():
    problem = small(7, n=5)
    covariances = [
        covariance(weights_after(problem, b, 2, MOMENTUM)) for b in range(1, problem.n + 1)
    ]
    assert all(is_nonnegative_definite(a - b) for a, b in pairwise(covariances))


def test_bad_input():
    problem = as_problem(small())
    with pytest.raises(ValueError, match="momentum must be finite and not negative, got -1"):
        Optimiser(-1)
    with pytest.raises(ValueError, match="sampling is 'cyclic'; allowed: fresh, with_replacement"):
        sampling_factor([1], 4, "cyclic")
    with pytest.raises(ValueError, match="whole number of at least 1, got 0"):
        sampling_factor([0], 4, "with_replacement")
    with pytest.raises(ValueError, match="test features must have 2 columns"):
        expected_losses(problem, Sample(np.ones((3, 1)), np.ones(3)), [0.1], [1.0])
