"""All products of one step of R two-layer networks on CPU, one replica after the other.

A replica's weights, residual and gradients fit the second-level cache together; a batched product
over all replicas would read each of them from memory again. BLAS is called from compiled code, so
nothing is spent between the products and several groups of replicas can run side by side.
"""

from typing import Any

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def gradients_from_moment(
    w1: Any, w2: Any, teacher: Any, s: Any, residual: Any, first: Any, second: Any, g1: Any, g2: Any
) -> None:
    """Fill 𝒲, W2ᵀ𝒲, 𝒲W1ᵀ, ``g_1 = W2ᵀ𝒲S`` and ``g_2 = 𝒲SW1ᵀ`` for S given, (R, p, p).

    Shapes: w1, first and g1 (R, p1, p); w2, second and g2 (R, p2, p1); residual (R, p2, p);
    teacher (p2, p). One float type for all, C-contiguous.
    """
    error = np.empty(teacher.shape, teacher.dtype)
    for r in range(w1.shape[0]):
        _population(w1[r], w2[r], teacher, residual[r], first[r], second[r])
        np.dot(first[r], s[r], g1[r])
        np.dot(residual[r], s[r], error)
        np.dot(error, w1[r].T, g2[r])


@njit(nogil=True, cache=True)
def gradients_from_inputs(
    w1: Any, w2: Any, teacher: Any, x: Any, residual: Any, first: Any, second: Any, g1: Any, g2: Any
) -> None:
    """The same for S = XᵀX/b through the inputs X, (R, b, p): sums of b outer products."""
    b, p = x.shape[1:]
    hidden = w1.shape[1]
    scaled = np.empty((b, p), x.dtype)
    back, forward = np.empty((hidden, b), x.dtype), np.empty((hidden, b), x.dtype)
    error = np.empty((teacher.shape[0], b), x.dtype)
    root = x.dtype.type(1 / np.sqrt(b))
    for r in range(w1.shape[0]):
        _population(w1[r], w2[r], teacher, residual[r], first[r], second[r])
        for i in range(b):
            for j in range(p):
                scaled[i, j] = root * x[r, i, j]
        np.dot(first[r], scaled.T, back)
        np.dot(residual[r], scaled.T, error)
        np.dot(w1[r], scaled.T, forward)
        np.dot(back, scaled, g1[r])
        np.dot(error, forward.T, g2[r])


@njit(nogil=True, cache=True)
def _population(w1: Any, w2: Any, teacher: Any, residual: Any, first: Any, second: Any) -> None:
    np.dot(w2, w1, residual)
    residual -= teacher
    np.dot(w2.T, residual, first)
    np.dot(residual, w1.T, second)
