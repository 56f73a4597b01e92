"""Certified polynomials against exact rationals and against the float64 recursion."""

from fractions import Fraction
from itertools import combinations, product

import flint
import numpy as np
import pytest

from pipeline_lib.theory.linear_regression import exact_moments
from pipeline_lib.theory.polynomial import variance_polynomials

N, P = 60, 4
STEPS = [0, 1, 2, 10, 40]


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(3)
    x = np.column_stack([np.ones(N), rng.normal(size=(N, P - 1))])
    return x, rng.normal(size=N), rng.normal(size=P)


@pytest.fixture(scope="module")
def rates():
    return [1 / (2 * t) for t in range(1, 42)]


@pytest.fixture(scope="module")
def polynomials(data, rates):
    return variance_polynomials(*data, rates, STEPS)


def fractions_of(array):
    return [Fraction(value) for value in array.tolist()]


def encloses(ball, value):
    # The rational becomes a ball of the current precision, which must be far finer than `ball`.
    with flint.ctx.workprec(8192):
        return ball.contains(flint.fmpq(value.numerator, value.denominator))


def exact_enumeration(x, y, w0, rates, b):
    """(var of g_t, var of the full gradient) at t = len(rates), in rational arithmetic."""
    rows, target = [fractions_of(row) for row in x], fractions_of(y)
    n, p = x.shape

    def mean_gradient(w, indices):
        total = [Fraction(0)] * p
        for i in indices:
            r = sum(a * b for a, b in zip(w, rows[i], strict=True)) - target[i]
            total = [s + r * a for s, a in zip(total, rows[i], strict=True)]
        return [s / len(indices) for s in total]

    def variance(vectors):
        count = len(vectors)
        second = sum(a * a for v in vectors for a in v) / count
        return second - sum((sum(v[j] for v in vectors) / count) ** 2 for j in range(p))

    batches = list(combinations(range(n), b))
    ends = []
    for history in product(batches, repeat=len(rates)):
        w = fractions_of(w0)
        for rate, batch in zip(rates, history, strict=True):
            w = [a - rate * g for a, g in zip(w, mean_gradient(w, batch), strict=True)]
        ends.append(w)
    stochastic = variance([mean_gradient(w, batch) for w in ends for batch in batches])
    return stochastic, variance([mean_gradient(w, range(n)) for w in ends])


@pytest.mark.parametrize("p", [1, 2])
def test_polynomials_enclose_exact_rationals(p):
    rng = np.random.default_rng(p)
    x, y, w0 = rng.normal(size=(4, p)), rng.normal(size=4), rng.normal(size=p)
    learning = [Fraction(1, 2), Fraction(1, 3)]
    found = variance_polynomials(x, y, w0, learning, [0, 1, 2])
    for b in range(1, 5):
        truth = [exact_enumeration(x, y, w0, learning[:t], b) for t in range(3)]
        for polynomial in found:
            value = truth[polynomial.step][polynomial.quantity == "full_gradient"]
            ball = polynomial.evaluate_ball(b)
            assert encloses(ball, value)
            assert float(ball.rad()) < 1e-120
            approximation, bound = polynomial.evaluate(b)
            assert abs(Fraction(approximation) - value) <= Fraction(bound)
            assert bound <= 1e-15 * abs(approximation) + 1e-120


def test_rational_learning_rates_are_not_rounded():
    x, y, w0 = np.eye(2), np.array([1.0, 2.0]), np.zeros(2)
    third = variance_polynomials(x, y, w0, [Fraction(1, 3)], [1])[2].evaluate_ball(1)
    rounded = variance_polynomials(x, y, w0, [1 / 3], [1])[2].evaluate_ball(1)
    _, truth = exact_enumeration(x, y, w0, [Fraction(1, 3)], 1)
    assert truth == Fraction(5, 144)
    assert encloses(third, truth)
    assert not encloses(rounded, truth)


def test_order_and_names(polynomials):
    expected = [
        (t, quantity, basis)
        for t in STEPS
        for quantity in ("stochastic_gradient", "full_gradient")
        for basis in ("batch_factor", "inverse_b")
    ]
    assert [(q.step, q.quantity, q.basis) for q in polynomials] == expected


def test_equals_recursion_for_every_batch_size(polynomials, data, rates):
    sizes = np.arange(1, N + 1)
    moments = exact_moments(*data, rates, sizes)
    for polynomial in polynomials:
        recursion = getattr(moments, polynomial.quantity)[polynomial.step]
        values = np.array([polynomial.evaluate(int(b))[0] for b in sizes])
        # also certifies the recursion: measured error below 1e-14 at t = 40
        np.testing.assert_allclose(recursion[:-1], values[:-1], 1e-12)
        assert recursion[-1] == 0
        assert abs(values[-1]) < 1e-130


def test_degree_and_sign(polynomials):
    for polynomial in polynomials:
        stochastic = polynomial.quantity == "stochastic_gradient"
        length = polynomial.step + 1 + stochastic
        assert len(polynomial.coefficients) == length
        if stochastic or polynomial.step > 0:
            assert polynomial.degree == length - 1
        else:
            assert polynomial.degree == -1
        if polynomial.basis == "batch_factor":
            assert polynomial.coefficients[0].is_zero()
            assert all(ball > 0 for ball in polynomial.coefficients[1:])
        elif polynomial.degree > 0:
            # the value at 1/b -> 0, where c_b < 0
            assert polynomial.coefficients[0] < 0


def test_radius_bounds_the_coefficients(polynomials, data, rates):
    finer = variance_polynomials(*data, rates, STEPS, precision_bits=1024)
    for coarse, fine in zip(polynomials, finer, strict=True):
        radius = coarse.radius()
        assert radius < 1e-100
        assert fine.radius() <= radius * 1e-100
        with flint.ctx.workprec(1024):
            for a, b in zip(coarse.coefficients, fine.coefficients, strict=True):
                assert a.overlaps(b)
                if not b.is_zero():
                    assert float(abs((a.mid() - b) / b).upper()) <= radius


def test_float64_error(polynomials):
    sizes = range(1, N + 1)
    for polynomial in polynomials:
        error = polynomial.float64_error(sizes)
        if polynomial.degree < 0:
            assert np.isnan(error)
        elif polynomial.basis == "batch_factor":
            assert 0 < error < 1e-14
        else:
            # near b = n the value is a difference of terms about n times as large
            assert 1e-16 < error < 1e-10
            assert polynomial.float64_error(range(1, N // 2)) < error
    assert np.isnan(polynomials[0].float64_error([N]))


def test_float64_error_is_the_error_of_horner(polynomials):
    polynomial = polynomials[-3]
    assert (polynomial.basis, polynomial.step) == ("inverse_b", 40)
    b = N - 1
    approximation = np.polynomial.polynomial.polyval(1 / b, polynomial.as_float())
    with flint.ctx.workprec(512):
        truth = polynomial.evaluate_ball(b)
        expected = float(abs((flint.arb(float(approximation)) - truth) / truth))
    np.testing.assert_allclose(polynomial.float64_error([b]), expected, 1e-6)


def test_decimal_and_float_agree(polynomials):
    for polynomial in polynomials:
        decimals = polynomial.as_decimal(25)
        np.testing.assert_array_equal([float(d) for d in decimals], polynomial.as_float())
        fractions = [Fraction(d) for d in decimals]
        for exact, ball in zip(fractions, polynomial.coefficients, strict=True):
            with flint.ctx.workprec(512):
                written = flint.arb(flint.fmpq(exact.numerator, exact.denominator))
                assert abs(written - ball) <= abs(ball) * flint.arb("1e-24")


def test_vanishing_variance_is_an_exact_zero():
    x = np.array([[1.0, 2], [1, 3], [1, -1]])
    w = np.array([2.0, -1])
    for polynomial in variance_polynomials(x, x @ w, w, [0.3, 0.2], [2]):
        assert polynomial.degree == -1
        assert polynomial.evaluate(1) == (0.0, 0.0)
        assert polynomial.as_decimal(5) == ["0"] * len(polynomial.coefficients)


def test_precision_context_is_restored(data):
    before = flint.ctx.prec
    variance_polynomials(*data, [0.1], [1])
    with pytest.raises(ValueError, match="raise precision_bits above 64"):
        variance_polynomials(*data, [0.5] * 40, [40], precision_bits=64)
    assert flint.ctx.prec == before


def test_bad_input(data):
    x, y, w = data
    with pytest.raises(ValueError, match="steps must not be negative, got -1"):
        variance_polynomials(x, y, w, [0.1], [0, -1])
    with pytest.raises(ValueError, match="step 2 needs 2 learning rates, got 1"):
        variance_polynomials(x, y, w, [0.1], [2])
    with pytest.raises(ValueError, match="learning_rates must be finite"):
        variance_polynomials(x, y, w, [float("inf")], [1])
    with pytest.raises(ValueError, match="precision_bits must be at least 64"):
        variance_polynomials(x, y, w, [0.1], [1], precision_bits=53)
    with pytest.raises(ValueError, match="target must have shape"):
        variance_polynomials(x, y[1:], w, [0.1], [1])
    first = variance_polynomials(x, y, w, [0.1], [0])[0]
    for bad in (0, N + 1):
        with pytest.raises(ValueError, match="batch size must be a whole number"):
            first.evaluate(bad)
        with pytest.raises(ValueError, match="batch size must be a whole number"):
            first.float64_error([bad])
