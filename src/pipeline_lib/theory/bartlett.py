"""Two-layer linear networks with p = 1 or 2 inputs at t = 2, exactly, by quadrature.

W = bS of b samples x ~ N(0, I_2) is L Lᵀ with independent ℓ₁₁² ~ χ²_b, ℓ₂₂² ~ χ²_{b−1} and
ℓ₂₁ ~ N(0, 1) (Bartlett), so

    W₁₁ = ℓ₁₁²,   W₁₂ = ℓ₁₁ ℓ₂₁,   W₂₂ = ℓ₂₁² + ℓ₂₂².

A polynomial of degree d in S is integrated exactly by Gauss-Laguerre nodes for ℓ₁₁² and ℓ₂₂² and
Gauss-Hermite nodes for ℓ₂₁: odd powers of ℓ₁₁ come with odd powers of ℓ₂₁, which cancel in
symmetric nodes. At t = 2 the variances have degree 18 in S_0 and 6 in S_1. That is 1,900 by 112
networks, of any widths, for one b and in about a third of a second; polynomials in 1/b at t <= 1
are in `matrix_network`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from pipeline_lib.theory.two_layer import conditional_variances, population_gradients

Array = NDArray[np.float64]
_CHUNK = 100  # outer nodes whose inner networks are held at once


@dataclass(frozen=True)
class StepVariance:
    """Variances given the initial weights at one step and b; names as in `GradientVariance`."""

    g1: float
    g2: float
    population_g1: float
    population_g2: float


def sample_covariance_nodes(dimension: int, batch_size: int, degree: int) -> tuple[Array, Array]:
    """Nodes S (N, p, p) and weights (N,) that integrate polynomials of ``degree`` in S exactly.

    Raises:
        ValueError: unless p is 1 or 2 and b >= 1.
    """
    if dimension not in (1, 2):
        raise ValueError(f"the number of inputs must be 1 or 2, got {dimension}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    half = degree // 2 + 1
    first, first_weights = _chi_squared(batch_size, half)
    if dimension == 1:
        return first[:, None, None] / batch_size, first_weights
    last, last_weights = _chi_squared(batch_size - 1, half)
    normal, normal_weights = np.polynomial.hermite_e.hermegauss(degree + 1)
    normal_weights = normal_weights / normal_weights.sum()
    a, c, d = (one.ravel() for one in np.meshgrid(first, normal, last, indexing="ij"))
    weights = np.einsum("i,j,k->ijk", first_weights, normal_weights, last_weights).ravel()
    cross = np.sqrt(a) * c
    s = np.stack([a, cross, cross, c * c + d], axis=-1).reshape(-1, 2, 2)
    return s / batch_size, weights


def second_step_variance(
    weights: tuple[Array, Array],
    target: Array,
    learning_rates: tuple[float, float],
    batch_size: int,
) -> StepVariance:
    """var(g_{2,i} | F_0) and var(∇_i | F_0) of a two-layer network after two steps of SGD.

    Exact up to rounding.

    Args:
        weights: W1 (p1, p) and W2 (p2, p1), with p = 1 or 2.
        target: T (p2, p).
        learning_rates: α_0 and α_1.

    Raises:
        ValueError: if the shapes do not fit, p > 2 or b < 1.

    Source: Theorem 4 at t = 2.
    """
    p = target.shape[1]
    outer, outer_weights = sample_covariance_nodes(p, batch_size, 18)
    inner, inner_weights = sample_covariance_nodes(p, batch_size, 6)
    once = _step(weights, target, learning_rates[0], outer)
    conditional, square = np.zeros(2), np.zeros(2)
    means = [np.zeros_like(w) for w in weights]
    for start in range(0, len(outer), _CHUNK):
        chosen = slice(start, start + _CHUNK)
        stack = (once[0][chosen, None], once[1][chosen, None])
        twice = _step(stack, target, learning_rates[1], inner)
        joint = outer_weights[chosen, None] * inner_weights
        own = conditional_variances(*twice, target, batch_size)
        for k, gradient in enumerate(population_gradients(*twice, target)):
            conditional[k] += np.sum(joint * own[k])
            square[k] += np.sum(joint * np.sum(gradient * gradient, axis=(-2, -1)))
            means[k] += np.einsum("oi,oiab->ab", joint, gradient)
    population = square - np.array([np.sum(mean * mean) for mean in means])
    return StepVariance(*(conditional + population).tolist(), *population.tolist())


def _step(
    weights: tuple[Array, Array], target: Array, rate: float, s: Array
) -> tuple[Array, Array]:
    """Weights after a step with the sample covariance ``s`` (N, p, p), a stack (..., N)."""
    w1, w2 = weights
    gap = w2 @ w1 - target
    moved_1 = w1 - rate * (np.swapaxes(w2, -1, -2) @ gap @ s)
    moved_2 = w2 - rate * (gap @ s @ np.swapaxes(w1, -1, -2))
    return moved_1, moved_2


def _chi_squared(dof: int, count: int) -> tuple[Array, Array]:
    """Gauss nodes of the chi-squared distribution; the point 0 for no degrees of freedom."""
    if dof == 0:
        return np.zeros(1), np.ones(1)
    nodes, weights = special.roots_genlaguerre(count, dof / 2 - 1)
    return 2 * nodes, weights / weights.sum()
