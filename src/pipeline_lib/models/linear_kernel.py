"""R runs of SGD on linear regression, fused into one compiled loop (CPU).

A run-iteration of this model is a few hundred multiplications, so any library call per iteration
costs more than the arithmetic. The kernel therefore draws the mini-batch, forms both gradients and
the conditional variance, and updates the weights in one pass per replica, with the replica's
weights and shuffle in the first-level cache. `pipeline_lib.models.linear` is the same model through
torch, for GPUs, and the reference that the tests compare with.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline_lib.models.regression_design import RegressionDesign
from pipeline_lib.xoshiro import identity_orders, swap_in_batch

Floats = NDArray[np.float64]


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
    dispersion: Any,
    batch_size: int,
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
    c_b = (n - batch_size) / (batch_size * (n - 1))
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
            quadratic = dispersion[p, p]
            for k in range(p):
                row = 2.0 * dispersion[p, k]
                for j in range(p):
                    row += dispersion[k, j] * w[j]
                quadratic += row * w[k]
            conditional[t, r] = c_b * quadratic

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
            design.dispersion,
            batch_size,
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
