"""Linear networks of any depth: the variance of their gradients as exact polynomials in 1/b.

The network x ↦ W_L ⋯ W_1 x of Section 3.2, at any depth L, with rational weights and teacher T
(p_L, p), x ~ N(0, I_p). With S = XᵀX/b, 𝒲 = W_L ⋯ W_1 − T, B_k = W_L ⋯ W_{k+1} and
P_k = W_{k−1} ⋯ W_1,

    g_k = B_kᵀ 𝒲 S P_kᵀ,   ∇_k = B_kᵀ 𝒲 P_kᵀ,
    var(g_k | F_t) = (‖B_kᵀ 𝒲‖² ‖P_k‖² + ‖∇_k‖²)/b,
    var(g_k | F_0) = E[var(g_k | F_t) | F_0] + var(∇_k | F_0).

At t = 1 the weights are linear in S_0, so everything is a polynomial in the p(p + 1)/2 entries of
S_0, of degree 2(2L − 1) at most, and its expectation follows from the moments of those entries,

    E[S_ij f] = δ_ij E f + (1/b) E Σ_{S_kl in f} (δ_ki S_jl + δ_li S_jk) f / S_kl,

by integration by parts, the sum over the factors of f. The widths of the hidden layers cost
little; two layers with p = 4 or three with p = 3 inputs take 1 to 2 s, p = 5 with two layers 7 s,
and p = 2 a second up to depth 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from flint import Ordering as MonomialOrder
from flint import fmpq, fmpq_mpoly, fmpq_mpoly_ctx, fmpq_poly
from numpy.typing import NDArray

from pipeline_lib.theory.batch_polynomial import Rational, as_rational

Matrix = Sequence[Sequence[Rational]]
_Entries = NDArray[np.object_]


@dataclass(frozen=True)
class MatrixNetwork:
    """Weights W_1 (p_1, p), …, W_L (p_L, p_{L−1}) and teacher T (p_L, p), all rational.

    Raises:
        ValueError: if the shapes do not form a network.
    """

    weights: tuple[Matrix, ...]
    teacher: Matrix

    def __post_init__(self) -> None:
        shapes = [(len(matrix), len(matrix[0])) for matrix in self.weights]
        teacher = (len(self.teacher), len(self.teacher[0]))
        chained = all(rows == columns for (rows, _), (_, columns) in pairwise(shapes))
        if not chained or teacher != (shapes[-1][0], shapes[0][1]):
            raise ValueError(f"layers {shapes} and teacher {teacher} do not form a network")


@dataclass(frozen=True)
class LayerVariance:
    """Variances given F_0 of one layer's gradients, as polynomials in 1/b over the rationals."""

    stochastic: fmpq_poly
    population: fmpq_poly


def layer_variances(
    network: MatrixNetwork, learning_rate: Rational, step: int
) -> list[LayerVariance]:
    """var(g_{t,k} | F_0) and var(∇_k | F_0) of every layer k = 1, …, L, at t = 0 or 1.

    Args:
        learning_rate: of the step from t = 0, not used at t = 0.

    Raises:
        ValueError: another step.
    """
    if step not in (0, 1):
        raise ValueError(f"step must be 0 or 1, got {step}")
    dimension = len(network.teacher[0])
    context, s = _symmetric_matrix(dimension)
    weights = [_entries(matrix, context) for matrix in network.weights]
    teacher = _entries(network.teacher, context)
    identity = _entries(np.eye(dimension, dtype=int).tolist(), context)
    if step == 1:
        rate = as_rational(learning_rate)
        weights = [
            w - (left @ s @ below.T) * rate
            for w, (left, below) in zip(weights, _factors(weights, teacher, identity), strict=True)
        ]
    inverse = fmpq_poly([0, 1])
    result = []
    for left, below in _factors(weights, teacher, identity):
        gradient = left @ below.T
        square = _mean(_square(gradient), dimension)
        means = (_mean(entry, dimension) for entry in gradient.flat)
        population = square - sum((one * one for one in means), fmpq_poly([]))
        conditional = _mean(_square(left) * _square(below), dimension) + square
        result.append(LayerVariance(inverse * conditional + population, population))
    return result


def conditional_variances(
    weights: Sequence[NDArray[np.float64]], teacher: NDArray[np.float64], batch_size: float
) -> list[float]:
    """var(g_k | F_t) of every layer at given weights of any size: var(g_0 | F_0) at the initial.

    Raises:
        ValueError: if ``batch_size`` is not positive.
    """
    if batch_size <= 0:
        raise ValueError(f"batch_size must be positive, found {batch_size}")
    return [
        float(np.sum(left**2) * np.sum(below**2) + np.sum((left @ below.T) ** 2)) / batch_size
        for left, below in _factors(weights, teacher, np.eye(teacher.shape[1]))
    ]


def degree_bound(depth: int, step: int) -> int:
    """((2L − 1)^{t+1} − 1)/(L − 1) − t − 1, the largest degree in 1/b of var(g_t | F_0) at depth L.

    t + 1 for one layer. ‖∇_k‖² has the degree 2 (2L − 1)^{t−j} in S_j; its expectation over S_j has
    one degree less in 1/b, for every j < t; the last S adds one.

    Raises:
        ValueError: unless depth >= 1 and step >= 0.
    """
    if depth < 1 or step < 0:
        raise ValueError(f"depth must be at least 1 and step at least 0, got {depth} and {step}")
    return int(sum(2 * (2 * depth - 1) ** j - 1 for j in range(step + 1)))


def symmetric_moment(exponents: tuple[int, ...], dimension: int) -> fmpq_poly:
    """E Π S_ij^{e_ij} as a polynomial in 1/b, S = XᵀX/b of b samples x ~ N(0, I_p).

    Args:
        exponents: one for each pair i <= j, row by row.
    """
    return _moment(exponents, dimension)


@cache
def _moment(exponents: tuple[int, ...], dimension: int) -> fmpq_poly:
    pairs = _pairs(dimension)
    first = next((k for k, power in enumerate(exponents) if power), None)
    if first is None:
        return fmpq_poly([1])
    i, j = pairs[first]
    rest = list(exponents)
    rest[first] -= 1
    total = _moment(tuple(rest), dimension) if i == j else fmpq_poly([])
    inverse = fmpq_poly([0, 1])
    place = {pair: k for k, pair in enumerate(pairs)}
    for k, (a, b) in enumerate(pairs):
        for end, other in ((a, b), (b, a)):
            if rest[k] and end == i:
                moved = list(rest)
                moved[k] -= 1
                moved[place[min(j, other), max(j, other)]] += 1
                total += inverse * rest[k] * _moment(tuple(moved), dimension)
    return total


def _pairs(dimension: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(dimension) for j in range(i, dimension)]


def _symmetric_matrix(dimension: int) -> tuple[fmpq_mpoly_ctx, _Entries]:
    """The ring of polynomials in the entries of S, and S in it."""
    pairs = _pairs(dimension)
    context = fmpq_mpoly_ctx.get(tuple(f"s{i}_{j}" for i, j in pairs), MonomialOrder.lex)
    generators = dict(zip(pairs, context.gens(), strict=True))
    s = np.empty((dimension, dimension), dtype=object)
    for i in range(dimension):
        for j in range(dimension):
            s[i, j] = generators[min(i, j), max(i, j)]
    return context, s


def _entries(matrix: Matrix, context: fmpq_mpoly_ctx) -> _Entries:
    entries = np.empty((len(matrix), len(matrix[0])), dtype=object)
    for i, row in enumerate(matrix):
        for j, value in enumerate(row):
            entries[i, j] = context.constant(as_rational(value))
    return entries


def _factors(weights: Sequence[Any], teacher: Any, identity: Any) -> list[tuple[Any, Any]]:
    """B_kᵀ 𝒲 and P_k of every layer; P_1 is the ``identity`` (p, p)."""
    below = [identity]
    for w in weights:
        below.append(w @ below[-1])
    left = [below.pop() - teacher]
    for w in reversed(weights[1:]):
        left.append(w.T @ left[-1])
    return list(zip(reversed(left), below, strict=True))


def _square(matrix: _Entries) -> Any:
    return sum(entry * entry for entry in matrix.ravel().tolist())


def _mean(polynomial: fmpq_mpoly, dimension: int) -> fmpq_poly:
    total = fmpq_poly([])
    for exponents, coefficient in polynomial.to_dict().items():
        total += _moment(tuple(int(e) for e in exponents), dimension) * fmpq(coefficient)
    return total
