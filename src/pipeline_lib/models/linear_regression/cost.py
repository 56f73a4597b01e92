"""What a block of linear regression costs."""

from pipeline_lib.errors import ConfigError
from pipeline_lib.models.linear_regression.settings import ROWS, LinearRegression
from pipeline_lib.study.cost import (
    ROW_IN_MEMORY,
    STATISTICS,
    BlockCost,
    file_bytes,
    saved_table_bytes,
)
from pipeline_lib.study.experiment import Experiment, IterationExperiment

CHUNK_BYTES = 16 * 2**20
"""Gradients of consecutive steps are summarised together; this bounds the memory they take."""


def block_cost(model: LinearRegression, experiment: Experiment, b: int) -> BlockCost:
    """The cost of one block; ConfigError if ``b`` is above the examples."""
    assert isinstance(experiment, IterationExperiment)
    replicas, steps = experiment.runs_per_block, experiment.iterations
    n, p = ROWS[model.dataset], model.n_weights
    if b > n:
        raise ConfigError(f"batch size {b}: allowed are 1 to {n}, the examples")
    # The examples drawn or, beyond n/2, left out; the full gradient and the conditional variance
    # through p by p matrices; two gradients summarised.
    step = 4 * p * min(b, n - b) + 2 * p * p + 2 * p * (p + 1) + 2 * p * STATISTICS
    if not experiment.is_plain:
        # Torch trains these, and each step waits for memory rather than for arithmetic. Time was
        # measured, at 4 and 256 examples of 8 columns; counted is what a core would do in it.
        step = p * (1000 + 13 * b)
    rows = 3 * steps
    # Gradients of a chunk, those of the last one, deviations and contributions.
    chunk = 6 * max(min(CHUNK_BYTES, steps * replicas * 2 * 8 * p), replicas * 2 * 8 * p)
    state = replicas * (4 * n + 8 * p + 32)  # shuffles, weights, generators
    resident = chunk + state + 3 * rows * ROW_IN_MEMORY
    of_noise = steps if model.noise_scale(experiment) == "runs" else 0
    written = (
        file_bytes("statistics", rows) + file_bytes("divergence", 0) + file_bytes("noise", of_noise)
    )
    checkpoint = state + saved_table_bytes("statistics", rows)
    checkpoint += saved_table_bytes("noise", of_noise) if of_noise else 0
    operations = float(replicas * steps * step)
    return BlockCost(steps, replicas, 1, replicas, operations, resident, written, checkpoint)
