"""Scalar networks of any depth against the two-layer engine, matrices and quadrature."""

from fractions import Fraction

import numpy as np
import pytest
from scipy import special

from pipeline_lib.theory.batch_polynomial import value_at
from pipeline_lib.theory.matrix_network import MatrixNetwork, degree_bound, layer_variances
from pipeline_lib.theory.scalar_depth import DeepScalarNetwork, deep_scalar_variances
from pipeline_lib.theory.scalar_network import ScalarNetwork, variance_at_step

RATES = (Fraction(1, 5), Fraction(1, 7))
WEIGHTS = (Fraction(3, 2), Fraction(-1, 2), Fraction(2, 3), Fraction(5, 4), Fraction(-4, 5))


def deep(depth):
    return DeepScalarNetwork(WEIGHTS[:depth], 1)


@pytest.mark.parametrize("step", [0, 1, 2])
def test_two_layers_equal_the_other_engine(step):
    found = deep_scalar_variances(deep(2), RATES, step)
    truth = variance_at_step(ScalarNetwork(*WEIGHTS[:2], 1), RATES, step)
    assert [one.stochastic for one in found] == [truth.g1, truth.g2]
    assert [one.population for one in found] == [truth.population_g1, truth.population_g2]


@pytest.mark.parametrize("depth", [1, 3, 4])
@pytest.mark.parametrize("step", [0, 1])
def test_matrices_of_one_entry_are_the_same_network(depth, step):
    matrices = MatrixNetwork(tuple([[w]] for w in WEIGHTS[:depth]), [[1]])
    assert deep_scalar_variances(deep(depth), RATES, step) == layer_variances(
        matrices, RATES[0], step
    )


@pytest.mark.parametrize("b", [1, 4])
def test_three_layers_at_t_2_equal_quadrature(b):
    """Gauss-Laguerre nodes of s_0 (degree 50), s_1 (degree 10) and the last s."""

    def nodes(count):
        x, q = special.roots_genlaguerre(count, b / 2 - 1)
        return 2 * x / b, q / q.sum()

    (s, p), (r, q) = nodes(26), nodes(6)
    w = [np.full((26, 6), float(value)) for value in WEIGHTS[:3]]

    def gradients(w):
        e = w[0] * w[1] * w[2] - 1
        return [e * w[1] * w[2], e * w[0] * w[2], e * w[0] * w[1]]

    for rate, factor in zip(RATES, (s[:, None], r[None]), strict=True):
        w = [one - float(rate) * g * factor for one, g in zip(w, gradients(w), strict=True)]
    joint = p[:, None] * q
    for found, g in zip(deep_scalar_variances(deep(3), RATES, 2), gradients(w), strict=True):
        square, mean = np.sum(joint * g * g), np.sum(joint * g)
        population = square - mean**2
        assert float(value_at(found.population, b)) == pytest.approx(population, rel=1e-8)
        assert float(value_at(found.stochastic, b)) == pytest.approx(
            population + 2 / b * square, rel=1e-8
        )


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("step", [0, 1, 2])
def test_the_degree_is_that_of_the_bound(depth, step):
    for one in deep_scalar_variances(deep(depth), RATES, step):
        assert one.stochastic.degree() == degree_bound(depth, step)
        assert one.stochastic[0] == 0
    if depth > 1:
        formula = ((2 * depth - 1) ** (step + 1) - 1) // (depth - 1) - step - 1
        assert degree_bound(depth, step) == formula


def test_bad_input():
    with pytest.raises(ValueError, match="at least one layer"):
        deep_scalar_variances(DeepScalarNetwork((), 1), RATES, 1)
    with pytest.raises(ValueError, match="step 3 needs 3 learning rates"):
        deep_scalar_variances(deep(2), RATES, 3)
