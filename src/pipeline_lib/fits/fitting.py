"""Weighted polynomial fits of a variance against the batch size (paper, Section 4.2 and Fig. 1b).

The variance is fitted by a polynomial in x = 1/b, or in the batch factor x = (n−b)/(b(n−1)) of
sampling without replacement, by least squares with weights 1/SE². The monomials are close to
dependent on the points used (x crowds at 0), so the fit works in polynomials that are orthonormal
under the weights, built by the Arnoldi process (Brubeck, Nakatsukasa and Trefethen, "Vandermonde
with Arnoldi", SIAM Review 63, 2021). Values and their errors are evaluated by the same recurrence;
monomial coefficients come from running it on coefficient vectors, and are for reading only.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
Basis = Literal["inverse_b", "batch_factor"]


def _abscissa(batch_sizes: ArrayLike, n: int, basis: Basis) -> FloatArray:
    b = np.asarray(batch_sizes, np.float64)
    if not np.all((b >= 1) & (b <= n)):
        raise ValueError(f"batch sizes must lie in [1, {n}], got {b.min()} to {b.max()}")
    return 1 / b if basis == "inverse_b" else (n - b) / (b * (n - 1))


def _arnoldi(x: FloatArray, start: FloatArray, columns: int) -> tuple[FloatArray, FloatArray]:
    """Orthonormal basis of span{start, x start, …} and its recurrence.

    Returns Q (points × columns) and an upper triangular H (columns × columns) with
    start = H[0, 0] Q[:, 0] and x Q[:, k−1] = Σ_{j ≤ k} H[j, k] Q[:, j].
    """
    Q = np.zeros((x.size, columns))
    H = np.zeros((columns, columns))
    H[0, 0] = np.linalg.norm(start)
    Q[:, 0] = start / H[0, 0]
    for k in range(1, columns):
        v = x * Q[:, k - 1]
        for _ in range(2):  # the second pass restores the orthogonality that cancellation costs
            projection = Q[:, :k].T @ v
            v = v - Q[:, :k] @ projection
            H[:k, k] += projection
        H[k, k] = np.linalg.norm(v)
        Q[:, k] = v / H[k, k]
    return Q, H


def _evaluate(x: FloatArray, H: FloatArray, constant: bool) -> FloatArray:
    """Orthonormal polynomials at x, shape x.shape + (columns,)."""
    values = np.empty((*x.shape, H.shape[1]))
    values[..., 0] = (np.ones_like(x) if constant else x) / H[0, 0]
    for k in range(1, H.shape[1]):
        values[..., k] = (x * values[..., k - 1] - values[..., :k] @ H[:k, k]) / H[k, k]
    return values


def _monomials(H: FloatArray) -> FloatArray:
    """Column k: coefficients of polynomial k, ascending from the lowest power of the basis.

    The entries are large and alternate in sign. Rounding in them stays below 1e-11 of the
    coefficients' standard errors at degree 6 (compared with rational arithmetic in the tests).
    """
    size = H.shape[1]
    M = np.zeros((size, size))
    M[0, 0] = 1 / H[0, 0]
    for k in range(1, size):
        M[1:, k] = M[:-1, k - 1]
        M[:, k] = (M[:, k] - M[:, :k] @ H[:k, k]) / H[k, k]
    return M


@dataclass(frozen=True, eq=False)
class PolynomialFit:
    """Σ_k coefficients[k] x^powers[k] fitted to a variance; arrays of length P, ascending powers.

    std_errors and covariance (P × P) take the given standard errors as known; they are not scaled
    by chi_squared/dof. r_squared = 1 − chi_squared/Σw(y − ȳ_w)², about the weighted mean in every
    variant. Condition numbers are 2-norm ones: raw_condition_number of the Vandermonde matrix x_i^k
    as it stands, condition_number of x_i^k/SE_i with its columns scaled to unit length (independent
    of the units of x), orthogonal_condition_number of the matrix the fit was solved in. n_points
    counts the points used.
    """

    basis: Basis
    constant: bool
    degree: int
    n: int
    n_points: int
    powers: NDArray[np.int64]
    coefficients: FloatArray
    std_errors: FloatArray
    covariance: FloatArray
    r_squared: float
    chi_squared: float
    dof: int
    raw_condition_number: float
    condition_number: float
    orthogonal_condition_number: float
    orthogonal_coefficients: FloatArray
    recurrence: FloatArray
    x_scale: float

    def _orthogonal(self, batch_sizes: ArrayLike) -> FloatArray:
        x = _abscissa(batch_sizes, self.n, self.basis) / self.x_scale
        return _evaluate(x, self.recurrence, self.constant)

    def predict(self, batch_sizes: ArrayLike) -> FloatArray:
        """Fitted variance at batch sizes in [1, n], in the input's shape."""
        return np.asarray(self._orthogonal(batch_sizes) @ self.orthogonal_coefficients)

    def prediction_std_error(self, batch_sizes: ArrayLike) -> FloatArray:
        """Standard error of `predict` as an estimate of the fitted curve, in the input's shape."""
        # The orthogonal coefficients are uncorrelated with unit variance by construction.
        return np.asarray(np.linalg.norm(self._orthogonal(batch_sizes), axis=-1))


def fit_polynomial(
    batch_sizes: ArrayLike,
    variance: ArrayLike,
    std_error: ArrayLike,
    n: int,
    degree: int,
    basis: Basis = "inverse_b",
    constant: bool = True,
) -> PolynomialFit:
    """Weighted least-squares polynomial of the variance, powers 0..degree or 1..degree.

    The first three arguments are vectors of one length. Points with a non-finite variance or
    standard error are left out, and so are those with standard error 0 (b = n, where the variance
    is 0 by definition and no weight exists). Raises ValueError for malformed input and where fewer
    distinct batch sizes remain than there are coefficients.
    """
    if basis not in get_args(Basis):
        raise ValueError(f"basis must be one of {', '.join(get_args(Basis))}, got {basis!r}")
    if degree < 1:
        raise ValueError(f"degree must be at least 1, got {degree}")
    if n < 2:
        raise ValueError(f"n must be at least 2, got {n}")
    b = np.asarray(batch_sizes, np.float64)
    y, se = np.asarray(variance, np.float64), np.asarray(std_error, np.float64)
    if b.ndim != 1 or b.shape != y.shape or b.shape != se.shape:
        raise ValueError(
            f"expected three vectors of one length, got {b.shape}, {y.shape}, {se.shape}"
        )
    if np.any(se < 0):
        raise ValueError(f"standard errors must not be negative, got {np.nanmin(se)}")
    x = _abscissa(b, n, basis)
    used = np.isfinite(y) & np.isfinite(se) & (se > 0)
    x, y, se = x[used], y[used], se[used]
    powers = np.arange(0 if constant else 1, degree + 1)
    # Without a constant term the polynomial vanishes at x = 0 and such a point determines nothing.
    distinct = np.unique(x if constant else x[x > 0]).size
    if distinct < powers.size:
        raise ValueError(
            f"degree {degree} needs {powers.size} distinct batch sizes with a positive standard "
            f"error, got {distinct} of {b.size} points"
        )
    x_scale = float(x.max())  # keeps powers of x within range; undone in the coefficients
    x = x / x_scale
    # Dividing by the standard errors makes every observation one of unit variance.
    Q, H = _arnoldi(x, (np.ones_like(x) if constant else x) / se, powers.size)
    target = y / se
    orthogonal = Q.T @ target
    to_monomials = _monomials(H) / (x_scale**powers)[:, None]
    covariance = to_monomials @ to_monomials.T
    chi_squared = float(np.sum((target - Q @ orthogonal) ** 2))
    weighted_mean = np.sum(y / se**2) / np.sum(1 / se**2)
    spread = float(np.sum(((y - weighted_mean) / se) ** 2))
    raw = (x * x_scale)[:, None] ** powers
    weighted = x[:, None] ** powers / se[:, None]
    return PolynomialFit(
        basis=basis,
        constant=constant,
        degree=degree,
        n=n,
        n_points=int(x.size),
        powers=powers,
        coefficients=to_monomials @ orthogonal,
        std_errors=np.sqrt(np.diag(covariance)),
        covariance=covariance,
        r_squared=1 - chi_squared / spread if spread > 0 else float("nan"),
        chi_squared=chi_squared,
        dof=int(x.size - powers.size),
        raw_condition_number=float(np.linalg.cond(raw)),
        condition_number=float(np.linalg.cond(weighted / np.linalg.norm(weighted, axis=0))),
        orthogonal_condition_number=float(np.linalg.cond(Q)),
        orthogonal_coefficients=orthogonal,
        recurrence=H,
        x_scale=x_scale,
    )


def max_relative_error(fit: PolynomialFit, batch_sizes: ArrayLike, exact: ArrayLike) -> float:
    """Largest |fitted − exact|/exact over the given batch sizes at which exact > 0."""
    b, reference = np.asarray(batch_sizes), np.asarray(exact, np.float64)
    if b.shape != reference.shape:
        raise ValueError(f"got {b.shape} batch sizes and {reference.shape} exact values")
    positive = reference > 0
    if not positive.any():
        raise ValueError(f"none of the {reference.size} exact values is positive")
    relative = np.abs(fit.predict(b[positive]) / reference[positive] - 1)
    return float(relative.max())
