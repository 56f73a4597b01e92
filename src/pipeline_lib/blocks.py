"""One training block: R replicas of one experiment at one batch size, from data to statistics."""

import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline_lib.errors import ConfigError
from pipeline_lib.logs import progress
from pipeline_lib.models.linear_kernel import KernelState, advance
from pipeline_lib.models.regression_design import RegressionDesign
from pipeline_lib.schemas import SCHEMAS
from pipeline_lib.seeding import replica_states, torch_seed
from pipeline_lib.statistics import (
    ALL,
    FULL,
    STOCHASTIC,
    DivergenceTracker,
    GradientRecord,
    statistics_rows,
)
from pipeline_lib.variance import vector_moments

log = logging.getLogger(__name__)
Floats = NDArray[np.float64]

# Gradients of consecutive steps are summarised together; this bounds the memory they take.
_CHUNK_BYTES = 16 * 2**20


@dataclass(frozen=True)
class BlockResult:
    """The two tables that a training block leaves behind."""

    statistics: pd.DataFrame
    divergence: pd.DataFrame


def resolve_device(device: str) -> str:
    """``auto`` becomes ``cuda`` where torch can use a CUDA device, else ``cpu``.

    Torch is asked only where a driver is loaded: importing it would cost every CPU job a second.
    Raises ConfigError if ``cuda`` is asked for and there is none.
    """
    if device == "cpu":
        return device
    usable = os.path.exists("/dev/nvidiactl") and _cuda_is_available()
    if device == "cuda" and not usable:
        raise ConfigError(
            "config: compute.device: 'cuda', but no CUDA device can be used here; "
            "allowed here: auto, cpu"
        )
    return "cuda" if usable else "cpu"


def _cuda_is_available() -> bool:
    import torch

    return torch.cuda.is_available()


def regression_block(
    features: Floats,
    target: Floats,
    initial_weights: Floats,
    learning_rates: Floats,
    batch_size: int,
    n_replicas: int,
    stream: np.random.SeedSequence,
    backend: str = "numba",
    threads: int = 1,
) -> BlockResult:
    """Train ``n_replicas`` runs of linear regression and summarise every step.

    Args:
        features, target, initial_weights, learning_rates: shapes (n, p), (n,), (p,) and (T,),
            float64; the loss is the mean over examples.
        batch_size: mini-batches are uniform without replacement, afresh each iteration. Above n
            there is nothing to draw: the block is empty and the log says so.
        stream: seeds the mini-batches; each replica has its own generator.
        backend: ``numba`` (CPU) or ``torch`` (the CUDA device if there is one). They draw
            different mini-batches from the same seed.
        threads: of the numba backend. No value depends on it.
    """
    if batch_size > len(target):
        log.warning(
            "b = %d is above the %d rows at hand: this block holds no estimate",
            batch_size,
            len(target),
        )
        return BlockResult(_empty("statistics"), _empty("divergence"))
    make = _kernel_records if backend == "numba" else _torch_records
    records = make(
        features, target, initial_weights, learning_rates, batch_size, n_replicas, stream, threads
    )
    return collect(records, n_replicas, batch_size)


def collect(records: Iterator[GradientRecord], n_replicas: int, batch_size: int) -> BlockResult:
    """Summarise ``records`` and report replicas that diverge."""
    result = summarise_records(records, n_replicas)
    report_divergence(result, n_replicas, batch_size)
    return result


def summarise_records(
    records: Iterator[GradientRecord], n_replicas: int, steps_per_epoch: int | None = None
) -> BlockResult:
    """The two tables of ``records``, without a word to the log.

    Where training has epochs, ``steps_per_epoch`` tells which epoch a step belongs to.
    """
    tracker = DivergenceTracker(n_replicas)

    def rows(record: GradientRecord) -> pd.DataFrame:
        epochs = None if steps_per_epoch is None else record.steps // steps_per_epoch
        return statistics_rows(record, tracker.update(record), epochs)

    # Overflow is a finding here, recorded as divergence, not an accident.
    with np.errstate(over="ignore", invalid="ignore"):
        parts = [rows(record) for record in records]
    # One order of rows, whatever number of steps a record holds: blocks merge row by row.
    order = ["quantity", "tensor", "estimator", "step"]
    table = pd.concat(parts).sort_values(order, ignore_index=True)
    return BlockResult(table, tracker.rows())


def report_divergence(result: BlockResult, n_replicas: int, batch_size: int) -> None:
    """Warn in the log if any replica of the block diverged."""
    divergence = result.divergence
    if len(divergence):
        log.warning(
            "b = %d: %d of %d replicas diverged, the first at step %d; "
            "there is no estimate from that step on",
            batch_size,
            len(divergence),
            n_replicas,
            divergence["step"].min(),
        )


def _kernel_records(
    features: Floats,
    target: Floats,
    initial_weights: Floats,
    learning_rates: Floats,
    batch_size: int,
    n_replicas: int,
    stream: np.random.SeedSequence,
    threads: int,
) -> Iterator[GradientRecord]:
    n, p = features.shape
    design = RegressionDesign.of(features, target)
    state = KernelState.start(initial_weights, replica_states(stream, n_replicas), n)
    chunk = max(1, _CHUNK_BYTES // (2 * 8 * n_replicas * p))
    starts = range(0, len(learning_rates), chunk)
    with ThreadPoolExecutor(threads) as pool:
        for start in progress(starts, len(starts), f"b = {batch_size}: chunks of {chunk} steps"):
            rates = learning_rates[start : start + chunk]
            stochastic, full, conditional = advance(design, batch_size, rates, state, pool, threads)
            steps = np.arange(start, start + len(rates))
            yield GradientRecord(
                steps,
                {
                    (STOCHASTIC, ALL): vector_moments(stochastic),
                    (FULL, ALL): vector_moments(full),
                },
                np.isfinite(np.einsum("trp,trp->tr", stochastic, stochastic)),
                {ALL: conditional},
            )


def _torch_records(
    features: Floats,
    target: Floats,
    initial_weights: Floats,
    learning_rates: Floats,
    batch_size: int,
    n_replicas: int,
    stream: np.random.SeedSequence,
    threads: int,
) -> Iterator[GradientRecord]:
    # Imported here: a CPU job that needs only the kernel starts without torch.
    import torch

    from pipeline_lib.models.linear import LinearReplicas
    from pipeline_lib.sampling import without_replacement
    from pipeline_lib.training import train

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    generator = torch.Generator(device).manual_seed(torch_seed(stream))
    stack = LinearReplicas(
        RegressionDesign.of(features, target),
        torch.as_tensor(initial_weights, device=device),
        n_replicas,
    )
    n = len(target)
    yield from train(
        stack,
        lambda: without_replacement(n, batch_size, n_replicas, generator),
        batch_size,
        learning_rates.tolist(),
    )


def _empty(kind: str) -> pd.DataFrame:
    frame: pd.DataFrame = SCHEMAS[kind].empty_table().to_pandas()
    return frame
