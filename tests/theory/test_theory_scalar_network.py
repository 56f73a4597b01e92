from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from flint import fmpq, fmpq_poly
from scipy.special import roots_genlaguerre

from pipeline_lib.theory.batch_polynomial import (
    as_rational,
    coefficients,
    decreasing_from,
    value_at,
)
from pipeline_lib.theory.scalar_claims import (
    claimed_variance,
    degree,
    degree_table,
    first_step_minors,
    leading_coefficient,
)
from pipeline_lib.theory.scalar_network import (
    OutOfTimeError,
    ScalarNetwork,
    moment_polynomials,
    variance_at_step,
    variances,
)

HEAVY = ScalarNetwork(Fraction(3, 2), Fraction(-1, 2), 1)
FIFTH = [Fraction(1, 5)] * 6
OTHER = ScalarNetwork(Fraction(-2, 3), Fraction(5, 4), Fraction(1, 7))
DECAYING = [Fraction(1, 10 * (t + 1)) for t in range(6)]
CASES = [(HEAVY, FIFTH), (OTHER, DECAYING)]
FIELDS = ("g1", "g2", "population_g1", "population_g2")


def quadrature(network, rates, step, b):
    """The four variances by Gauss–Laguerre quadrature in s_0, …, s_step, exact for polynomials.

    s is Gamma(b/2) scaled by 2/b; a node count n integrates degree 2n − 1 exactly.
    """
    w1 = np.array([float(network.w1)])
    w2 = np.array([float(network.w2)])
    weight = np.array([1.0])
    target = float(network.target)
    for t in range(step + 1):
        x, q = roots_genlaguerre(3 ** (step - t) + 1, b / 2 - 1)
        s, q = 2 * x / b, q / q.sum()
        g1, g2 = w2 * (w2 * w1 - target), w1 * (w2 * w1 - target)
        if t == step:
            break
        w1 = (w1[:, None] - float(rates[t]) * g1[:, None] * s).ravel()
        w2 = (w2[:, None] - float(rates[t]) * g2[:, None] * s).ravel()
        weight = (weight[:, None] * q).ravel()
    result = {}
    for name, g in (("g1", g1), ("g2", g2)):
        mean = np.sum(weight * g)
        # each moment by its own nodes: E s = 1 and E s² from the quadrature rule
        second = np.sum(q * s**2)
        result[name] = np.sum(weight * g**2) * second - (mean * np.sum(q * s)) ** 2
        result["population_" + name] = np.sum(weight * (g - mean) ** 2)
    return result


@pytest.mark.parametrize("b", [1, 2, 3, 8])
def test_moments_of_the_mean_square(b):
    x, q = roots_genlaguerre(6, b / 2 - 1)
    for k, moment in enumerate(moment_polynomials(8)):
        expected = np.sum(q / q.sum() * (2 * x / b) ** k)
        assert float(value_at(moment, b)) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("network", "rates"), CASES)
@pytest.mark.parametrize("step", [0, 1, 2, 3])
@pytest.mark.parametrize("b", [1, 2, 5, 64])
def test_exact_values_against_quadrature(network, rates, step, b):
    exact = variance_at_step(network, rates, step)
    expected = quadrature(network, rates, step, b)
    for field in FIELDS:
        found = float(value_at(getattr(exact, field), b))
        assert found == pytest.approx(expected[field], rel=1e-7, abs=1e-14)


def test_step_zero_by_hand():
    """var(w₂ e s) = 2 w₂² e² / b."""
    exact = variance_at_step(HEAVY, [], 0)
    e = Fraction(-3, 4) - 1
    assert coefficients(exact.g1) == [0, 2 * Fraction(1, 4) * e**2]
    assert coefficients(exact.g2) == [0, 2 * Fraction(9, 4) * e**2]
    assert coefficients(exact.population_g1) == []


def test_known_heavy_tailed_values():
    exact = variance_at_step(HEAVY, FIFTH, 2)
    assert float(value_at(exact.g1, 1)) == pytest.approx(4268720581.8032, rel=1e-12)
    assert float(value_at(exact.g1, 2)) == pytest.approx(257.128, rel=1e-5)
    assert float(value_at(exact.g2, 1)) == pytest.approx(6.080458e10, rel=1e-6)


@pytest.mark.parametrize(("network", "rates"), CASES)
def test_degrees_and_leading_coefficients(network, rates):
    for exact in variances(network, rates, 3):
        for layer, polynomial in ((1, exact.g1), (2, exact.g2)):
            assert polynomial.degree() == degree(exact.step)
            assert polynomial[0] == 0
            top = leading_coefficient(network, rates, exact.step, layer)
            assert polynomial[polynomial.degree()] == top
            assert top > 0


def test_degree_table_against_the_bounds_of_theorem_4():
    table = degree_table(4)
    assert [row.exact for row in table] == [1, 6, 23, 76, 237]
    assert [row.stated_bound for row in table] == [2, 6, 18, 54, 162]
    assert [row.exact <= row.stated_bound for row in table] == [True, True, False, False, False]
    assert all(row.exact <= row.formula_bound for row in table)


def test_samples_of_a_batch_share_the_weights():
    """The proof's `(1/b) var(single-sample term)` is right at t = 0 and at b = 1 only."""
    start = variance_at_step(HEAVY, FIFTH, 0)
    assert claimed_variance(start, 1) == start.g1
    for step in (1, 2):
        exact = variance_at_step(HEAVY, FIFTH, step)
        for layer, total in ((1, exact.g1), (2, exact.g2)):
            claimed = claimed_variance(exact, layer)
            assert value_at(claimed, 1) == value_at(total, 1)
            for b in (2, 4, 64):
                assert value_at(claimed, b) < value_at(total, b)


def test_single_sample_term_from_its_definition():
    """At t = 1: (1/b) var(w₂ e x² | F_0), x of one sample and (w₂, e) from a batch of b."""
    exact = variance_at_step(HEAVY, FIFTH, 1)
    b = 4
    x, q = roots_genlaguerre(8, b / 2 - 1)
    s, q = 2 * x / b, q / q.sum()
    e0 = -1.75
    w1, w2 = 1.5 - 0.2 * (-0.5) * e0 * s, -0.5 - 0.2 * 1.5 * e0 * s
    g = w2 * (w1 * w2 - 1)
    single = 3 * np.sum(q * g**2) - np.sum(q * g) ** 2
    assert float(value_at(claimed_variance(exact, 1), b)) == pytest.approx(single / b, rel=1e-10)


def test_time_allowed_is_kept_and_partial_results_returned():
    with pytest.raises(OutOfTimeError):
        variance_at_step(HEAVY, FIFTH, 5, max_seconds=0.05)
    done = variances(HEAVY, FIFTH, 6, max_seconds=1.0)
    assert 3 <= len(done) < 6
    assert [exact.step for exact in done] == list(range(len(done)))


@pytest.mark.parametrize(("network", "rates"), CASES)
def test_variances_decrease_from_b_one_on(network, rates):
    for exact in variances(network, rates, 3):
        for field in FIELDS:
            polynomial = getattr(exact, field)
            if polynomial.degree() < 1:
                continue
            threshold = decreasing_from(polynomial)
            assert threshold.real == (1, 1)
            assert threshold.integer == 1
            values = [value_at(polynomial, b) for b in range(1, 60)]
            assert all(a > b for a, b in pairwise(values))


@pytest.mark.parametrize("population", [True, False])
def test_one_step_decrease_for_all_weights(population):
    """Every minor is positive on (0, 1]: positive at 1, no sign change and no double root."""
    minors = first_step_minors(population)
    assert len(minors) == (3 if population else 4)
    for minor in minors:
        assert minor(1) > 0
        while minor[0] == 0:
            minor = minor.right_shift(1)
        assert minor.gcd(minor.derivative()).degree() == 0
        # an antiderivative that starts to fall somewhere in (0, 1) would have b₀ > 1
        assert decreasing_from(minor.integral()).real == (1, 1)


# products Π (x − r) with V' = product, so that V changes direction exactly at b = 1/r
@pytest.mark.parametrize(
    ("roots", "expected"),
    [
        ([Fraction(1, 4), Fraction(1, 9)], 9),
        ([Fraction(1, 4), Fraction(1, 4), Fraction(2, 3), Fraction(2)], Fraction(3, 2)),
        ([Fraction(1, 2), Fraction(3, 4)], 2),
        ([Fraction(1, 3), Fraction(1, 3)], 1),
        ([Fraction(3), Fraction(-1, 2), Fraction(-1, 5), Fraction(4)], 1),
        (
            [Fraction(30, 71), Fraction(30, 71), Fraction(30, 71), Fraction(31, 71)],
            Fraction(71, 30),
        ),
    ],
)
def test_threshold_with_known_turning_points(roots, expected):
    derivative = fmpq_poly([1])
    for root in roots:
        derivative *= fmpq_poly([-as_rational(root), 1])
    if derivative[0] < 0:
        derivative = -derivative
    polynomial = derivative.integral()
    low, high = decreasing_from(polynomial).real
    assert low <= expected <= high
    assert high - low <= Fraction(1, 10**12) * low


def test_integer_threshold_against_a_scan():
    rng = np.random.default_rng(5)
    above_one = 0
    for _ in range(60):
        first = [1, *(int(c) for c in rng.integers(-60, 60, size=5))]
        polynomial = fmpq_poly([0, *first])
        values = [value_at(polynomial, b) for b in range(1, 400)]
        rises = [k for k, (a, b) in enumerate(pairwise(values), start=1) if a <= b]
        expected = rises[-1] + 1 if rises else 1
        threshold = decreasing_from(polynomial)
        assert threshold.integer == expected
        assert threshold.integer <= threshold.real[1].__ceil__()
        above_one += expected > 1
    assert above_one >= 20


def test_real_threshold_is_where_the_slope_changes_sign():
    polynomial = fmpq_poly([0, 1, -7, 3, 50, -2])
    low, high = decreasing_from(polynomial).real
    slope = polynomial.derivative()
    assert low > 1
    assert slope(1 / as_rational(high)) > 0
    assert slope(1 / as_rational(low)) < 0


def test_constant_and_increasing_polynomials_have_no_b0():
    with pytest.raises(ValueError, match="constant"):
        decreasing_from(fmpq_poly([3]))
    assert decreasing_from(fmpq_poly([0, -1, 5])) is None


def test_floats_and_bad_arguments_are_refused():
    with pytest.raises(TypeError, match="found float"):
        variance_at_step(ScalarNetwork(1.5, 1, 1), FIFTH, 1)
    with pytest.raises(ValueError, match="needs 2 learning rates"):
        variance_at_step(HEAVY, FIFTH[:1], 2)
    with pytest.raises(ValueError, match="must not be negative"):
        degree(-1)
    with pytest.raises(ValueError, match="layer must be 1 or 2"):
        leading_coefficient(HEAVY, FIFTH, 1, 3)
    with pytest.raises(ValueError, match="batch_size must be positive"):
        value_at(fmpq_poly([0, 1]), 0)


def test_exact_value_at_a_fractional_batch_size():
    assert value_at(fmpq_poly([0, 1, 2]), Fraction(3, 2)) == Fraction(2, 3) + 2 * Fraction(4, 9)
    assert as_rational(Fraction(2, 6)) == fmpq(1, 3)
