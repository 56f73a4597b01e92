"""Polynomials in 1/b: their value at a batch size, and from which b on they decrease.

Theorem 5 says that a variance `V = β₁/b + … + β_r/b^r` decreases in b for all b ≥ b₀. With x = 1/b
this is a statement about the sign of V'(x) on (0, 1/b₀], so b₀ is the reciprocal of the smallest
positive x at which V' changes sign. Everything here is exact: rational coefficients, and roots
isolated by Descartes' rule of signs with bisection (the Vincent–Collins–Akritas method).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from flint import fmpq, fmpq_poly, fmpz, fmpz_poly

Rational = int | Fraction | fmpq


def as_rational(value: Rational) -> fmpq:
    """The value as an exact rational.

    Raises:
        TypeError: for anything but `int`, `Fraction` or `fmpq`; a float is refused because its
            binary expansion is seldom the number that was meant.
    """
    if isinstance(value, fmpq):
        return value
    if isinstance(value, Fraction):
        return fmpq(value.numerator, value.denominator)
    if isinstance(value, int) and not isinstance(value, bool):
        return fmpq(value)
    raise TypeError(f"expected int, Fraction or fmpq, found {type(value).__name__} ({value!r})")


def as_fraction(value: fmpq) -> Fraction:
    """The rational as a `fractions.Fraction`."""
    return Fraction(int(value.p), int(value.q))


def coefficients(polynomial: fmpq_poly) -> list[Fraction]:
    """`[β₀, β₁, …]`, the coefficients of 1, 1/b, 1/b², …; empty for the zero polynomial."""
    return [as_fraction(c) for c in polynomial.coeffs()]


def value_at(polynomial: fmpq_poly, batch_size: Rational) -> Fraction:
    """The exact value at a batch size b > 0 (which need not be an integer).

    Raises:
        ValueError: if b ≤ 0.
    """
    b = as_rational(batch_size)
    if b <= 0:
        raise ValueError(f"batch_size must be positive, found {batch_size}")
    return as_fraction(polynomial(1 / b))


@dataclass(frozen=True)
class DecreasingFrom:
    """Where a polynomial in 1/b starts to decrease in b, for good (b₀ of Theorem 5).

    real: bounds (low, high) of the smallest b₀ ≥ 1 such that it is decreasing on [b₀, ∞); they
        coincide when b₀ is known exactly, as it is when b₀ = 1.
    integer: the smallest integer n ≥ 1 such that the values at n, n + 1, n + 2, … strictly
        decrease. It can be below `real`, because a rise between two integers need not show.
    """

    real: tuple[Fraction, Fraction]
    integer: int


def decreasing_from(
    polynomial: fmpq_poly, relative_width: Rational | None = None
) -> DecreasingFrom | None:
    """The exact b₀ of Theorem 5 for a polynomial in x = 1/b.

    Args:
        polynomial: the coefficients of 1, 1/b, 1/b², … .
        relative_width: bound on (high − low) / low of the enclosure of b₀; default 10⁻¹².

    Returns None if there is none: the polynomial increases in b for all large b.

    Raises:
        ValueError: if the polynomial is constant.

    Source: Theorem 5 (the paper only shows that b₀ exists).
    """
    derivative = polynomial.derivative().numer()
    if derivative.is_zero():
        raise ValueError("a constant polynomial does not decrease in b")
    lowest = next(c for c in derivative.coeffs() if c != 0)
    if lowest < 0:
        return None
    width = fmpq(1, 10**12) if relative_width is None else as_rational(relative_width)
    interval = _first_sign_change(derivative, width)
    if interval is None:
        return DecreasingFrom(real=(Fraction(1), Fraction(1)), integer=1)
    low, high = interval
    real = (as_fraction(1 / high), as_fraction(1 / low))
    # beyond real[1] the integer sequence decreases; below it, step down as long as it still does
    integer = -(-real[1].numerator // real[1].denominator)
    while integer > 1 and polynomial(fmpq(1, integer - 1)) > polynomial(fmpq(1, integer)):
        integer -= 1
    return DecreasingFrom(real=real, integer=integer)


def _first_sign_change(polynomial: fmpz_poly, relative_width: fmpq) -> tuple[fmpq, fmpq] | None:
    """An interval around the smallest x in (0, 1) at which the polynomial changes sign."""
    # only factors of odd multiplicity change sign; the power of x itself has no root in (0, 1)
    reduced = fmpz_poly([1])
    for factor, multiplicity in polynomial.factor_squarefree()[1]:
        if multiplicity % 2 == 1:
            reduced *= factor
    while reduced[0] == 0:
        reduced = reduced.right_shift(1)
    isolated = _isolate_first(reduced)
    if isolated is None:
        return None
    low, high = isolated
    if low == high:
        return low, high
    # bisect on the sign, towards the root; the first test also moves low away from 0
    sign_right = reduced(high) > 0
    while low == 0 or high - low > relative_width * low:
        middle = (low + high) / 2
        value = reduced(middle)
        if value == 0:
            return middle, middle
        if (value > 0) == sign_right:
            high = middle
        else:
            low = middle
    return low, high


def _isolate_first(squarefree: fmpz_poly) -> tuple[fmpq, fmpq] | None:
    """The leftmost root in (0, 1) of a squarefree polynomial that is not zero at 0.

    Returns (x, x) for a root met exactly, or (low, high) with exactly one root strictly inside and
    none at `high`; None if there is no root.
    """
    # each entry: the polynomial moved so that its interval (low, low + width) becomes (0, 1)
    stack = [(squarefree, fmpq(0), fmpq(1))]
    while stack:
        moved, low, width = stack.pop()
        if moved.degree() < 1:
            if width == 0:
                return low, low
            continue
        variations = _sign_variations(moved)
        if variations == 0:
            continue
        if variations == 1 and moved(1) != 0:
            return low, low + width
        half = width / 2
        left = _halve(moved)
        right = left(fmpz_poly([1, 1]))
        stack.append((right, low + half, half))
        if right[0] == 0:
            # the midpoint is a root: divide it out of the right half, and put the point itself
            # between the halves as an interval of width 0
            stack[-1] = (right.right_shift(1), low + half, half)
            stack.append((fmpz_poly([1]), low + half, fmpq(0)))
        stack.append((left, low, half))
    return None


def _halve(polynomial: fmpz_poly) -> fmpz_poly:
    """2ⁿ p(x/2): the interval (0, 1/2) becomes (0, 1)."""
    n = polynomial.degree()
    return fmpz_poly([c * fmpz(2) ** (n - k) for k, c in enumerate(polynomial.coeffs())])


def _sign_variations(polynomial: fmpz_poly) -> int:
    """Sign changes in (1+x)ⁿ p(1/(1+x)); 0 and 1 are the exact number of roots in (0, 1)."""
    n = polynomial.degree()
    reversed_ = fmpz_poly([polynomial[n - k] for k in range(n + 1)])
    signs = [c > 0 for c in reversed_(fmpz_poly([1, 1])).coeffs() if c != 0]
    return sum(a != b for a, b in pairwise(signs))
