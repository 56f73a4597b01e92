"""Gradient variances of linear regression as polynomials in the batch size, with certified digits.

With Sigma_t the covariance of w_t (see ``linear_regression``) and c = c_b the batch factor,
Sigma_t = Σ_k Sigma_{t,k} c^k, where Sigma_0 = 0 and

    Sigma_{t+1,k} = A Sigma_{t,k} A + alpha² (G(Sigma_{t,k−1}) + [k = 1] K(m_t)).

Hence var(g_t | F_0) has degree t + 1 in c and var(∇L(w_t) | F_0) has degree t. The map G and
S -> A S A preserve positive semi-definite matrices and K(m_t) is one, so every Sigma_{t,k} is
positive semi-definite and every coefficient in c is nonnegative. As c_b falls in b, both variances
fall in b: a short proof of Corollary 1 of arXiv 2004.13146, with the degree stated in its
Section 4.2, where the polynomial is written in 1/b.

With coefficients of one sign, Horner's rule in c loses no digits. The change of variable
c = n/(n−1) · (1/b) − 1/(n−1) brings in negative coefficients, at least the constant one, and the
value near b = n, where the variance vanishes, becomes a difference of larger terms.
``VariancePolynomial.float64_error`` measures what that costs.

All coefficients are computed in ball arithmetic (Arb, through python-flint): each is a midpoint
with a radius that encloses every rounding error. The float64 inputs are taken as exact.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import flint
import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline_lib.theory.linear_regression import batch_factor, check_problem
from pipeline_lib.theory.polynomial_coefficients import coefficient_rows

__all__ = ["Basis", "Quantity", "VariancePolynomial", "variance_polynomials"]

Quantity = Literal["stochastic_gradient", "full_gradient"]
Basis = Literal["batch_factor", "inverse_b"]

MAX_RELATIVE_RADIUS = 1e-20


@dataclass(frozen=True, eq=False)
class VariancePolynomial:
    """One variance given F_0 as a polynomial in c_b or in 1/b, coefficients in ascending powers.

    Attributes:
        step: t, the number of updates before the gradient is taken.
        quantity: "stochastic_gradient" for g_t or "full_gradient" for ∇L(w_t).
        basis: the variable, "batch_factor" for c_b = (n−b)/(b(n−1)) or "inverse_b" for 1/b.
        coefficients: one ball per power, t + 2 for g_t and t + 1 for ∇L(w_t).
        n: number of samples.
        precision_bits: working precision of the coefficients and of ``evaluate``.
    """

    step: int
    quantity: Quantity
    basis: Basis
    coefficients: tuple[flint.arb, ...]
    n: int
    precision_bits: int

    @property
    def degree(self) -> int:
        """Largest power whose ball excludes zero; −1 for the zero polynomial."""
        powers = [k for k, ball in enumerate(self.coefficients) if not ball.contains(0)]
        return max(powers, default=-1)

    def as_float(self) -> NDArray[np.float64]:
        """Return the midpoints rounded to float64, in ascending powers."""
        return np.array([float(ball.mid()) for ball in self.coefficients])

    def as_decimal(self, digits: int) -> list[str]:
        """Return decimal strings of up to ``digits`` digits, off by at most one in the last."""
        with flint.ctx.workprec(self.precision_bits):
            return [
                "0" if ball.contains(0) else ball.str(digits, radius=False)
                for ball in self.coefficients
            ]

    def radius(self) -> float:
        """Return a bound on the relative error of the coefficients.

        A ball that contains zero has no relative error of its own; its largest element is
        compared with the largest coefficient.
        """
        with flint.ctx.workprec(self.precision_bits):
            largest = max((ball.abs_upper() for ball in self.coefficients), default=flint.arb(0))
            bound = 0.0
            for ball in self.coefficients:
                if ball.is_zero():
                    continue
                if ball.contains(0):
                    bound = max(bound, _upper(ball.abs_upper() / largest))
                else:
                    bound = max(bound, _upper(ball.rad() / ball.abs_lower()))
        return bound

    def evaluate_ball(self, batch_size: int) -> flint.arb:
        """Return a ball that encloses the variance at ``batch_size``.

        Raises:
            ValueError: a batch size that is not a whole number in [1, n].
        """
        batch_factor(batch_size, self.n)  # checks the range
        b, n = int(batch_size), self.n
        variable = (
            flint.fmpq(n - b, b * (n - 1)) if self.basis == "batch_factor" else flint.fmpq(1, b)
        )
        with flint.ctx.workprec(self.precision_bits):
            return flint.arb_poly(list(self.coefficients))(flint.arb(variable))

    def evaluate(self, batch_size: int) -> tuple[float, float]:
        """Return the variance at ``batch_size`` as float64 and a bound on its absolute error.

        The bound covers the radius of the ball and the rounding to float64.

        Raises:
            ValueError: a batch size that is not a whole number in [1, n].
        """
        ball = self.evaluate_ball(batch_size)
        value = float(ball.mid())
        with flint.ctx.workprec(self.precision_bits):
            return value, _upper((ball - flint.arb(value)).abs_upper())

    def float64_error(self, batch_sizes: Iterable[int]) -> float:
        """Return the largest relative error made by using the polynomial in float64.

        Coefficients and variable are rounded to float64 and summed by Horner's rule in float64;
        the result is compared with ``evaluate_ball``. Batch sizes whose ball contains zero, such
        as b = n, have no relative error and are left out; NaN if that leaves none.

        Args:
            batch_sizes: (B,) whole numbers in [1, n].

        Raises:
            ValueError: a batch size that is not a whole number in [1, n].
        """
        sizes = np.asarray(list(batch_sizes), dtype=np.int64)
        factor = batch_factor(sizes, self.n)
        variable = factor if self.basis == "batch_factor" else 1.0 / sizes
        value = np.zeros(len(sizes))
        for coefficient in self.as_float()[::-1]:
            value = value * variable + coefficient
        worst = math.nan
        for b, approximation in zip(sizes.tolist(), value.tolist(), strict=True):
            ball = self.evaluate_ball(b)
            if ball.contains(0):
                continue
            with flint.ctx.workprec(self.precision_bits):
                error = _upper(((ball - flint.arb(approximation)) / ball).abs_upper())
            worst = error if math.isnan(worst) else max(worst, error)
        return worst


def variance_polynomials(
    features: ArrayLike,
    target: ArrayLike,
    initial_weights: ArrayLike,
    learning_rates: Sequence[Fraction | float],
    steps: Sequence[int],
    precision_bits: int = 512,
) -> list[VariancePolynomial]:
    """Compute var(g_t | F_0) and var(∇L(w_t) | F_0) as polynomials in c_b and in 1/b.

    Source: Corollary 1 and Section 4.2 of arXiv 2004.13146. The loss is the mean over n samples.

    Args:
        features: (n, p) samples.
        target: (n,) targets.
        initial_weights: (p,) weights w_0.
        learning_rates: (T,) entry t is used by the update from w_t to w_{t+1}, with
            T >= max(steps); a ``Fraction`` is taken as it is, a float as the number it stores.
        steps: the steps t wanted, t >= 0.
        precision_bits: working precision.

    Returns:
        Four polynomials per entry of ``steps``, in that order: the stochastic gradient in c_b and
        in 1/b, then the full gradient in c_b and in 1/b.

    Raises:
        ValueError: shapes that do not fit together, n < 2, an input that is not finite, a
            negative step, too few learning rates, precision_bits below 64, or a relative radius
            (``VariancePolynomial.radius``) above 1e-20, which a higher precision mends.
    """
    x, y, w = check_problem(features, target, initial_weights)
    n = len(x)
    if any(step < 0 for step in steps):
        raise ValueError(f"steps must not be negative, got {min(steps)}")
    last = max(steps, default=-1)
    if len(learning_rates) < last:
        raise ValueError(f"step {last} needs {last} learning rates, got {len(learning_rates)}")
    if not all(math.isfinite(rate) for rate in learning_rates):
        raise ValueError("learning_rates must be finite")
    if precision_bits < 64:
        raise ValueError(f"precision_bits must be at least 64, got {precision_bits}")
    with flint.ctx.workprec(precision_bits):
        rows = coefficient_rows(x, y, w, learning_rates, last)
        # c_b as a polynomial in 1/b
        inner = flint.arb_poly([flint.fmpq(-1, n - 1), flint.fmpq(n, n - 1)])
        result: list[VariancePolynomial] = []
        for t in steps:
            for quantity, row in zip(_QUANTITIES, rows[t], strict=True):
                in_inverse = flint.arb_poly(row)(inner).coeffs()
                # arb_poly drops leading zeros
                in_inverse += [flint.arb(0)] * (len(row) - len(in_inverse))
                for basis, balls in zip(_BASES, (row, in_inverse), strict=True):
                    polynomial = VariancePolynomial(
                        t, quantity, basis, tuple(balls), n, precision_bits
                    )
                    _check_radius(polynomial)
                    result.append(polynomial)
    return result


_QUANTITIES: tuple[Quantity, ...] = ("stochastic_gradient", "full_gradient")
_BASES: tuple[Basis, ...] = ("batch_factor", "inverse_b")


def _check_radius(polynomial: VariancePolynomial) -> None:
    radius = polynomial.radius()
    # written so that NaN fails too
    if not radius <= MAX_RELATIVE_RADIUS:
        raise ValueError(
            f"relative radius {radius:.1e} of the {polynomial.quantity} coefficients in "
            f"{polynomial.basis} at step {polynomial.step} is above {MAX_RELATIVE_RADIUS:g}: "
            f"raise precision_bits above {polynomial.precision_bits}"
        )


def _upper(ball: flint.arb) -> float:
    """Return a float64 that is at least as large as every element of the ball."""
    return math.nextafter(float(ball.upper()), math.inf) if not ball.is_zero() else 0.0
