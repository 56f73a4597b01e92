"""Limits at t → ∞ against the recursion itself, run for long."""

import numpy as np
import pytest

from pipeline_lib.theory.linear_regression import exact_moments, sampling_factor
from pipeline_lib.theory.regression_limits import (
    covariance_map,
    inverse_time_limit,
    smallest_stable_batch_size,
    spectral_radius,
    stationary_state,
)
from pipeline_lib.theory.regression_moments import RegressionProblem, weight_moments


def problem(n=20, p=3, seed=0):
    rng = np.random.default_rng(seed)
    return RegressionProblem(
        rng.standard_normal((n, p)), rng.standard_normal(n), rng.standard_normal(p)
    )


def last(items):
    *_, one = items
    return one


@pytest.mark.parametrize("sampling", ["fresh", "with_replacement"])
def test_a_constant_rate_settles_where_the_recursion_does(sampling):
    given, b, rate = problem(), 3, 0.2
    factor = float(sampling_factor(b, 20, sampling))
    found = stationary_state(given, rate, factor)
    assert found.radius < 1
    moments = exact_moments(
        given.features, given.target, given.initial_weights, np.full(400, rate), [b], sampling
    )
    assert found.stochastic_gradient == pytest.approx(moments.stochastic_gradient[-1, 0], rel=1e-10)
    assert found.full_gradient == pytest.approx(moments.full_gradient[-1, 0], rel=1e-10)
    least = given.gradients(given.minimiser()).mean(axis=0)
    np.testing.assert_allclose(least, 0, atol=1e-14)
    residual = given.features @ given.minimiser() - given.target
    loss = 0.5 * np.mean(residual**2)
    assert found.excess_loss == pytest.approx(moments.expected_loss[-1, 0] - loss, rel=1e-8)
    one = last(weight_moments(given, np.full(400, rate), factor))
    np.testing.assert_allclose(found.covariance, one.covariance[0], rtol=1e-9, atol=1e-12)


def test_the_smallest_stable_batch_size_is_where_the_second_moment_stops_growing():
    given = problem(seed=1)
    rate = 0.85
    b = smallest_stable_batch_size(given, rate)
    assert b is not None
    assert 1 < b < 20
    moments = exact_moments(
        given.features, given.target, given.initial_weights, np.full(4000, rate), [b - 1, b]
    )
    early, late = moments.full_gradient[2000], moments.full_gradient[3999]
    assert late[0] > 2 * early[0] or np.isnan(late[0])
    assert late[1] < 2 * early[1]
    assert stationary_state(given, rate, float(sampling_factor(b - 1, 20))).covariance is None
    assert stationary_state(given, rate, float(sampling_factor(b, 20))).covariance is not None


def test_the_radius_falls_in_b_and_replacement_needs_a_larger_one():
    given = problem(seed=2)
    radii = [
        spectral_radius(covariance_map(given, 0.7, float(sampling_factor(b, 20))))
        for b in range(1, 21)
    ]
    assert (np.diff(radii) < 0).all()
    fresh = smallest_stable_batch_size(given, 0.85)
    replaced = smallest_stable_batch_size(given, 0.85, "with_replacement")
    assert replaced >= fresh


def test_one_weight_by_hand():
    """p = 1, x = (1, 3): T = (1 − alpha h)² + alpha² c v with h = 5 and v = var(x²) = 16."""
    given = RegressionProblem(np.array([[1.0], [3.0]]), np.array([0.0, 1.0]), np.array([1.0]))
    assert covariance_map(given, 0.1, 0.5)[0, 0] == pytest.approx(0.25 + 0.01 * 0.5 * 16)
    # with replacement and alpha = 0.38: 0.81 + 0.1444 · 16/b < 1 from b = 13 on
    assert smallest_stable_batch_size(given, 0.38, "with_replacement") == 13
    assert smallest_stable_batch_size(given, 0.4) is None
    assert smallest_stable_batch_size(given, 0.01) == 1


def test_the_inverse_time_rate_has_its_limit():
    given = problem(40, 2, seed=3)
    initial = 2.0 / np.linalg.eigvalsh(given.hessian)[0]
    factor = 0.2
    limit = inverse_time_limit(given, initial, factor)
    # started late, so that the first steps do not blow up
    steps = 40_000
    rates = initial / (np.arange(steps) + 1 + 100)
    one = last(weight_moments(given, rates, factor))
    np.testing.assert_allclose((steps + 100) * one.covariance[0], limit, rtol=5e-3, atol=1e-4)
    assert inverse_time_limit(given, 0.49 / np.linalg.eigvalsh(given.hessian)[0], factor) is None


def test_bad_input():
    given = problem()
    with pytest.raises(ValueError, match="learning_rate must be positive and finite, got 0"):
        covariance_map(given, 0.0, 0.5)
    flat = RegressionProblem(np.ones((4, 2)), np.arange(4.0), np.zeros(2))
    with pytest.raises(ValueError, match="columns of features have rank 1"):
        stationary_state(flat, 0.1, 0.5)
