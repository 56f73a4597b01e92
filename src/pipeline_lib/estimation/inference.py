"""Confidence intervals, tests and reliability of a variance over few runs of skewed contributions.

An estimate V̂ is the mean over n runs of contributions y_r ≥ 0 (see `variance`): squared deviations
from the mean of their group, R/(R−1) |g_r − ḡ|², Rao–Blackwellised or not. Stored per estimate are
n, dof (n less one for each group), V̂, m2 = Σ(y−V̂)², m3 = Σ(y−V̂)³, max y and `conditional_m2`, the
part of m2 that comes from conditional variances. All functions broadcast; nan where the input
cannot be used.

Standard error. The contributions of a group share its mean. For Gaussian vectors of any covariance
E m2 = n (dof − 1) var(V̂), so SE² = m2 / (n (dof − 1)), and there is none for dof ≤ 1: the two
contributions of a pair are always equal. Conditional variances are independent between runs, with
m2 / (n (n − 1)); their covariance with the deviations has the divisor of the deviations.

Interval. With T = (V̂ − V)/SE, P(T ≤ x) = Φ(x) + n^{-1/2} γ (2x² + 1)/6 φ(x) + O(1/n), γ the
skewness of y: the t interval reaches too low and not high enough. Hall (1992), "On the removal of
skewness by transformation", JRSS B 54, 221–228, maps T by the monotone cubic
T + a T² + b + a² T³/3, a = γ/(3√n), b = γ/(6√n), whose law is normal to O(1/n), and inverts it. We
take quantiles of Student's t at dof − 1, as many as the standard error has.

What these keep of their promise at few runs and with heavy tails: docs/inference.md.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special  # scipy.stats takes a second to import

from pipeline_lib.estimation.reliability import Estimate, checked, error_bound, float_arrays

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Interval:
    """Standard error of the estimate and a two-sided interval, of the broadcast input shape."""

    std_error: FloatArray
    low: FloatArray
    high: FloatArray


@dataclass(frozen=True, eq=False)
class _Sample:
    """Broadcast sufficient statistics of one estimate; nan where they cannot be used."""

    n: FloatArray
    dof: FloatArray
    mean: FloatArray
    std_error: FloatArray
    skewness: FloatArray


def standard_error(
    n_runs: ArrayLike, m2: ArrayLike, dof: ArrayLike, conditional_m2: ArrayLike = 0.0
) -> FloatArray:
    """Standard error of the mean contribution; nan for dof ≤ 1.

    SE² = (m2 − m2_c)/(n (dof − 1)) + m2_c/(n (n − 1)), m2_c the ``conditional_m2``. It is at least
    m2/(n (n − 1)): where both parts vary against each other the first term alone can be negative.
    """
    n, m2_, dof_, part = float_arrays(n_runs, m2, dof, conditional_m2)
    known = (dof_ > 1) & (m2_ >= 0) & np.isfinite(m2_)
    safe = np.where(known, dof_, 2.0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        square = (m2_ - part) / (n * (safe - 1)) + part / (n * (n - 1))
        error = np.sqrt(np.maximum(square, m2_ / (n * (n - 1))))
    return np.where(known, error, np.nan)


def _sample(
    n_runs: ArrayLike,
    mean: ArrayLike,
    m2: ArrayLike,
    m3: ArrayLike,
    dof: ArrayLike | None,
    conditional_m2: ArrayLike,
) -> _Sample:
    one_group = np.asarray(n_runs, np.float64) - 1
    n, mean_, m2_, m3_, dof_, part = float_arrays(
        n_runs, mean, m2, m3, one_group if dof is None else dof, conditional_m2
    )
    error = standard_error(n, m2_, dof_, part)
    usable = (mean_ >= 0) & np.isfinite(mean_ + m3_ + error)
    n = np.where(usable, n, np.nan)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        spread = np.sqrt(m2_ / n)
        # Successive division, because spread**3 leaves the range of doubles before m3 does.
        skewness = m3_ / spread / spread / spread / n
        # The sample skewness is biased towards zero; this factor makes it unbiased for normal data.
        skewness = skewness * np.where(n > 2, np.sqrt(n * (n - 1)) / np.maximum(n - 2, 1), 0.0)
        cv = np.where(mean_ > 0, error * np.sqrt(n) / mean_, 0.0)
    # For |Gaussian vector|² with any covariance, skewness ≥ 2 cv: with eigenvalues l the ratio is
    # 2 Σl Σl³/(Σl²)² ≥ 2 (Cauchy–Schwarz). Heavier tails exceed it, and the sample skewness is low
    # just when the tail has not been seen, so the bound is imposed.
    skewness = np.where(cv > 0, np.fmax(skewness, 2 * cv), 0.0)
    return _Sample(
        n,
        np.where(usable, dof_, np.nan),
        np.where(usable, mean_, np.nan),
        np.where(usable, error, np.nan),
        skewness,
    )


def _cubic(t: FloatArray, a: FloatArray, b: FloatArray) -> FloatArray:
    """Hall's transformation t + a t² + b + a² t³/3; increasing, its derivative is (1 + a t)²."""
    return t + a * t**2 + b + a**2 * t**3 / 3


def _cubic_inverse(z: FloatArray, a: FloatArray, b: FloatArray) -> FloatArray:
    small = np.abs(a) < 1e-8  # there the cube root cancels, and t = z − b to 1e-8 t²
    safe = np.where(small, 1.0, a)
    return np.where(small, z - b, (np.cbrt(1 + 3 * safe * (z - b)) - 1) / safe)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level must lie strictly between 0 and 1, got {level!r}")


def variance_interval(
    n_runs: ArrayLike,
    mean: ArrayLike,
    m2: ArrayLike,
    m3: ArrayLike,
    level: float = 0.95,
    *,
    dof: ArrayLike | None = None,
    conditional_m2: ArrayLike = 0.0,
) -> Interval:
    """Two-sided interval for V by Hall's cubic transformation with Student t quantiles.

    ``dof`` is n_runs − 1, one group, unless given. The skewness used is the larger of the sample's
    and of 2 SE √n/V̂, the least that the squared length of a Gaussian vector can have. m2 = 0 gives
    low = high = mean, which is right only of what theory knows (`judged.judged` decides); low is
    cut at 0; dof ≤ 1 gives nan throughout.

    Where the runs have not seen the tail that carries V the interval lies below V: no function of
    the sample can mend that. `reliability` and `precise` say which estimates to rely on, and
    docs/inference.md how often they are right.
    """
    _check_level(level)
    sample = _sample(n_runs, mean, m2, m3, dof, conditional_m2)
    root = np.sqrt(sample.n)
    a, b = sample.skewness / (3 * root), sample.skewness / (6 * root)
    quantile = np.asarray(special.stdtrit(sample.dof - 1, (1 + level) / 2), np.float64)
    low = sample.mean - sample.std_error * _cubic_inverse(quantile, a, b)
    high = sample.mean - sample.std_error * _cubic_inverse(-quantile, a, b)
    return Interval(sample.std_error, np.maximum(low, 0.0), high)


def p_value(
    n_runs: ArrayLike,
    mean: ArrayLike,
    m2: ArrayLike,
    m3: ArrayLike,
    null: ArrayLike,
    *,
    dof: ArrayLike | None = None,
) -> FloatArray:
    """Two-sided p-value of the hypothesis V = null.

    Inverts `variance_interval`: p < α exactly when a null ≥ 0 lies outside the interval of level
    1 − α (before it is cut at 0). With m2 = 0 it is 1 where null equals the mean and 0 elsewhere.
    """
    sample = _sample(n_runs, mean, m2, m3, dof, 0.0)
    root = np.sqrt(sample.n)
    difference = sample.mean - np.asarray(null, np.float64)
    fixed = sample.std_error == 0
    t = difference / np.where(fixed, 1.0, sample.std_error)
    z = _cubic(t, sample.skewness / (3 * root), sample.skewness / (6 * root))
    p = 2 * np.asarray(special.stdtr(sample.dof - 1, -np.abs(z)), np.float64)
    certain = np.where(np.isnan(difference), np.nan, np.where(difference == 0, 1.0, 0.0))
    return np.where(fixed, certain, p)


def decreasing_p_value(first: Estimate, second: Estimate) -> FloatArray:
    """One-sided p-value of V1 ≤ V2 against V1 > V2 from two independent sets of runs.

    The larger of two, so that it holds far out in the tail, where Holm's adjustment reads it:

    - Student's t for log(V̂1/V̂2)/S, S² = v1 + v2, v = (SE/V̂)², at the smaller dof − 1. It allows
      for the error of S; the smaller dof makes it conservative for normal estimates whatever their
      variances (Mickey and Brown 1966).
    - F for V̂1/V̂2 at 2/v1 and 2/v2 degrees of freedom, v taken at its upper bound (`error_bound`).
      The sum of squares of a Gaussian vector is about V χ²_k/k with k = 2/v, so this allows for the
      skewness of the estimates.

    nan where an estimate or its error is missing. An error of 0 says that the variance is known,
    as tables have it only where theory says so (`certain`). If both are known, or one is known to
    be 0, the p-value is 0 if V̂1 > V̂2 and 1 otherwise. An estimate of 0 with another error than 0
    cannot be.
    """
    one, two = checked(first), checked(second)
    (mean_1, error_1, dof_1), (mean_2, error_2, dof_2) = np.broadcast_arrays(one, two)
    certain = (mean_1 == 0) | (mean_2 == 0) | (error_1 + error_2 == 0)
    top, bottom = np.where(certain, 1.0, mean_1), np.where(certain, 1.0, mean_2)
    v_1, v_2 = (error_1 / top) ** 2, (error_2 / bottom) ** 2
    spread = np.sqrt(np.where(certain, 1.0, v_1 + v_2))
    log_ratio = np.log(top) - np.log(bottom)
    by_t = special.stdtr(np.minimum(dof_1, dof_2) - 1, -log_ratio / spread)
    high_1, high_2 = (v * error_bound(dof) ** 2 for v, dof in ((v_1, dof_1), (v_2, dof_2)))
    total = np.sqrt(np.where(certain, 1.0, high_1 + high_2))
    # F with so many degrees of freedom is lognormal to all digits, and cannot be evaluated.
    narrow = total < 1e-3
    free_1, free_2 = (2 / np.where(narrow | (v == 0), 1e-9, v) for v in (high_1, high_2))
    by_f = special.fdtrc(free_1, free_2, np.exp(log_ratio))
    by_f = np.where(narrow, special.ndtr(-log_ratio / total), by_f)
    p = np.where(certain, np.where(mean_1 > mean_2, 0.0, 1.0), np.maximum(by_t, by_f))
    return np.where(np.isnan(mean_1 + mean_2 + error_1 + error_2), np.nan, p)


def holm(p_values: ArrayLike) -> FloatArray:
    """Holm's (1979) step-down adjusted p-values of one family, in the input's shape.

    The family is every element that is not nan, whatever the array's shape; nan stays nan and is
    not counted. Controls the family-wise error under any dependence.
    """
    p = np.asarray(p_values, np.float64)
    flat = p.ravel()
    if np.any((flat < 0) | (flat > 1)):
        raise ValueError("p-values must lie in [0, 1]")
    tested = np.flatnonzero(~np.isnan(flat))
    order = tested[np.argsort(flat[tested], kind="stable")]
    factors = np.arange(order.size, 0, -1)
    adjusted = np.full(flat.shape, np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * flat[order]), 1.0)
    return adjusted.reshape(p.shape)


def sidak_level(level: float, m: int) -> float:
    """Level of each of m intervals so that all m hold together with probability `level`.

    level^(1/m) (Šidák 1967): exact for independent intervals, conservative for two-sided normal
    intervals of any correlation.
    """
    _check_level(level)
    if m < 1:
        raise ValueError(f"the number of comparisons must be at least 1, got {m}")
    return float(level ** (1 / m))
