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
def _advance(
    features: Any,
    target: Any,
    gradient_map: Any,
    dispersion_root: Any,
    batch_size: int,
    c_b: float,
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
    draws = min(batch_size, n - batch_size)
    complement = batch_size > n - batch_size
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
            spread = 0.0
            for k in range(p + 1):
                entry = dispersion_root[k, p]
                for j in range(p):
                    entry += dispersion_root[k, j] * w[j]
                spread += entry * entry
            conditional[t, r] = c_b * spread

            s0, s1, s2, s3 = swap_in_batch(order, draws, s0, s1, s2, s3)
            for i in range(draws):
                example = order[i]
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
) -> tuple[Floats, Floats, Floats]:
    """Run ``len(learning_rates)`` iterations of every replica; ``state`` moves on in place.

    Mini-batches are uniform without replacement, drawn afresh each iteration. Returns the
    stochastic gradients (T, R, p), the full gradients (T, R, p), both at the weights before each
    update and of the mean loss, and the conditional variances ``var(g_t | F_t)`` (T, R) of Lemma 1.
    Replicas are independent, so the number of threads does not change any value.
    """
    n_replicas, p = state.weights.shape
    c_b = float(batch_factor(batch_size, len(design.target)))
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
            c_b,
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
