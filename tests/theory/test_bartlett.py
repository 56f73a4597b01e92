"""Quadrature over the Bartlett factor against exact moments, polynomials and plain quadrature."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from flint import fmpq

from pipeline_lib.theory.bartlett import sample_covariance_nodes, second_step_variance
from pipeline_lib.theory.batch_polynomial import value_at
from pipeline_lib.theory.matrix_network import symmetric_moment
from pipeline_lib.theory.scalar_network import ScalarNetwork, variance_at_step
from pipeline_lib.theory.two_layer import (
    conditional_variances,
    first_step_variance,
    initial_variance,
    population_gradients,
)

FIELDS = ("g1", "g2", "population_g1", "population_g2")


def network(p, p1, p2, seed=0):
    rng = np.random.default_rng(seed)
    return (
        (0.7 * rng.standard_normal((p1, p)), 0.7 * rng.standard_normal((p2, p1))),
        rng.standard_normal((p2, p)),
    )


@pytest.mark.parametrize("b", [1, 2, 3, 7])
@pytest.mark.parametrize("degree", [6, 18])
def test_every_monomial_up_to_the_degree(b, degree):
    s, weights = sample_covariance_nodes(2, b, degree)
    for i, j, k in product(range(degree + 1), repeat=3):
        if i + j + k > degree or (degree == 18 and (i + 2 * j + 3 * k) % 5):
            continue  # of the higher degree a fifth, spread over all
        found = weights @ (s[:, 0, 0] ** i * s[:, 0, 1] ** j * s[:, 1, 1] ** k)
        exact = symmetric_moment((i, j, k), 2)(fmpq(1, b))
        truth = float(exact.p) / float(exact.q)
        # odd powers of S_12 cancel between nodes of the size of the even ones
        size = weights @ np.abs(s[:, 0, 0] ** i * s[:, 0, 1] ** j * s[:, 1, 1] ** k)
        assert found == pytest.approx(truth, rel=1e-9, abs=1e-12 * size)


def test_one_unit_a_layer_equals_the_exact_polynomial():
    w1, w2, target = Fraction(3, 2), Fraction(-1, 2), Fraction(1)
    rates = (Fraction(1, 5), Fraction(1, 7))
    exact = variance_at_step(ScalarNetwork(w1, w2, target), rates, 2)
    for b in (1, 2, 9):
        found = second_step_variance(
            (np.array([[float(w1)]]), np.array([[float(w2)]])), np.array([[1.0]]),
            (float(rates[0]), float(rates[1])), b,
        )  # fmt: skip
        for name in FIELDS:
            truth = float(value_at(getattr(exact, name), b))
            assert getattr(found, name) == pytest.approx(truth, rel=1e-9)


def test_two_inputs_at_b_1_equal_quadrature_over_the_samples():
    """S_0 = x xᵀ and S_1 = y yᵀ by Gauss-Hermite nodes in x (degree 36) and y (degree 12)."""
    weights, target = network(2, 3, 2)
    rates = (0.3, 0.2)

    def outer_products(nodes):
        x, q = np.polynomial.hermite_e.hermegauss(nodes)
        q = q / q.sum()
        points = np.stack(np.meshgrid(x, x), axis=-1).reshape(-1, 2)
        return points[:, :, None] * points[:, None, :], np.outer(q, q).ravel()

    (s, q), (r, u) = outer_products(19), outer_products(7)
    w1, w2 = weights
    for rate, one in zip(rates, (s[:, None], r[None]), strict=True):
        gap = w2 @ w1 - target
        w1, w2 = (
            w1 - rate * np.swapaxes(w2, -1, -2) @ gap @ one,
            w2 - rate * gap @ one @ np.swapaxes(w1, -1, -2),
        )
    joint = q[:, None] * u
    own = conditional_variances(w1, w2, target, 1)
    found = second_step_variance(weights, target, rates, 1)
    for k, gradient in enumerate(population_gradients(w1, w2, target)):
        mean = np.einsum("oi,oiab->ab", joint, gradient)
        spread = np.sum(joint * np.sum((gradient - mean) ** 2, axis=(-2, -1)))
        assert getattr(found, f"population_g{k + 1}") == pytest.approx(spread, rel=1e-8)
        assert getattr(found, f"g{k + 1}") == pytest.approx(
            spread + np.sum(joint * own[k]), rel=1e-8
        )


@pytest.mark.parametrize("b", [2, 5])
def test_steps_that_do_not_move_leave_the_earlier_variances(b):
    """A rate of 0 in one of the two steps is t = 1, in both t = 0."""
    weights, target = network(2, 2, 3, seed=1)
    for rates in ((0.3, 0.0), (0.0, 0.3)):
        truth = first_step_variance(*weights, target, 0.3).at(b)
        found = second_step_variance(weights, target, rates, b)
        for name in FIELDS:
            assert getattr(found, name) == pytest.approx(truth[name], rel=1e-9)
    still = second_step_variance(weights, target, (0.0, 0.0), b)
    start = initial_variance(*weights, target).at(b)
    assert still.g1 == pytest.approx(start["g1"], rel=1e-12)
    assert still.population_g1 == pytest.approx(0, abs=1e-12 * start["g1"])


def test_bad_input():
    with pytest.raises(ValueError, match="number of inputs must be 1 or 2, got 3"):
        sample_covariance_nodes(3, 2, 6)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        sample_covariance_nodes(2, 0, 6)
