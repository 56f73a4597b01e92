"""R runs of SGD on linear regression, fused into one compiled loop (CPU).

A run-iteration of this model is a few hundred multiplications, so any library call per iteration
costs more than the arithmetic. The kernel therefore draws the mini-batch, forms both gradients and
the conditional variance, and updates the weights in one pass per replica, with the replica's
weights and shuffle in the first-level cache. `models.linear_regression.replicas` is the same model
through torch, for GPUs, and the reference that the tests compare with.

Random numbers come from Blackman and Vigna's xoshiro256++ 1.0 (ACM TOMS 47, 2021), bounded
integers from Lemire's method with his rejection step (ACM TOMACS 29, 2019): every value is exactly
equally likely. NumPy's own generators cannot be kept one per replica in an array, which is what
makes a replica's stream independent of how replicas are spread over threads. All compiled code
stands in this file: numba's cache of a function notices no edit of what it inlines from another.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline_lib.models.linear_regression.design import RegressionDesign
from pipeline_lib.theory.linear_regression import batch_factor

Floats = NDArray[np.float64]

_LOW_32 = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)
_TWO_TO_32 = np.uint64(1 << 32)


@njit(inline="always")
def _rotate_left(x: Any, k: int) -> Any:
    return (x << np.uint64(k)) | (x >> np.uint64(64 - k))


@njit(inline="always")
def next_uint64(s0: Any, s1: Any, s2: Any, s3: Any) -> Any:
    """One step: the output and the four words of the next state."""
    output = _rotate_left(s0 + s3, 23) + s0
    shifted = s1 << np.uint64(17)
    s2 ^= s0
    s3 ^= s1
    s1 ^= s2
    s0 ^= s3
    s2 ^= shifted
    s3 = _rotate_left(s3, 45)
    return output, s0, s1, s2, s3


@njit(inline="always")
def swap_in_batch(order: Any, size: int, s0: Any, s1: Any, s2: Any, s3: Any) -> Any:
    """Partial Fisher-Yates shuffle: make ``order[:size]`` a uniform subset, in place.

    ``order`` is any permutation of the examples, (n,); the subset is uniform whatever permutation
    it starts from, so the array is never reset. Returns the next state of the generator.
    """
    n = order.shape[0]
    spare = np.uint64(0)
    has_spare = False
    for i in range(size):
        bound = np.uint64(n - i)
        # One 64-bit output serves two draws of 32 bits.
        if has_spare:
            half = spare
            has_spare = False
        else:
            word, s0, s1, s2, s3 = next_uint64(s0, s1, s2, s3)
            half = word & _LOW_32
            spare = word >> _32
            has_spare = True
        product = half * bound
        if (product & _LOW_32) < bound:
            threshold = (_TWO_TO_32 - bound) % bound
            while (product & _LOW_32) < threshold:
                word, s0, s1, s2, s3 = next_uint64(s0, s1, s2, s3)
                product = (word & _LOW_32) * bound
        j = i + np.int64(product >> _32)
        chosen = order[j]
        order[j] = order[i]
        order[i] = chosen
    return s0, s1, s2, s3


@njit(inline="always")
def draw_with_replacement(drawn: Any, n: int, s0: Any, s1: Any, s2: Any, s3: Any) -> Any:
    """Fill ``drawn`` with independent uniform examples of n, in place.

    Returns the next state of the generator.
    """
    bound = np.uint64(n)
    for i in range(drawn.shape[0]):
        word, s0, s1, s2, s3 = next_uint64(s0, s1, s2, s3)
        product = (word & _LOW_32) * bound
        if (product & _LOW_32) < bound:
            threshold = (_TWO_TO_32 - bound) % bound
            while (product & _LOW_32) < threshold:
                word, s0, s1, s2, s3 = next_uint64(s0, s1, s2, s3)
                product = (word & _LOW_32) * bound
        drawn[i] = np.int64(product >> _32)
    return s0, s1, s2, s3


@njit(nogil=True, cache=True)
def draw_batches(order: Any, states: Any, batches: Any) -> None:
    """Fill ``batches`` (T, R, b) with mini-batches of each replica, without replacement.

    ``order`` (R, n) and ``states`` (R, 4) are advanced in place: the same draws, in the same order,
    as `advance` makes for batches of at most n/2.
    """
    n_steps, n_replicas, size = batches.shape
    for r in range(n_replicas):
        s0, s1, s2, s3 = states[r, 0], states[r, 1], states[r, 2], states[r, 3]
        for t in range(n_steps):
            s0, s1, s2, s3 = swap_in_batch(order[r], size, s0, s1, s2, s3)
            for i in range(size):
                batches[t, r, i] = order[r, i]
        states[r, 0], states[r, 1], states[r, 2], states[r, 3] = s0, s1, s2, s3


def identity_orders(n_replicas: int, n: int) -> NDArray[np.int32]:
    """The permutation 0..n-1 once per replica, (R, n): the start of every shuffle."""
    return np.tile(np.arange(n, dtype=np.int32), (n_replicas, 1))


@dataclass
class KernelState:
    """Everything that changes while R replicas train; a copy of it is a checkpoint."""

    weights: Floats  # (R, p)
    orders: NDArray[np.int32]  # (R, n), each replica's current shuffle
    generators: NDArray[np.uint64]  # (R, 4), xoshiro256++

    @classmethod
    def start(
        cls, initial_weights: Floats, generators: NDArray[np.uint64], n: int
    ) -> "KernelState":
        """R replicas at the same ``initial_weights`` (p,)."""
        n_replicas = len(generators)
        return cls(
            np.tile(initial_weights, (n_replicas, 1)),
            identity_orders(n_replicas, n),
            generators.copy(),
        )


@njit(nogil=True, cache=True)
def _dispersion(dispersion_root: Any, w: Any) -> Any:
    """(1/n) sum_i |grad L_i - grad L|^2 at the weights ``w`` (p,)."""
    p = len(w)
    spread = 0.0
    for k in range(p + 1):
        entry = dispersion_root[k, p]
        for j in range(p):
            entry += dispersion_root[k, j] * w[j]
        spread += entry * entry
    return spread


@njit(nogil=True, cache=True)
def _advance(
    features: Any,
    target: Any,
    gradient_map: Any,
    dispersion_root: Any,
    batch_size: int,
    with_replacement: bool,
    factor: float,
    learning_rates: Any,
    weights: Any,
    orders: Any,
    generators: Any,
    stochastic: Any,
    full: Any,
    conditional: Any,
) -> None:
    n, p = features.shape
    # Beyond n/2 it is cheaper to draw the examples left out and subtract them from the full sum;
    # the complement of a uniform subset is a uniform subset.
    complement = batch_size > n - batch_size and not with_replacement
    draws = n - batch_size if complement else batch_size
    drawn = np.empty(batch_size, np.int32)
    mean_gradient = np.empty(p)
    batch_sum = np.empty(p)
    for r in range(weights.shape[0]):
        s0, s1, s2, s3 = generators[r, 0], generators[r, 1], generators[r, 2], generators[r, 3]
        w = weights[r]
        order = orders[r]
        for t in range(learning_rates.shape[0]):
            for j in range(p):
                mean_gradient[j] = gradient_map[p, j]
                batch_sum[j] = 0.0
            for k in range(p):
                for j in range(p):
                    mean_gradient[j] += gradient_map[k, j] * w[k]
            conditional[t, r] = factor * _dispersion(dispersion_root, w)

            if with_replacement:
                chosen = drawn
                s0, s1, s2, s3 = draw_with_replacement(drawn, n, s0, s1, s2, s3)
            else:
                chosen = order
                s0, s1, s2, s3 = swap_in_batch(order, draws, s0, s1, s2, s3)
            for i in range(draws):
                example = chosen[i]
                residual = -target[example]
                for k in range(p):
                    residual += features[example, k] * w[k]
                for k in range(p):
                    batch_sum[k] += features[example, k] * residual
            for k in range(p):
                g = batch_sum[k]
                if complement:
                    g = n * mean_gradient[k] - g
                g /= batch_size
                stochastic[t, r, k] = g
                full[t, r, k] = mean_gradient[k]
                w[k] -= learning_rates[t] * g
        generators[r, 0], generators[r, 1] = s0, s1
        generators[r, 2], generators[r, 3] = s2, s3


def advance(
    design: RegressionDesign,
    batch_size: int,
    learning_rates: Floats,
    state: KernelState,
    pool: ThreadPoolExecutor,
    threads: int,
    with_replacement: bool = False,
) -> tuple[Floats, Floats, Floats]:
    """Run ``len(learning_rates)`` iterations of every replica; ``state`` moves on in place.

    Mini-batches are uniform, drawn afresh each iteration, without replacement or with it. Returns
    the stochastic gradients (T, R, p), the full gradients (T, R, p), both at the weights before
    each update and of the mean loss, and the conditional variances ``var(g_t | F_t)`` (T, R) of
    Lemma 1, which has 1/b for c_b with replacement.
    Replicas are independent, so the number of threads does not change any value.
    """
    n_replicas, p = state.weights.shape
    n = len(design.target)
    factor = 1 / batch_size if with_replacement else float(batch_factor(batch_size, n))
    n_steps = len(learning_rates)
    stochastic = np.empty((n_steps, n_replicas, p))
    full = np.empty((n_steps, n_replicas, p))
    conditional = np.empty((n_steps, n_replicas))
    edges = np.linspace(0, n_replicas, max(1, min(threads, n_replicas)) + 1).astype(int)

    def run(low: int, high: int) -> None:
        part = slice(low, high)
        _advance(
            design.features,
            design.target,
            design.gradient_map,
            design.dispersion_root,
            batch_size,
            with_replacement,
            factor,
            learning_rates,
            state.weights[part],
            state.orders[part],
            state.generators[part],
            stochastic[:, part],
            full[:, part],
            conditional[:, part],
        )

    list(pool.map(run, edges[:-1].tolist(), edges[1:].tolist()))
    return stochastic, full, conditional


@njit(nogil=True, cache=True)
def _advance_in_epochs(
    features: Any,
    target: Any,
    gradient_map: Any,
    dispersion_root: Any,
    batch_size: int,
    shuffled_once: bool,
    first_step: int,
    learning_rates: Any,
    weights: Any,
    orders: Any,
    generators: Any,
    stochastic: Any,
    full: Any,
    mean: Any,
    conditional: Any,
    trace: Any,
) -> None:
    n, p = features.shape
    steps_per_epoch = n // batch_size
    residuals = np.empty(n)
    for r in range(weights.shape[0]):
        s0, s1, s2, s3 = generators[r, 0], generators[r, 1], generators[r, 2], generators[r, 3]
        w = weights[r]
        order = orders[r]
        for t in range(learning_rates.shape[0]):
            step = first_step + t
            place = step % steps_per_epoch
            if place == 0 and (step == 0 or not shuffled_once):
                s0, s1, s2, s3 = swap_in_batch(order, n, s0, s1, s2, s3)
            begin = place * batch_size
            # What the mini-batch is a uniform subset of, given all steps before.
            end = begin + batch_size if shuffled_once and step >= steps_per_epoch else n
            m = end - begin
            g, left = stochastic[t, r], mean[t, r]
            for k in range(p):
                left[k] = 0.0
            for i in range(begin, end):
                example = order[i]
                residual = -target[example]
                for k in range(p):
                    residual += features[example, k] * w[k]
                residuals[i] = residual
                for k in range(p):
                    left[k] += features[example, k] * residual
                if i == begin + batch_size - 1:
                    for k in range(p):
                        g[k] = left[k] / batch_size
            for k in range(p):
                left[k] /= m
            spread = 0.0
            if m > batch_size:
                for i in range(begin, end):
                    for k in range(p):
                        deviation = features[order[i], k] * residuals[i] - left[k]
                        spread += deviation * deviation
                spread *= (m - batch_size) / (batch_size * (m - 1.0) * m)
            conditional[t, r] = spread
            trace[t, r] = n / (n - 1.0) * _dispersion(dispersion_root, w)
            for j in range(p):
                full[t, r, j] = gradient_map[p, j]
            for k in range(p):
                for j in range(p):
                    full[t, r, j] += gradient_map[k, j] * w[k]
            for k in range(p):
                w[k] -= learning_rates[t] * g[k]
        generators[r, 0], generators[r, 1] = s0, s1
        generators[r, 2], generators[r, 3] = s2, s3


@dataclass(frozen=True)
class EpochSteps:
    """Consecutive steps in epochs of ``n // batch_size`` mini-batches, one a learning rate.

    An epoch is the beginning of a new order of the examples; if they are shuffled once, of that of
    the first epoch.
    """

    first_step: int
    learning_rates: Floats
    batch_size: int
    shuffled_once: bool


def advance_in_epochs(
    design: RegressionDesign,
    steps: EpochSteps,
    state: KernelState,
    pool: ThreadPoolExecutor,
    threads: int,
) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Make ``steps`` with every replica; ``state`` moves on in place.

    Returns the stochastic gradients (T, R, p), the full gradients (T, R, p), and of g_t given all
    steps before the mean (T, R, p) and the variance (T, R). With U the m examples that the epoch
    has left, the mean is the gradient over U, and the variance ``c_{b,m} (1/m) sum_U |grad L_i -
    grad L_U|^2`` with ``c_{b,m} = (m - b) / (b (m - 1))`` (Lemma 1 on U). In later epochs of
    examples that are shuffled once the mini-batch itself is U. Last comes the variance of the
    gradient of one of all n examples, (T, R), with denominator n - 1.
    """
    n_replicas, p = state.weights.shape
    n_steps = len(steps.learning_rates)
    stochastic, full, mean = (np.empty((n_steps, n_replicas, p)) for _ in range(3))
    conditional, trace = (np.empty((n_steps, n_replicas)) for _ in range(2))
    edges = np.linspace(0, n_replicas, max(1, min(threads, n_replicas)) + 1).astype(int)

    def run(low: int, high: int) -> None:
        part = slice(low, high)
        _advance_in_epochs(
            design.features,
            design.target,
            design.gradient_map,
            design.dispersion_root,
            steps.batch_size,
            steps.shuffled_once,
            steps.first_step,
            steps.learning_rates,
            state.weights[part],
            state.orders[part],
            state.generators[part],
            stochastic[:, part],
            full[:, part],
            mean[:, part],
            conditional[:, part],
            trace[:, part],
        )

    list(pool.map(run, edges[:-1].tolist(), edges[1:].tolist()))
    return stochastic, full, mean, conditional, trace
