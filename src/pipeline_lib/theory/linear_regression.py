"""Exact variance of mini-batch gradients in linear regression, for every batch size at once.

Setting of Qian and Klabjan (arXiv 2004.13146, Section 4.1): n fixed samples, the mean loss
L(w) = (1/n) Σ ½ (w·x_i − y_i)², mini-batches of size b drawn uniformly without replacement, and
SGD from fixed initial weights, so that the mini-batches are the only randomness.

The weights enter a sample gradient linearly, so their mean m and covariance Sigma obey closed
recursions. With H = (1/n) Σ x_i x_iᵀ, A = I − alpha H and c_b = (n − b) / (b (n − 1)),

    m     <- m − alpha ∇L(m)
    Sigma <- A Sigma A + alpha² c_b (G(Sigma) + K(m)),

    G(Sigma) = (1/n) Σ N_i Sigma N_i with N_i = x_i x_iᵀ − H,
    K(m)     = (1/n) Σ (∇L_i(m) − ∇L(m)) (∇L_i(m) − ∇L(m))ᵀ,

    var(∇L(w_t) | F_0) = tr(H Sigma_t H),
    var(g_t | F_0)     = c_b tr(G(Sigma_t) + K(m_t)) + tr(H Sigma_t H).

Every term is positive semi-definite, so nothing cancels; carrying E w wᵀ instead would subtract
|E w|² at the end and lose the digits of a small variance. The mean does not depend on b.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline_lib.theory.regression_covariance import CovarianceRecursion
from pipeline_lib.theory.regression_path import mean_path, noise_map, triangle

__all__ = [
    "ExactMoments",
    "batch_factor",
    "check_problem",
    "conditional_variance",
    "exact_moments",
    "sampling_factor",
]

Sampling = Literal["fresh", "with_replacement"]


@dataclass(frozen=True, eq=False)
class ExactMoments:
    """Exact moments given the initial weights F_0, for T steps and B batch sizes.

    Row t holds the values at w_t, the weights after t updates, so row 0 is at the initial weights.

    Attributes:
        batch_sizes: (B,) the mini-batch sizes b.
        stochastic_gradient: (T, B) var(g_t | F_0), the trace of the covariance matrix of g_t.
        full_gradient: (T, B) var(∇L(w_t) | F_0); zero at t = 0.
        expected_loss: (T, B) E[L(w_t) | F_0] of the mean loss L.
        example_variance: (T, B) E[tr Sigma(w_t) | F_0], the variance of one sample's gradient with
            denominator n − 1.
        sq_gradient: (T, B) E[|∇L(w_t)|² | F_0].
    """

    batch_sizes: NDArray[np.int64]
    stochastic_gradient: NDArray[np.float64]
    full_gradient: NDArray[np.float64]
    expected_loss: NDArray[np.float64]
    example_variance: NDArray[np.float64]
    sq_gradient: NDArray[np.float64]


def batch_factor(batch_size: ArrayLike, n: int) -> NDArray[np.float64]:
    """Return c_b = (n − b) / (b (n − 1)), the factor of Lemma 1 (arXiv 2004.13146).

    The mean of b samples drawn without replacement has c_b times the variance of one sample, the
    latter taken with denominator n. It falls from 1 at b = 1 to 0 at b = n.

    Args:
        batch_size: mini-batch sizes b, whole numbers in [1, n], of any shape.
        n: number of samples, at least 2.

    Returns:
        c_b in the shape of ``batch_size``.

    Raises:
        ValueError: n < 2, or a batch size that is not a whole number in [1, n].
    """
    if n < 2:
        raise ValueError(f"n must be at least 2, got {n}")
    sizes = np.asarray(batch_size, dtype=np.float64)
    bad = sizes[~((sizes >= 1) & (sizes <= n) & (sizes == np.floor(sizes)))]
    if bad.size:
        raise ValueError(f"batch size must be a whole number in [1, {n}], got {bad[0]:g}")
    return np.asarray((n - sizes) / (sizes * (n - 1)))


def sampling_factor(
    batch_sizes: ArrayLike, n: int, sampling: Sampling = "fresh"
) -> NDArray[np.float64]:
    """The factor of Lemma 1: c_b for mini-batches without replacement, 1/b for those with.

    Args:
        batch_sizes: whole numbers b >= 1, at most n without replacement; of any shape.

    Raises:
        ValueError: a batch size or a scheme that is not allowed.
    """
    if sampling == "fresh":
        return batch_factor(batch_sizes, n)
    if sampling != "with_replacement":
        raise ValueError(f"sampling is {sampling!r}; allowed: fresh, with_replacement")
    sizes = np.asarray(batch_sizes, dtype=np.float64)
    bad = sizes[~((sizes >= 1) & (sizes == np.floor(sizes)))]
    if bad.size:
        raise ValueError(f"batch size must be a whole number of at least 1, got {bad[0]:g}")
    return np.asarray(1 / sizes)


def check_problem(
    features: ArrayLike, target: ArrayLike, initial_weights: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the three arrays as float64 of shapes (n, p), (n,) and (p,).

    Raises:
        ValueError: shapes that do not fit together, n < 2, p < 1, or an entry that is not finite.
    """
    x, y, w = (np.asarray(a, dtype=np.float64) for a in (features, target, initial_weights))
    if x.ndim != 2 or x.shape[1] < 1:
        raise ValueError(f"features must have shape (n, p) with p >= 1, got {x.shape}")
    n, p = x.shape
    if n < 2:
        raise ValueError(f"n must be at least 2, got {n}")
    if y.shape != (n,):
        raise ValueError(f"target must have shape ({n},), got {y.shape}")
    if w.shape != (p,):
        raise ValueError(f"initial_weights must have shape ({p},), got {w.shape}")
    for name, a in (("features", x), ("target", y), ("initial_weights", w)):
        if not np.isfinite(a).all():
            raise ValueError(f"{name} must be finite")
    return x, y, w


def exact_moments(
    features: ArrayLike,
    target: ArrayLike,
    initial_weights: ArrayLike,
    learning_rates: ArrayLike,
    batch_sizes: ArrayLike,
    sampling: Sampling = "fresh",
) -> ExactMoments:
    """Compute gradient variances and expected loss exactly, for all steps and batch sizes.

    This evaluates the quantities of Theorem 2 and Corollary 1 (arXiv 2004.13146, Section 4.1,
    with B the identity) up to float64 rounding. The cost of a step is O(B p⁴); the setup takes
    O(n p⁴) time and O(n p²) memory.

    Args:
        features: (n, p) samples x_i; a column of ones makes an intercept.
        target: (n,) targets y_i.
        initial_weights: (p,) weights w_0.
        learning_rates: (T,) entry t is used by the update from w_t to w_{t+1}; T rows are
            returned, so the last entry counts a step but does not change the result.
        batch_sizes: (B,) whole numbers b in [1, n], or b >= 1 with replacement.
        sampling: how mini-batches are drawn, afresh at every iteration in either case.

    Returns:
        Moments with T rows and B columns; nan where they leave the range of float64, since the
            learning rates make SGD diverge at that batch size.

    Raises:
        ValueError: shapes that do not fit together, n < 2, a batch size outside [1, n] or an input
            that is not finite.
    """
    x, y, start = check_problem(features, target, initial_weights)
    rates = np.asarray(learning_rates, dtype=np.float64)
    sizes = np.asarray(batch_sizes)
    if rates.ndim != 1 or not np.isfinite(rates).all():
        raise ValueError("learning_rates must be a one-dimensional array of finite numbers")
    if sizes.ndim != 1:
        raise ValueError(f"batch_sizes must have shape (B,), got {sizes.shape}")
    n = len(x)
    factor = sampling_factor(sizes, n, sampling)

    # In the eigenvectors of H, A Sigma A only scales the entries of Sigma, which costs less than
    # a matrix product and keeps the relative accuracy of each entry. Norms do not change.
    vectors = np.linalg.eigh(x.T @ x / n)[1]
    x, start = x @ vectors, vectors.T @ start
    p, curvature = len(start), np.mean(x**2, axis=0)
    row, col = triangle(p)
    spread_to_noise = noise_map(x, x)
    # Of diagonal entries of Sigma: tr(H Sigma H) and tr(H Sigma) / 2.
    traces = np.stack([curvature**2, curvature / 2])
    of_noise = np.empty((len(rates), len(sizes)))
    of_spread = np.empty((len(rates), 2, len(sizes)))
    # Divergence at some batch sizes is a result, marked below.
    with np.errstate(over="ignore", invalid="ignore"):
        path = mean_path(x, y, start, rates)
        decay = 1 - rates[:, None] * curvature
        recursion = CovarianceRecursion(
            spread_to_noise, path.noise, decay[:, row] * decay[:, col], np.square(rates), factor
        )
        for steps, sigma, noise in recursion.chunks():
            of_noise[steps] = noise[:, :p].sum(axis=1)
            of_spread[steps] = traces @ sigma[:, :p]
        full = of_spread[:, 0]
        stochastic = factor * of_noise + full
        loss = path.loss[:, None] + of_spread[:, 1]
        square = np.sum(path.gradient**2, axis=1)[:, None] + full
        of_one = of_noise * (n / (n - 1))

    for values in (stochastic, full, loss, of_one, square):
        values[~np.isfinite(values)] = np.nan
    return ExactMoments(sizes.astype(np.int64), stochastic, full, loss, of_one, square)


def conditional_variance(
    features: ArrayLike, target: ArrayLike, weights: ArrayLike, batch_size: int
) -> NDArray[np.float64]:
    """Return var(g | w) = c_b (1/n) Σ |∇L_i(w) − ∇L(w)|², Lemma 1 (arXiv 2004.13146).

    Args:
        features: (n, p) samples.
        target: (n,) targets.
        weights: (R, p) one weight vector per run.
        batch_size: b in [1, n].

    Returns:
        (R,) trace of the covariance matrix of the mini-batch gradient at each weight vector.

    Raises:
        ValueError: shapes that do not fit together, n < 2, or a batch size outside [1, n].
    """
    w = np.asarray(weights, dtype=np.float64)
    if w.ndim != 2:
        raise ValueError(f"weights must have shape (R, p), got {w.shape}")
    x, y, _ = check_problem(features, target, np.zeros(w.shape[1]))
    residual = x @ w.T - y[:, None]
    total = np.zeros(len(w))
    # One feature at a time: memory O(n R), and the two-pass variance does not cancel.
    for column in x.T:
        total += (column[:, None] * residual).var(axis=0)
    return np.asarray(batch_factor(batch_size, len(x)) * total)
