"""The counter-example to "decreasing at every b": exact values, and Monte Carlo beside them."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from pipeline_lib.estimation.judged import judged
from pipeline_lib.estimation.statistics import FULL, STOCHASTIC
from pipeline_lib.estimation.variance import (
    Contributions,
    pool,
    rao_blackwell_contributions,
    sample_contributions,
    summarise,
    vector_moments,
)
from pipeline_lib.seeding import seed_sequence
from pipeline_lib.theory.batch_polynomial import value_at
from pipeline_lib.theory.matrix_network import layer_variances
from pipeline_lib.theory.studied_networks import (
    COUNTEREXAMPLE,
    COUNTEREXAMPLE_RATE,
    named_layers,
)
from pipeline_lib.theory.two_layer import conditional_variances, population_gradients

# Runs simulated together; part of the definition of the random streams.
CHUNK = 100_000


def counterexample_table(
    batch_sizes: Sequence[int], simulated: Sequence[int], n_runs: int, seed: int, level: float
) -> pd.DataFrame:
    """Rows of the ``b0_counterexample`` artefact: exact variances at t = 1, and estimates of some.

    The network is ``COUNTEREXAMPLE``. At the sizes in ``simulated`` there are estimates by
    ``rao_blackwell`` (``sample`` for the full gradients) from ``n_runs`` runs with intervals.
    """
    exact = layer_variances(COUNTEREXAMPLE, COUNTEREXAMPLE_RATE, 1)
    estimates: dict[tuple[int, str, str], tuple[float, float, float, float]] = {}
    for b in simulated:
        found = simulate_first_step(b, n_runs, seed)
        for (quantity, tensor), one in found.items():
            interval = judged(one, level).interval
            estimates[b, quantity, tensor] = (
                float(one.mean),
                float(interval.std_error),
                float(interval.low),
                float(interval.high),
            )
    rows = []
    for quantity, tensor, polynomial in named_layers(exact):
        for b in batch_sizes:
            missing = (np.nan,) * 4
            value = float(value_at(polynomial, b))
            rows.append(
                (b, quantity, tensor, value, *estimates.get((b, quantity, tensor), missing))
            )
    names = ["b", "quantity", "tensor", "exact", "variance", "std_error", "ci_low", "ci_high"]
    return pd.DataFrame(rows, columns=names)


def simulate_first_step(
    batch_size: int, n_runs: int, seed: int
) -> Mapping[tuple[str, str], Contributions]:
    """Monte Carlo of ``COUNTEREXAMPLE`` at t = 1, by quantity and tensor, from R runs."""
    w1, w2 = (np.array(matrix, dtype=np.float64) for matrix in COUNTEREXAMPLE.weights)
    target = np.array(COUNTEREXAMPLE.teacher, dtype=np.float64)
    rate = float(COUNTEREXAMPLE_RATE)
    gap = w2 @ w1 - target
    blocks: dict[tuple[str, str], list[Contributions]] = {}
    n_chunks = -(-n_runs // CHUNK)
    for chunk in range(n_chunks):
        size = n_runs // n_chunks + (chunk < n_runs % n_chunks)
        stream = seed_sequence(seed, "b0_counterexample", batch_size, n_runs, chunk)
        x = np.random.default_rng(stream).standard_normal((size, batch_size, 2))
        s = np.swapaxes(x, -1, -2) @ x / batch_size
        moved_1, moved_2 = w1 - rate * w2.T @ gap @ s, w2 - rate * gap @ s @ w1.T
        own = conditional_variances(moved_1, moved_2, target, batch_size)
        full = population_gradients(moved_1, moved_2, target)
        for k, (conditional, gradient) in enumerate(zip(own, full, strict=True), start=1):
            spread = vector_moments(gradient.reshape(size, -1)).sq_deviations
            better = rao_blackwell_contributions(conditional, spread)
            for quantity, moments in (
                (STOCHASTIC, summarise(better, conditional)),
                (FULL, summarise(sample_contributions(spread))),
            ):
                blocks.setdefault((quantity, f"W{k}"), []).append(moments)
    return {key: pool(parts) for key, parts in blocks.items()}
