"""First and second moments of the weights in linear regression, beyond plain SGD.

The setting is that of `linear_regression`: n fixed samples, the mean loss L, mini-batches of size b
drawn uniformly afresh at every iteration. Here SGD may have momentum mu and weight decay lambda,

    v <- mu v + g + lambda w,    w <- w − alpha v,    v = 0 at the start,

so that u = (w, v) takes the affine step u <- M u + N (g − ∇L(w)) + constant. With c the factor of
the sampling scheme and Sigma the covariance of w, the covariance U of u obeys

    U <- M U Mᵀ + c N (G(Sigma) + K(m)) Nᵀ,

G and K as in `linear_regression`. Every map preserves positive semi-definite matrices and c enters
with a plus sign: the coefficients of c^k in U are positive semi-definite, at every t. Hence U falls
in b in the order of positive semi-definite matrices, and with it var(B g_t), var(B ∇L(w_t)) and

    E[L_test(w_t) | F_0] = L_test(m_t) + ½ tr(H_test Sigma_t)

on any test set, whose samples enter through H_test = (1/N) Σ x xᵀ alone: m_t does not depend on b.
`covariance_coefficients` computes the coefficients as fractions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline_lib.theory.linear_regression import check_problem

Floats = NDArray[np.float64]
Exact = NDArray[np.object_]


@dataclass(frozen=True, eq=False)
class RegressionProblem:
    """n samples ``features`` (n, p), ``target`` (n,) and ``initial_weights`` (p,), as float64.

    Raises:
        ValueError: shapes that do not fit together, n < 2, p < 1, or an entry that is not finite.
    """

    features: Floats
    target: Floats
    initial_weights: Floats

    def __post_init__(self) -> None:
        checked = check_problem(self.features, self.target, self.initial_weights)
        for name, value in zip(("features", "target", "initial_weights"), checked, strict=True):
            object.__setattr__(self, name, value)

    @property
    def n(self) -> int:
        return len(self.features)

    @property
    def hessian(self) -> Floats:
        """H = (1/n) Σ x_i x_iᵀ, (p, p)."""
        return np.asarray(self.features.T @ self.features / self.n)

    def gradients(self, weights: Floats) -> Floats:
        """∇L_i(w) of every sample, (n, p)."""
        return np.asarray(self.features * (self.features @ weights - self.target)[:, None])

    def minimiser(self) -> Floats:
        """w* (p,) of least norm, at which ∇L is zero."""
        return np.asarray(np.linalg.lstsq(self.features, self.target, rcond=None)[0])


@dataclass(frozen=True)
class Optimiser:
    """SGD with heavy-ball momentum mu and weight decay lambda, as in `torch.optim.SGD`.

    Raises:
        ValueError: if one of them is negative or not finite.
    """

    momentum: Any = 0.0
    weight_decay: Any = 0.0

    def __post_init__(self) -> None:
        for name in ("momentum", "weight_decay"):
            value = getattr(self, name)
            if not (np.isfinite(float(value)) and value >= 0):
                raise ValueError(f"{name} must be finite and not negative, got {value}")


PLAIN = Optimiser()


@dataclass(frozen=True, eq=False)
class WeightMoments:
    """Moments of w_t given F_0 at B batch sizes.

    Attributes:
        mean: (p,) E w_t, the same at every batch size.
        covariance: (B, p, p) Cov w_t.
        noise: (B, p, p) E Cov(g_t | F_t), the part of Cov g_t that is the mini-batch's own.
    """

    mean: Floats
    covariance: Floats
    noise: Floats


def weight_moments(
    problem: RegressionProblem,
    learning_rates: ArrayLike,
    factor: ArrayLike,
    optimiser: Optimiser = PLAIN,
) -> Iterator[WeightMoments]:
    """Moments of w_0, w_1, …, one item for every learning rate.

    Args:
        learning_rates: (T,) entry t is used by the update from w_t to w_{t+1}; the last counts a
            step and is not used.
        factor: (B,) one factor a batch size, from `linear_regression.sampling_factor`.

    The cost of a step is O(B p⁴).
    """
    x, hessian = problem.features, problem.hessian
    p = len(hessian)
    factors = np.atleast_1d(np.asarray(factor, dtype=np.float64))
    noise_map = centred_fourth(x)
    mean, velocity = problem.initial_weights, np.zeros(p)
    optimiser = Optimiser(float(optimiser.momentum), float(optimiser.weight_decay))
    state = np.zeros((len(factors), 2 * p, 2 * p))
    for rate in np.asarray(learning_rates, dtype=np.float64):
        gradients = problem.gradients(mean)
        gradient = gradients.mean(axis=0)
        centred = gradients - gradient
        sigma = state[:, :p, :p]
        spread = (sigma.reshape(-1, p * p) @ noise_map).reshape(sigma.shape)
        noise = factors[:, None, None] * (spread + centred.T @ centred / len(x))
        yield WeightMoments(mean, sigma, noise)
        matrix, into = _step(hessian, rate, optimiser)
        state = matrix @ state @ matrix.T + into @ noise @ into.T
        velocity = optimiser.momentum * velocity + gradient + optimiser.weight_decay * mean
        mean = mean - rate * velocity


def centred_fourth(x: Floats) -> Floats:
    """The symmetric (p², p²) matrix of G: S -> (1/n) Σ N_i S N_i, N_i = x_i x_iᵀ − H."""
    n, p = x.shape
    outer = x[:, :, None] * x[:, None, :]
    outer -= outer.mean(axis=0)
    flat = outer.reshape(n, p * p)
    fourth = (flat.T @ flat / n).reshape(p, p, p, p)
    # (1/n) Σ N_i[a, c] N_i[b, d], with (a, b) the entry of the result and (c, d) that of S
    return np.asarray(fourth.transpose(0, 2, 1, 3).reshape(p * p, p * p))


def _step(hessian: Any, rate: Any, optimiser: Optimiser) -> tuple[Any, Any]:
    """M (2p, 2p) and N (2p, p) of the step of u = (w, v); entries of the type of the input."""
    p = len(hessian)
    one = np.array([[hessian[0, 0] * 0 + int(i == j) for j in range(p)] for i in range(p)])
    pull = hessian + optimiser.weight_decay * one
    matrix = np.block(
        [[one - rate * pull, -rate * optimiser.momentum * one], [pull, optimiser.momentum * one]]
    )
    return matrix, np.concatenate([-rate * one, one])


def covariance_coefficients(
    features: Exact,
    target: Exact,
    initial_weights: Exact,
    learning_rates: Sequence[Fraction],
    optimiser: Optimiser = PLAIN,
) -> list[list[Exact]]:
    """Cov w_t = Σ_k C_{t,k} c^k in fractions: ``result[t][k]`` is C_{t,k} (p, p), k = 0, …, t.

    Args:
        features: (n, p) fractions; target: (n,); initial_weights: (p,).
        learning_rates: T fractions; the result has T + 1 steps. The optimiser's numbers must be
            fractions or integers.
    """
    n, p = features.shape
    zero = np.full((2 * p, 2 * p), Fraction(0), dtype=object)
    hessian = features.T @ features / Fraction(n)
    centred = [np.outer(row, row) - hessian for row in features]
    mean, velocity = initial_weights, initial_weights * Fraction(0)
    coefficients: list[Exact] = [zero]
    result = [[zero[:p, :p]]]
    for rate in learning_rates:
        gradients = features * (features @ mean - target)[:, None]
        gradient = gradients.sum(axis=0) / Fraction(n)
        matrix, into = _step(hessian, rate, optimiser)
        at_mean = (gradients - gradient).T @ (gradients - gradient) / Fraction(n)
        noise = [
            sum((one @ c[:p, :p] @ one for one in centred[1:]), centred[0] @ c[:p, :p] @ centred[0])
            / Fraction(n)
            for c in coefficients
        ]
        noise[0] = noise[0] + at_mean
        moved = [matrix @ c @ matrix.T for c in [*coefficients, zero]]
        added = [zero, *(into @ one @ into.T for one in noise)]
        coefficients = [a + b for a, b in zip(moved, added, strict=True)]
        velocity = optimiser.momentum * velocity + gradient + optimiser.weight_decay * mean
        mean = mean - rate * velocity
        result.append([c[:p, :p] for c in coefficients])
    return result
