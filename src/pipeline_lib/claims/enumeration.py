"""Linear regression on a few samples, by every mini-batch sequence there is, in exact fractions.

The setting of Section 3.1: mean loss L(w) = (1/n) Σ ½ (x_i·w − y_i)², mini-batches of size b drawn
without replacement, all C(n, b)^t sequences equally likely. Arrays hold `fractions.Fraction`
objects, so an equation holds exactly or not at all. Nothing here uses the recursions of `theory`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Exact = NDArray[np.object_]
"""An array of fractions."""


@dataclass(frozen=True, eq=False)
class SmallRegression:
    """n samples (n, p), targets (n,), initial weights (p,) and learning rates α_0, α_1, …."""

    x: Exact
    y: Exact
    w0: Exact
    learning_rates: tuple[Fraction, ...]

    @property
    def n(self) -> int:
        return len(self.x)

    @property
    def p(self) -> int:
        return len(self.w0)

    def sample_gradients(self, w: Exact) -> Exact:
        """∇L_i(w) of every sample, (n, p)."""
        residual = self.x @ w - self.y
        return np.asarray(self.x * residual[:, None])


def fractions(rng: np.random.Generator, shape: tuple[int, ...]) -> Exact:
    """Random halves of integers from −6 to 6, as fractions."""
    draws = rng.integers(-6, 7, shape)
    exact = np.empty(shape, dtype=object)
    for index in np.ndindex(*shape):
        exact[index] = Fraction(int(draws[index]), 2)
    return exact


def random_regression(
    rng: np.random.Generator, n: int = 5, p: int = 2, steps: int = 3
) -> SmallRegression:
    """A random problem with rates 1/6, 1/7, …, small beside the curvature of such samples."""
    rates = tuple(Fraction(1, 6 + t) for t in range(steps))
    return SmallRegression(
        fractions(rng, (n, p)), fractions(rng, (n,)), fractions(rng, (p,)), rates
    )


def batch_factor(b: int, n: int) -> Fraction:
    """c_b = (n − b)/(b (n − 1)) of Lemma 1."""
    return Fraction(n - b, b * (n - 1))


def batch_gradients(problem: SmallRegression, w: Exact, b: int) -> Iterator[Exact]:
    """The gradient (p,) of every mini-batch of size b at the weights w."""
    gradients = problem.sample_gradients(w)
    for batch in combinations(range(problem.n), b):
        yield gradients[list(batch)].sum(axis=0) / Fraction(b)


def weights_at(problem: SmallRegression, b: int, step: int) -> list[Exact]:
    """w_t after every sequence of t = step mini-batches, C(n, b)^t equally likely vectors (p,)."""
    paths = [problem.w0]
    for rate in problem.learning_rates[:step]:
        paths = [w - rate * g for w in paths for g in batch_gradients(problem, w, b)]
    return paths


def mean(values: list[Exact]) -> Exact:
    """Mean of equally likely values."""
    total = values[0]
    for value in values[1:]:
        total = total + value
    return np.asarray(total / Fraction(len(values)))


def covariance(values: list[Exact]) -> Exact:
    """Covariance matrix (p, p) of equally likely vectors; its trace is var in the paper's sense."""
    centre = mean(values)
    return mean([np.outer(value - centre, value - centre) for value in values])


def gradient_covariances(problem: SmallRegression, b: int, step: int) -> tuple[Exact, Exact]:
    """Covariance matrices of g_t and of ∇L(w_t) given the initial weights."""
    paths = weights_at(problem, b, step)
    stochastic = [g for w in paths for g in batch_gradients(problem, w, b)]
    full = [problem.sample_gradients(w).sum(axis=0) / Fraction(problem.n) for w in paths]
    return covariance(stochastic), covariance(full)


def trace(matrix: Exact) -> Fraction:
    """The trace of a square matrix of fractions."""
    return sum((matrix[k, k] for k in range(len(matrix))), Fraction(0))


def sq_norm(vector: Exact) -> Fraction:
    """The squared Euclidean length."""
    return sum((entry * entry for entry in vector), Fraction(0))


def second_moment(
    problem: SmallRegression, b: int, step: int, combine: Callable[[Exact], Exact]
) -> Fraction:
    """E|combine(∇L_1(w_t), …, ∇L_n(w_t))|²; `combine` takes the (n, p) sample gradients."""
    paths = weights_at(problem, b, step)
    total = sum((sq_norm(combine(problem.sample_gradients(w))) for w in paths), Fraction(0))
    return total / len(paths)


def is_nonnegative_definite(matrix: Exact) -> bool:
    """Whether a symmetric matrix of fractions has no negative eigenvalue, by exact elimination."""
    rest = matrix.copy()
    for k in range(len(rest)):
        pivot = rest[k, k]
        if pivot < 0 or (pivot == 0 and any(entry != 0 for entry in rest[k, k:])):
            return False
        if pivot > 0:
            rest[k + 1 :, k + 1 :] = (
                rest[k + 1 :, k + 1 :] - np.outer(rest[k + 1 :, k], rest[k, k + 1 :]) / pivot
            )
    return True
