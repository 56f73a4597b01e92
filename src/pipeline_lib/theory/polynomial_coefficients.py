"""Coefficients in c_b of the variances of linear regression, in ball arithmetic.

The recursion is that of `polynomial`, whose variances these are.
"""

from collections.abc import Sequence
from fractions import Fraction

import flint
import numpy as np
from numpy.typing import NDArray


def coefficient_rows(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    w: NDArray[np.float64],
    learning_rates: Sequence[Fraction | float],
    last: int,
) -> list[tuple[list[flint.arb], list[flint.arb]]]:
    """Return the coefficients in c of both variances for t = 0..last, at the current precision.

    Column k of ``sigma`` is the upper triangle of Sigma_{t,k}, so a step is two matrix products.
    """
    n, p = x.shape
    samples = [[flint.arb(value) for value in row] for row in x.tolist()]
    augmented = [[*row, -flint.arb(value)] for row, value in zip(samples, y.tolist(), strict=True)]
    # Entries of z_i = (x_i, −y_i); C v = ∇L(w) for v = (w, 1).
    total = flint.arb_mat(samples).transpose() * flint.arb_mat(augmented)
    per_sample = flint.arb(flint.fmpq(1, n))
    hessian = [row[:p] for row in (total * per_sample).tolist()]
    noise_full = _noise_map(samples, augmented, total)
    # Sigma has no part along the constant last entry of v.
    keep = [j for j, (_, d) in enumerate(_pairs(p + 1)) if d < p]
    noise_map = flint.arb_mat([[row[j] for j in keep] for row in noise_full.tolist()])
    diagonal = [j for j, (c, d) in enumerate(_pairs(p)) if c == d]
    full_map = _trace_row(_symmetric_square(hessian), diagonal)

    v = [*(flint.arb(value) for value in w.tolist()), flint.arb(1)]
    sigma = flint.arb_mat(len(_pairs(p)), last + 1)
    rows = []
    for t in range(last + 1):
        outer = flint.arb_mat([[v[c] * v[d]] for c, d in _pairs(p + 1)])
        # noise[:, k] = G(Sigma_{t,k}) + [k = 0] K(m_t), the coefficient of c^{k+1} / alpha²
        noise = (noise_map * sigma * per_sample**2).tolist()
        at_mean = (noise_full * outer * per_sample**2).entries()
        for entries, entry in zip(noise, at_mean, strict=True):
            entries[0] += entry
        full = (full_map * sigma).entries()[: t + 1]
        traces = [sum(noise[j][k] for j in diagonal) for k in range(t + 1)]
        stochastic = [
            a + b for a, b in zip([*full, flint.arb(0)], [flint.arb(0), *traces], strict=True)
        ]
        rows.append((stochastic, full))
        if t == last:
            break
        rate = _exact(learning_rates[t])
        step = [[flint.arb(int(a == b)) - rate * hessian[a][b] for b in range(p)] for a in range(p)]
        shifted = flint.arb_mat([[flint.arb(0), *entries[:-1]] for entries in noise])
        sigma = _symmetric_square(step) * sigma + shifted * rate**2
        gradient = (total * flint.arb_mat([[value] for value in v]) * per_sample).entries()
        v = [*(value - rate * slope for value, slope in zip(v, gradient, strict=False)), v[-1]]
    return rows


def _exact(rate: Fraction | float) -> flint.arb:
    if isinstance(rate, Fraction):
        return flint.arb(flint.fmpq(rate.numerator, rate.denominator))
    return flint.arb(float(rate))


def _pairs(size: int) -> list[tuple[int, int]]:
    """Positions (c, d), c <= d, of the upper triangle of a symmetric matrix, row by row."""
    return [(c, d) for c in range(size) for d in range(c, size)]


def _trace_row(matrix: flint.arb_mat, diagonal: list[int]) -> flint.arb_mat:
    entries = matrix.tolist()
    return flint.arb_mat(
        [[sum(column) for column in zip(*(entries[j] for j in diagonal), strict=True)]]
    )


def _symmetric_square(m: list[list[flint.arb]]) -> flint.arb_mat:
    """Return S -> M S Mᵀ as a matrix on upper triangles."""
    rows, columns = _pairs(len(m)), _pairs(len(m[0]))
    return flint.arb_mat(
        [
            [
                m[a][c] * m[b][c] if c == d else m[a][c] * m[b][d] + m[a][d] * m[b][c]
                for c, d in columns
            ]
            for a, b in rows
        ]
    )


def _noise_map(
    samples: list[list[flint.arb]], augmented: list[list[flint.arb]], total: flint.arb_mat
) -> flint.arb_mat:
    """Return S -> n Σ (z_iᵀ S z_i) x_i x_iᵀ − (n C) S (n C)ᵀ on upper triangles, total = n C.

    This is n² G. The division by n² is left to the caller: without it the arithmetic on float64
    inputs is usually exact, so that a variance which vanishes comes out as an exact zero.
    """
    n = len(samples)
    left = [[row[a] * row[b] for a, b in _pairs(len(row))] for row in samples]
    right = [
        [row[c] * row[d] if c == d else 2 * row[c] * row[d] for c, d in _pairs(len(row))]
        for row in augmented
    ]
    fourth = flint.arb_mat(left).transpose() * flint.arb_mat(right)
    return fourth * flint.arb(n) - _symmetric_square(total.tolist())
