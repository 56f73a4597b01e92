"""Linear regression: the path of the mean weights, and the gradient noise on it.

Neither depends on the batch size, so they are computed once for all sizes. Notation as in
`linear_regression`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["MeanPath", "mean_path", "noise_map", "triangle"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MeanPath:
    """Values at the mean weights m_t, for T steps and q = p (p + 1) / 2 entries of a triangle.

    Attributes:
        gradient: (T, p) ∇L(m_t) of the mean loss.
        loss: (T,) the mean loss L(m_t).
        noise: (T, q) K(m_t), the covariance of one sample's gradient with denominator n.
    """

    gradient: Array
    loss: Array
    noise: Array


def triangle(p: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the upper triangle of a (p, p) matrix, its diagonal first."""
    row, col = np.triu_indices(p, 1)
    diagonal = np.arange(p)
    return np.concatenate([diagonal, row]), np.concatenate([diagonal, col])


def noise_map(x: Array, z: Array) -> Array:
    """S -> (1/n) Σ N_i S N_iᵀ with N_i = x_i z_iᵀ − (1/n) Σ x_k z_kᵀ, as a matrix on triangles.

    Args:
        x: (n, p).
        z: (n, s).

    Returns:
        (p (p+1)/2, s (s+1)/2), from the `triangle` of a symmetric S to that of its image.
    """
    (n, p), s = x.shape, z.shape[1]
    centred = x[:, :, None] * z[:, None, :]
    centred -= centred.mean(axis=0)
    flat = centred.reshape(n, p * s)
    # fourth[a, c, b, d] = (1/n) Σ N_i[a, c] N_i[b, d]
    fourth = (flat.T @ flat / n).reshape(p, s, p, s)
    a, b = (index[:, None] for index in triangle(p))
    c, d = (index[None, :] for index in triangle(s))
    # An entry off the diagonal stands for two entries of the symmetric matrix.
    return np.asarray(fourth[a, c, b, d] + np.where(c == d, 0.0, fourth[a, d, b, c]))


def mean_path(x: Array, y: Array, start: Array, rates: Array) -> MeanPath:
    """Follow the mean weights from ``start`` by gradient descent.

    Everything is taken about weights w* of the least loss, where residuals are smallest: with
    e = m − w* and r_i = w*·x_i − y_i, a sample's gradient is x_i (x_i·e + r_i), so that the noise
    is the `noise_map` of the vector (e, 1) and as accurate near w* as far from it.

    Args:
        x: (n, p) samples.
        y: (n,) targets.
        start: (p,) w_0.
        rates: (T,) learning rates.
    """
    n, p = x.shape
    least = np.linalg.lstsq(x, y)[0]
    residual = x @ least - y
    at_least = x.T @ residual / n  # 0 but for rounding
    curvature = x.T @ x / n

    errors, gradients = np.empty((len(rates) + 1, p)), np.empty((len(rates), p))
    errors[0] = start - least
    for rate, error, after, gradient in zip(
        rates.tolist(), errors, errors[1:], gradients, strict=False
    ):
        np.dot(curvature, error, gradient)
        gradient += at_least
        np.subtract(error, rate * gradient, out=after)
    errors = errors[:-1]

    above = np.sum(errors * (gradients + at_least), axis=1) / 2
    vector = np.concatenate([errors, np.ones((len(rates), 1))], axis=1)
    row, col = triangle(p + 1)
    products = vector[:, row] * vector[:, col]
    noise = products @ noise_map(x, np.column_stack([x, residual])).T
    return MeanPath(gradients, np.mean(residual**2) / 2 + above, noise)
