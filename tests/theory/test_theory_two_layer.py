import itertools
from fractions import Fraction

import numpy as np
import pytest

from pipeline_lib.theory.batch_polynomial import coefficients
from pipeline_lib.theory.scalar_network import ScalarNetwork, variance_at_step
from pipeline_lib.theory.two_layer import (
    claimed_variance,
    conditional_variances,
    first_step_variance,
    initial_variance,
    population_gradients,
    residual,
)

FIELDS = ("g1", "g2", "population_g1", "population_g2")
RATE = 0.13


def network(p, p1, p2, seed=0):
    rng = np.random.default_rng(seed)
    return (
        rng.standard_normal((p1, p)),
        rng.standard_normal((p2, p1)),
        rng.standard_normal((p2, p)),
    )


def sample_covariances(nodes, p, b):
    """S = XᵀX/b (N, p, p) at Gauss–Hermite points of the p·b entries of X, and the weights (N,)."""
    x, q = np.polynomial.hermite_e.hermegauss(nodes)
    index = np.indices((nodes,) * (p * b)).reshape(p * b, -1).T
    weights = np.prod((q / np.sqrt(2 * np.pi))[index], axis=1)
    points = x[index].reshape(-1, b, p)
    return np.einsum("nki,nkj->nij", points, points) / b, weights


def weighted_variance(values, weights):
    mean = np.tensordot(weights, values, axes=1)
    return float(np.sum(weights * np.sum((values - mean) ** 2, axis=(1, 2))))


def stochastic_gradients(w1, w2, target, s):
    gap = residual(w1, w2, target)
    return np.swapaxes(w2, -1, -2) @ gap @ s, gap @ s @ np.swapaxes(w1, -1, -2)


@pytest.mark.parametrize("b", [1, 2, 3])
@pytest.mark.parametrize("shape", [(2, 3, 2), (1, 2, 3)])
def test_conditional_variances_against_quadrature(shape, b):
    w1, w2, target = network(*shape)
    s, weights = sample_covariances(3, shape[0], b)
    g1, g2 = stochastic_gradients(w1, w2, target, s)
    found = conditional_variances(w1, w2, target, b)
    assert float(found[0]) == pytest.approx(weighted_variance(g1, weights), rel=1e-11)
    assert float(found[1]) == pytest.approx(weighted_variance(g2, weights), rel=1e-11)


def test_gradients_are_those_of_the_population_loss():
    """Central differences of ½ ‖W2 W1 − T‖², a quartic: step 1e-4 is accurate to about 1e-8."""
    w1, w2, target = network(3, 4, 2)
    found = population_gradients(w1, w2, target)

    def loss(a, b):
        return 0.5 * np.sum(residual(a, b, target) ** 2)

    for which, gradient in enumerate(found):
        for i, j in itertools.product(*map(range, gradient.shape)):
            shift = np.zeros_like(gradient)
            shift[i, j] = 1e-4
            plus = loss(w1 + shift, w2) if which == 0 else loss(w1, w2 + shift)
            minus = loss(w1 - shift, w2) if which == 0 else loss(w1, w2 - shift)
            assert gradient[i, j] == pytest.approx((plus - minus) / 2e-4, rel=1e-6, abs=1e-6)


def test_stacks_of_networks_equal_one_at_a_time():
    rng = np.random.default_rng(3)
    w1, w2 = rng.standard_normal((4, 5, 3, 2)), rng.standard_normal((4, 5, 2, 3))
    target = rng.standard_normal((2, 2))
    stacked = conditional_variances(w1, w2, target, 7)
    gradients = population_gradients(w1, w2, target)
    assert stacked[0].shape == stacked[1].shape == (4, 5)
    for index in np.ndindex(4, 5):
        single = conditional_variances(w1[index], w2[index], target, 7)
        np.testing.assert_allclose([stacked[0][index], stacked[1][index]], single, rtol=1e-13)
        for many, one in zip(
            gradients, population_gradients(w1[index], w2[index], target), strict=True
        ):
            np.testing.assert_allclose(many[index], one, rtol=1e-13)


def test_initial_variance_is_the_conditional_one():
    w1, w2, target = network(3, 4, 2)
    at_8 = initial_variance(w1, w2, target).at(8)
    first, second = conditional_variances(w1, w2, target, 8)
    assert at_8["g1"] == pytest.approx(float(first), rel=1e-14)
    assert at_8["g2"] == pytest.approx(float(second), rel=1e-14)
    assert at_8["population_g1"] == at_8["population_g2"] == 0


@pytest.mark.parametrize(
    ("weights", "target", "rate"),
    [
        ((Fraction(3, 2), Fraction(-1, 2)), Fraction(1), Fraction(1, 5)),
        ((Fraction(-2, 3), Fraction(5, 4)), Fraction(1, 7), Fraction(1, 10)),
    ],
)
def test_one_by_one_matrices_are_the_scalar_network(weights, target, rate):
    exact = variance_at_step(ScalarNetwork(*weights, target), [rate], 1)
    found = first_step_variance(
        *(np.array([[float(w)]]) for w in weights), np.array([[float(target)]]), float(rate)
    )
    for field in FIELDS:
        expected = np.array([float(c) for c in coefficients(getattr(exact, field))])
        np.testing.assert_allclose(
            getattr(found, field), expected, rtol=1e-10, atol=1e-11 * np.abs(expected).max()
        )


@pytest.mark.parametrize("b", [1, 2, 3])
def test_first_step_against_quadrature(b):
    """p = 2, p1 = 3, p2 = 2; 7 nodes integrate degree 12 in each of the 2b Gaussians exactly."""
    w1, w2, target = network(2, 3, 2)
    s, weights = sample_covariances(7, 2, b)
    g1, g2 = stochastic_gradients(w1, w2, target, s)
    stepped = (w1 - RATE * g1, w2 - RATE * g2)
    population = population_gradients(*stepped, target)
    conditional = conditional_variances(*stepped, target, b)
    found = first_step_variance(w1, w2, target, RATE).at(b)
    for k in (0, 1):
        drift = weighted_variance(population[k], weights)
        total = drift + float(weights @ conditional[k])
        assert found[f"population_g{k + 1}"] == pytest.approx(drift, rel=1e-9)
        assert found[f"g{k + 1}"] == pytest.approx(total, rel=1e-9)


@pytest.mark.parametrize("b", [1, 2])
def test_first_step_by_quadrature_over_both_batches(b):
    """The same without the law of total variance: both mini-batches are integrated."""
    w1, w2, target = network(2, 3, 2, seed=4)
    s0, weights0 = sample_covariances(7, 2, b)
    s1, weights1 = sample_covariances(3, 2, b)
    g1, g2 = stochastic_gradients(w1, w2, target, s0)
    square, mean = [0.0, 0.0], [np.zeros((3, 2)), np.zeros((2, 3))]
    for s, q in zip(s1, weights1, strict=True):
        gradients = stochastic_gradients(w1 - RATE * g1, w2 - RATE * g2, target, s)
        for k, g in enumerate(gradients):
            square[k] += q * np.sum(weights0 * np.sum(g**2, axis=(1, 2)))
            mean[k] = mean[k] + q * np.tensordot(weights0, g, axes=1)
    found = first_step_variance(w1, w2, target, RATE).at(b)
    for k in (0, 1):
        expected = square[k] - np.sum(mean[k] ** 2)
        assert found[f"g{k + 1}"] == pytest.approx(expected, rel=1e-9)


def test_first_step_against_simulation():
    """Wider matrices and b = 6; the Rao–Blackwellised mean within 4 standard errors."""
    p, p1, p2, b, runs = 4, 5, 3, 6, 40_000
    w1, w2, target = (0.5 * m for m in network(p, p1, p2, seed=2))
    x = np.random.default_rng(12).standard_normal((runs, b, p))
    s = np.swapaxes(x, 1, 2) @ x / b
    g1, g2 = stochastic_gradients(w1, w2, target, s)
    stepped = (w1 - RATE * g1, w2 - RATE * g2)
    conditional = conditional_variances(*stepped, target, b)
    exact = first_step_variance(w1, w2, target, RATE).at(b)
    for k, population in enumerate(population_gradients(*stepped, target)):
        deviation = np.sum((population - population.mean(axis=0)) ** 2, axis=(1, 2))
        terms = conditional[k] + deviation * runs / (runs - 1)
        error = terms.std(ddof=1) / np.sqrt(runs)
        assert error < 0.02 * exact[f"g{k + 1}"]
        assert abs(terms.mean() - exact[f"g{k + 1}"]) < 4 * error


def test_polynomials_have_degree_six_and_no_constant_term():
    exact = first_step_variance(*network(3, 2, 4), RATE)
    for field in ("g1", "g2"):
        values = getattr(exact, field)
        assert values.shape == (7,)
        assert values[0] == 0
        assert values[1] > 0
        assert values[6] != 0
    assert exact.population_g1.shape == exact.population_g2.shape == (6,)


def test_samples_of_a_batch_share_the_weights():
    """The proof of Theorem 4 loses (1 − 1/b) var(∇L(W_1) | F_0)."""
    exact = first_step_variance(*network(2, 3, 2), RATE)
    b = 4
    s, weights = sample_covariances(7, 2, 2)
    for layer in (1, 2):
        polynomial = claimed_variance(exact, layer)
        claimed = float(np.polynomial.polynomial.polyval(1 / b, polynomial))
        lost = exact.at(b)[f"g{layer}"] - claimed
        assert lost == pytest.approx(0.75 * exact.at(b)[f"population_g{layer}"], rel=1e-9)
        assert lost > 0
    # the single-sample variance itself, at b = 2, from its definition
    w1, w2, target = network(2, 3, 2)
    g1, g2 = stochastic_gradients(w1, w2, target, s)
    stepped = (w1 - RATE * g1, w2 - RATE * g2)
    one = float(weights @ conditional_variances(*stepped, target, 1)[0])
    single = one + weighted_variance(population_gradients(*stepped, target)[0], weights)
    claimed = float(np.polynomial.polynomial.polyval(0.5, claimed_variance(exact, 1)))
    assert claimed == pytest.approx(single / 2, rel=1e-9)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [(((3, 2), (2, 4), (2, 2)), "expected W1"), (((3, 2), (2, 3), (3, 2)), "expected W1")],
)
def test_shapes_that_do_not_fit(shapes, message):
    with pytest.raises(ValueError, match=message):
        residual(*(np.ones(shape) for shape in shapes))


def test_bad_arguments_are_refused():
    w1, w2, target = network(2, 3, 2)
    with pytest.raises(ValueError, match="batch_size must be positive"):
        conditional_variances(w1, w2, target, 0)
    with pytest.raises(ValueError, match="expected one network"):
        first_step_variance(np.stack([w1, w1]), np.stack([w2, w2]), target, RATE)
    with pytest.raises(ValueError, match="layer must be 1 or 2"):
        claimed_variance(initial_variance(w1, w2, target), 0)
