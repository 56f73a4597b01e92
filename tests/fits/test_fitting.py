"""Polynomial fits against rational arithmetic, numpy's lstsq and simulated noise."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from pipeline_lib.fits.fitting import Basis, PolynomialFit, fit_polynomial, max_relative_error

Array = NDArray[np.float64]
N = 500
BATCH_SIZES = sorted({2**k for k in range(1, 9)} | set(range(40, N + 1, 40)))
TRUE = (Fraction(1, 50), *map(Fraction, (3, 5, -4, 7, 2, -1)))
VARIANTS: list[tuple[Basis, bool]] = [
    ("inverse_b", True),
    ("inverse_b", False),
    ("batch_factor", True),
    ("batch_factor", False),
]


def abscissa(b: int, basis: Basis) -> Fraction:
    return Fraction(1, b) if basis == "inverse_b" else Fraction(N - b, b * (N - 1))


def exact_values(basis: Basis, constant: bool, batch_sizes: list[int], degree: int = 6) -> Array:
    terms = range(0 if constant else 1, degree + 1)
    x = [abscissa(b, basis) for b in batch_sizes]
    return np.array([float(sum(TRUE[k] * xi**k for k in terms)) for xi in x])


def rational_fit(variance: Array, std_error: Array, basis: Basis, powers: range) -> list[Fraction]:
    """Weighted least squares by the normal equations in rational arithmetic."""
    x = [abscissa(b, basis) for b in BATCH_SIZES]
    w = [1 / Fraction(float(s)) ** 2 for s in std_error]
    y = [Fraction(float(v)) for v in variance]
    rows = [
        [sum(wi * xi ** (p + q) for wi, xi in zip(w, x, strict=True)) for q in powers]
        + [sum(wi * yi * xi**p for wi, xi, yi in zip(w, x, y, strict=True))]
        for p in powers
    ]
    for i in range(len(rows)):
        rows[i] = [v / rows[i][i] for v in rows[i]]
        for j in range(len(rows)):
            if j != i:
                rows[j] = [u - rows[j][i] * v for u, v in zip(rows[j], rows[i], strict=True)]
    return [row[-1] for row in rows]


@pytest.mark.parametrize(("basis", "constant"), VARIANTS)
def test_recovers_the_coefficients_of_noiseless_data(basis: Basis, constant: bool) -> None:
    variance = exact_values(basis, constant, BATCH_SIZES)
    fit = fit_polynomial(BATCH_SIZES, variance, 0.01 * variance, N, 6, basis, constant)
    expected = [float(c) for c in TRUE[0 if constant else 1 :]]
    # The rounding of the data to doubles, 1e-16 of the values, is 1e-14 of the standard errors
    # and moves the coefficients by about that many of theirs.
    assert np.max(np.abs(fit.coefficients - expected) / fit.std_errors) < 2e-13
    np.testing.assert_allclose(fit.coefficients, expected, rtol=1e-8)
    assert fit.powers.tolist() == list(range(0 if constant else 1, 7))
    assert fit.dof == 20 - fit.powers.size
    assert fit.r_squared > 1 - 1e-12
    assert fit.chi_squared < 1e-20
    assert max_relative_error(fit, BATCH_SIZES, variance) < 1e-14
    everywhere = list(range(2, N))
    exact = exact_values(basis, constant, everywhere)
    assert max_relative_error(fit, everywhere, exact) < 1e-13


@pytest.mark.parametrize(("basis", "constant"), VARIANTS)
def test_noisy_fit_equals_rational_arithmetic(basis: Basis, constant: bool) -> None:
    variance = exact_values(basis, constant, BATCH_SIZES)
    std_error = 0.03 * variance
    noisy = variance + std_error * np.random.default_rng(1).standard_normal(20)
    fit = fit_polynomial(BATCH_SIZES, noisy, std_error, N, 6, basis, constant)
    powers = range(0 if constant else 1, 7)
    exact = rational_fit(noisy, std_error, basis, powers)
    pairs = zip(fit.coefficients.tolist(), exact, strict=True)
    error = np.array([float(Fraction(c) - e) for c, e in pairs])
    assert np.max(np.abs(error) / fit.std_errors) < 1e-11
    # The monomial coefficients give the values that `predict` finds without them.
    terms = list(zip(powers, exact, strict=True))
    values = [float(sum(e * abscissa(b, basis) ** k for k, e in terms)) for b in BATCH_SIZES]
    np.testing.assert_allclose(fit.predict(BATCH_SIZES), values, rtol=1e-12)


@pytest.mark.parametrize(("basis", "constant"), VARIANTS)
def test_low_degree_equals_lstsq(basis: Basis, constant: bool) -> None:
    rng = np.random.default_rng(2)
    variance = 1 + rng.random(20)
    std_error = 0.5 + rng.random(20)
    fit = fit_polynomial(BATCH_SIZES, variance, std_error, N, 2, basis, constant)
    x = np.array([float(abscissa(b, basis)) for b in BATCH_SIZES])
    design = x[:, None] ** fit.powers / std_error[:, None]
    coefficients, residual, *_ = np.linalg.lstsq(design, variance / std_error)
    covariance = np.linalg.inv(design.T @ design)
    np.testing.assert_allclose(fit.coefficients, coefficients, rtol=1e-10)
    np.testing.assert_allclose(fit.covariance, covariance, rtol=1e-9)
    np.testing.assert_allclose(fit.std_errors, np.sqrt(np.diag(covariance)), rtol=1e-9)
    np.testing.assert_allclose(fit.chi_squared, residual[0], rtol=1e-12)
    mean = np.average(variance, weights=std_error**-2)
    total = np.sum(((variance - mean) / std_error) ** 2)
    np.testing.assert_allclose(fit.r_squared, 1 - residual[0] / total, rtol=1e-10)
    scaled = design / np.sqrt((design**2).sum(0))
    singular = np.linalg.svd(scaled, compute_uv=False)
    np.testing.assert_allclose(fit.condition_number, singular[0] / singular[-1], rtol=1e-9)
    powers = x[:, None] ** fit.powers
    np.testing.assert_allclose(fit.predict(BATCH_SIZES), powers @ coefficients, rtol=1e-10)
    spread = np.sqrt(np.einsum("ij,jk,ik->i", powers, covariance, powers))
    np.testing.assert_allclose(fit.prediction_std_error(BATCH_SIZES), spread, rtol=1e-9)


def simulate(repeats: int, seed: int) -> list[PolynomialFit]:
    variance = exact_values("inverse_b", True, BATCH_SIZES)
    std_error = 0.02 * variance
    rng = np.random.default_rng(seed)
    return [
        fit_polynomial(BATCH_SIZES, variance + std_error * rng.standard_normal(20), std_error, N, 6)
        for _ in range(repeats)
    ]


def test_standard_errors_equal_the_simulated_spread() -> None:
    repeats = 400
    fits = simulate(repeats, seed=3)
    # A sample standard deviation of normal data has relative error 1/sqrt(2(R − 1)).
    band = 4 / np.sqrt(2 * (repeats - 1))
    spread = np.std([f.coefficients for f in fits], axis=0, ddof=1)
    np.testing.assert_allclose(spread / fits[0].std_errors, 1, atol=band)
    where = [2, 3, 7, 100, 490]
    predictions = np.array([f.predict(where) for f in fits])
    predicted = fits[0].prediction_std_error(where)
    np.testing.assert_allclose(predictions.std(axis=0, ddof=1) / predicted, 1, atol=band)
    bias = (predictions.mean(0) - exact_values("inverse_b", True, where)) / predicted
    assert np.max(np.abs(bias)) < 4 / np.sqrt(repeats)


def test_chi_squared_is_calibrated() -> None:
    fits = simulate(400, seed=4)
    values = [f.chi_squared for f in fits]
    assert fits[0].dof == 13
    assert stats.kstest(values, stats.chi2(13).cdf).pvalue > 1e-3
    variance = exact_values("inverse_b", True, BATCH_SIZES)
    lacking = fit_polynomial(BATCH_SIZES, variance, 1e-3 * variance, N, 1)
    assert stats.chi2(lacking.dof).sf(lacking.chi_squared) < 1e-6


def test_condition_numbers() -> None:
    equal = np.full(20, 0.1)
    variance = exact_values("inverse_b", True, BATCH_SIZES)
    for degree, (basis, constant) in product((2, 6, 12), VARIANTS):
        fit = fit_polynomial(BATCH_SIZES, variance, equal, N, degree, basis, constant)
        assert fit.orthogonal_condition_number == pytest.approx(1, abs=1e-13)
    raw = [fit_polynomial(BATCH_SIZES, variance, equal, N, d).condition_number for d in (2, 6, 12)]
    assert raw[0] < 1e3
    assert raw[1] > 1e4
    assert raw[2] > 1e10


def test_rescaling_of_the_data_rescales_the_fit() -> None:
    variance = exact_values("inverse_b", True, BATCH_SIZES)
    noisy = variance * (1 + 0.02 * np.random.default_rng(5).standard_normal(20))
    one = fit_polynomial(BATCH_SIZES, noisy, 0.02 * variance, N, 3)
    tiny = fit_polynomial(BATCH_SIZES, 1e-12 * noisy, 0.02e-12 * variance, N, 3)
    np.testing.assert_allclose(tiny.coefficients, 1e-12 * one.coefficients, rtol=1e-9)
    np.testing.assert_allclose(tiny.std_errors, 1e-12 * one.std_errors, rtol=1e-9)
    assert tiny.chi_squared == pytest.approx(one.chi_squared, rel=1e-9)


def test_points_without_a_weight_are_left_out() -> None:
    variance = exact_values("batch_factor", False, BATCH_SIZES)
    std_error = 0.02 * variance
    plain = fit_polynomial(BATCH_SIZES, variance, std_error, N, 4, "batch_factor", False)
    b = [500, *BATCH_SIZES, 3, 5, 6]
    y = [0.0, *variance, np.nan, 7.0, np.inf]
    se = [0.0, *std_error, 1.0, np.nan, 1.0]
    fit = fit_polynomial(b, y, se, N, 4, "batch_factor", False)
    np.testing.assert_array_equal(fit.coefficients, plain.coefficients)
    assert fit.n_points == 20
    # Without a constant term the fit vanishes where the batch is the whole data set.
    assert fit.predict(N) == 0
    assert fit.prediction_std_error(N) == 0


def test_too_few_points() -> None:
    b, y = [2, 4, 8, 8, 16], np.ones(5)
    assert fit_polynomial(b, y, y, N, 3).dof == 1
    with pytest.raises(ValueError, match=r"^degree 4 needs 5 distinct .* got 4 of 5 points$"):
        fit_polynomial(b, y, y, N, 4)
    assert fit_polynomial(b, y, y, N, 4, constant=False).dof == 1
    with pytest.raises(ValueError, match=r"needs 5 distinct .* got 4 of 5"):
        fit_polynomial([2, 4, 8, 16, 500], y, y, N, 5, "batch_factor", constant=False)
    with pytest.raises(ValueError, match="got 0 of 0"):
        fit_polynomial([], [], [], N, 1)


def test_bad_input() -> None:
    b, y = [2, 4, 8], np.ones(3)
    with pytest.raises(ValueError, match="basis must be one of inverse_b, batch_factor, got 'b'"):
        fit_polynomial(b, y, y, N, 1, "b")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="degree must be at least 1, got 0"):
        fit_polynomial(b, y, y, N, 0)
    with pytest.raises(ValueError, match="n must be at least 2"):
        fit_polynomial([1], [1.0], [1.0], 1, 1)
    with pytest.raises(ValueError, match=r"batch sizes must lie in \[1, 7\], got 2.0 to 8.0"):
        fit_polynomial(b, y, y, 7, 1)
    with pytest.raises(ValueError, match="three vectors of one length"):
        fit_polynomial(b, y, y[:2], N, 1)
    with pytest.raises(ValueError, match="must not be negative"):
        fit_polynomial(b, y, -y, N, 1)
    fit = fit_polynomial(b, y, y, N, 1)
    with pytest.raises(ValueError, match="batch sizes must lie"):
        fit.predict([0, 2])
    with pytest.raises(ValueError, match="none of the 2 exact values is positive"):
        max_relative_error(fit, [2, 4], [0.0, np.nan])
    with pytest.raises(ValueError, match="batch sizes and"):
        max_relative_error(fit, [2, 4], [1.0])


def test_max_relative_error_by_hand() -> None:
    fit = fit_polynomial([1, 2, 4], [2.0, 1.5, 1.25], np.ones(3), N, 1)  # 1 + 1/b
    np.testing.assert_allclose(fit.coefficients, [1, 1], rtol=1e-14)
    error = max_relative_error(fit, [1, 2, 500], [2.5, 1.2, 0.0])
    assert error == pytest.approx(0.25, rel=1e-13)  # 1.5 against 1.2; b = 500 is left out
