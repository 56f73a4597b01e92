"""Exact polynomials of matrix networks against quadrature, the scalar network and Wick pairings."""

from fractions import Fraction
from itertools import pairwise, product

import numpy as np
import pytest
from flint import fmpq

from pipeline_lib.theory.batch_polynomial import coefficients, decreasing_from, value_at
from pipeline_lib.theory.matrix_network import (
    MatrixNetwork,
    conditional_variances,
    degree_bound,
    layer_variances,
    symmetric_moment,
)
from pipeline_lib.theory.scalar_network import ScalarNetwork, variance_at_step
from pipeline_lib.theory.two_layer import first_step_variance

RATE = Fraction(1, 8)


def rational_network(widths, seed=0):
    rng = np.random.default_rng(seed)

    def draw(rows, columns):
        return [
            [Fraction(int(value), 3) for value in row]
            for row in rng.integers(-4, 5, (rows, columns))
        ]

    weights = tuple(draw(rows, columns) for columns, rows in pairwise(widths))
    return MatrixNetwork(weights, draw(widths[-1], widths[0]))


def floats(matrix):
    return np.array([[float(value) for value in row] for row in matrix])


def covariances_of_samples(p, b, nodes):
    """S = XᵀX/b at Gauss-Hermite points of the p·b entries of X, with weights."""
    x, q = np.polynomial.hermite_e.hermegauss(nodes)
    q = q / q.sum()
    index = np.indices((nodes,) * (p * b)).reshape(p * b, -1).T
    points = x[index].reshape(-1, b, p)
    return np.einsum("nki,nkj->nij", points, points) / b, q[index].prod(axis=1)


def by_quadrature(network, b, nodes):
    """var of g_k and ∇_k at t = 1, for each layer, from the update rule in floating point."""
    s, weights = covariances_of_samples(len(network.teacher[0]), b, nodes)
    layers = [floats(matrix) for matrix in network.weights]
    teacher = floats(network.teacher)

    def gradients(stack, s):
        n = len(stack)
        below = [np.eye(teacher.shape[1])]
        for w in stack:
            below.append(w @ below[-1])
        gap = below[-1] - teacher
        result = []
        for k in range(n):
            left = gap
            for w in reversed(stack[k + 1 :]):
                left = np.swapaxes(w, -1, -2) @ left
            result.append(left @ s @ np.swapaxes(below[k], -1, -2))
        return result

    moved = [w - float(RATE) * g for w, g in zip(layers, gradients(layers, s), strict=True)]
    full = gradients(moved, np.eye(teacher.shape[1]))
    found = []
    for k, population in enumerate(full):
        mean = np.tensordot(weights, population, axes=1)
        spread = float(weights @ np.sum((population - mean) ** 2, axis=(1, 2)))
        # the next mini-batch, node by node of its own samples
        own = 0.0
        for one, weight in zip(s, weights, strict=True):
            g = gradients(moved, one)[k]
            own += weight * float(weights @ np.sum((g - population) ** 2, axis=(1, 2)))
        found.append((own + spread, spread))
    return found


@pytest.mark.parametrize(("widths", "b"), [((2, 2, 2), 1), ((1, 2, 1), 2), ((1, 1, 2, 1), 1)])
def test_first_step_against_quadrature(widths, b):
    network = rational_network(widths, seed=sum(widths))
    depth = len(widths) - 1
    exact = layer_variances(network, RATE, 1)
    # degree 2(2L − 1) in S is 4(2L − 1) in the samples
    truth = by_quadrature(network, b, nodes=2 * (2 * depth - 1) + 1)
    for one, (stochastic, population) in zip(exact, truth, strict=True):
        assert float(value_at(one.stochastic, b)) == pytest.approx(stochastic, rel=1e-9)
        assert float(value_at(one.population, b)) == pytest.approx(population, rel=1e-9)


@pytest.mark.parametrize("widths", [(2, 2, 2), (2, 3, 1), (3, 2, 2)])
def test_two_layers_equal_the_sum_over_pairings(widths):
    network = rational_network(widths, seed=1)
    exact = layer_variances(network, RATE, 1)
    found = first_step_variance(
        *(floats(matrix) for matrix in (*network.weights, network.teacher)), float(RATE)
    )
    for one, name in zip(exact, ("g1", "g2"), strict=True):
        for polynomial, values in (
            (one.stochastic, getattr(found, name)),
            (one.population, getattr(found, f"population_{name}")),
        ):
            truth = [float(c) for c in coefficients(polynomial)]
            np.testing.assert_allclose(values[: len(truth)], truth, rtol=1e-9, atol=1e-9)


def test_one_unit_a_layer_is_the_scalar_network():
    network = MatrixNetwork(([[Fraction(3, 2)]], [[Fraction(-1, 2)]]), [[1]])
    scalar = ScalarNetwork(Fraction(3, 2), Fraction(-1, 2), 1)
    for step in (0, 1):
        truth = variance_at_step(scalar, [RATE], step)
        first, second = layer_variances(network, RATE, step)
        assert (first.stochastic, second.stochastic) == (truth.g1, truth.g2)
        assert (first.population, second.population) == (truth.population_g1, truth.population_g2)


@pytest.mark.parametrize("widths", [(2, 2), (2, 3, 2), (3, 1, 2, 2), (2, 2, 2, 2, 1)])
def test_any_depth_at_the_initial_weights(widths):
    network = rational_network(widths, seed=2)
    found = layer_variances(network, RATE, 0)
    weights, teacher = [floats(m) for m in network.weights], floats(network.teacher)
    for b in (1, 5):
        values = conditional_variances(weights, teacher, b)
        for one, value in zip(found, values, strict=True):
            assert one.population.degree() == -1
            assert float(value_at(one.stochastic, b)) == pytest.approx(value, rel=1e-12)
    # and the closed form itself, by quadrature over one sample
    s, q = covariances_of_samples(widths[0], 1, 3)
    left = teacher * 0
    for k in range(len(weights)):
        below = np.eye(widths[0])
        for w in weights[:k]:
            below = w @ below
        left = np.linalg.multi_dot([*weights[::-1], np.eye(widths[0])]) - teacher
        for w in reversed(weights[k + 1 :]):
            left = w.T @ left
        g = left @ s @ below.T
        spread = float(q @ np.sum((g - left @ below.T) ** 2, axis=(1, 2)))
        assert spread == pytest.approx(conditional_variances(weights, teacher, 1)[k], rel=1e-11)


@pytest.mark.parametrize("p", [1, 2, 3])
def test_moments_of_the_sample_covariance(p):
    """Every monomial of degree up to 3, by Gauss-Hermite quadrature over one or two samples."""
    pairs = [(i, j) for i in range(p) for j in range(i, p)]
    for b in (1, 2) if p < 3 else (1,):
        s, weights = covariances_of_samples(p, b, 4)
        for exponents in product(range(4), repeat=len(pairs)):
            if not 1 <= sum(exponents) <= 3:
                continue
            values = np.ones(len(s))
            for (i, j), power in zip(pairs, exponents, strict=True):
                values = values * s[:, i, j] ** power
            exact = symmetric_moment(exponents, p)(fmpq(1, b))
            assert float(exact.p) / float(exact.q) == pytest.approx(
                float(weights @ values), rel=1e-11, abs=1e-11
            )


@pytest.mark.parametrize(("widths", "step"), [((2, 2, 2), 1), ((1, 1, 1, 1), 1), ((2, 2), 1)])
def test_the_degree_is_that_of_the_bound(widths, step):
    depth = len(widths) - 1
    for one in layer_variances(rational_network(widths, seed=4), RATE, step):
        assert one.stochastic.degree() == degree_bound(depth, step)
        assert one.stochastic[0] == 0
        assert one.population[0] == 0
    formula = [((2 * n - 1) ** (t + 1) - 1) // (n - 1) - t - 1 for n in (2, 3, 5) for t in range(4)]
    assert [degree_bound(n, t) for n in (2, 3, 5) for t in range(4)] == formula


def test_the_network_whose_variance_rises_from_b_1_to_b_2():
    identity = [[1, 0], [0, 1]]
    network = MatrixNetwork((identity, identity), [[1, 10], [-10, 1]])
    for one in layer_variances(network, 1, 1):
        for polynomial in (one.stochastic, one.population):
            assert value_at(polynomial, 2) > value_at(polynomial, 1)
            start = decreasing_from(polynomial)
            assert start is not None
            assert start.integer == 2


def test_bad_input():
    with pytest.raises(ValueError, match="do not form a network"):
        MatrixNetwork(([[1, 2]], [[1, 2]]), [[1, 1]])
    with pytest.raises(ValueError, match="step must be 0 or 1, got 2"):
        layer_variances(rational_network((1, 1)), RATE, 2)
    with pytest.raises(ValueError, match="batch_size must be positive"):
        conditional_variances([np.eye(2)], np.eye(2), 0)
    with pytest.raises(ValueError, match="depth must be at least 1"):
        degree_bound(0, 1)
