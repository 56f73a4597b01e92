"""One training block: R replicas of one experiment at one batch size, from data to statistics."""

import logging
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline_lib.artifacts.schemas import SCHEMAS
from pipeline_lib.errors import ConfigError
from pipeline_lib.estimation.statistics import (
    ALL,
    FULL,
    STOCHASTIC,
    GradientRecord,
)
from pipeline_lib.estimation.variance import vector_moments
from pipeline_lib.logs import progress
from pipeline_lib.models.linear_regression.design import RegressionDesign
from pipeline_lib.models.linear_regression.kernel import KernelState, advance
from pipeline_lib.seeding import replica_states, torch_seed
from pipeline_lib.training.checkpoint import Checkpoint
from pipeline_lib.training.resumable import Run, SummarisedRun

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
    checkpoint: Checkpoint | None = None,
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
        checkpoint: where to save the state and to go on from, opened and closed by the caller.

    Raises ArtifactError if the checkpoint is of another run, StoppedError after a requested stop.
    """
    if batch_size > len(target):
        log.warning(
            "b = %d is above the %d rows at hand: this block holds no estimate",
            batch_size,
            len(target),
        )
        return BlockResult(_empty("statistics"), _empty("divergence"))
    design = RegressionDesign.of(features, target)
    run: Run
    if backend == "numba":
        generators = replica_states(stream, n_replicas)
        run = _KernelRun(design, initial_weights, learning_rates, batch_size, generators, threads)
    else:
        run = _torch_run(design, initial_weights, learning_rates, batch_size, n_replicas, stream)
    training = SummarisedRun(run, n_replicas, None if checkpoint is None else checkpoint.load())

    def save_if_due() -> None:
        if checkpoint is not None:
            checkpoint.save_if_due(training.state)

    result = BlockResult(**training.finish(save_if_due))
    report_divergence(result, n_replicas, batch_size)
    return result


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


class _KernelRun:
    """The compiled kernel as a `pipeline_lib.training.resumable.Run`."""

    def __init__(
        self,
        design: RegressionDesign,
        initial_weights: Floats,
        learning_rates: Floats,
        batch_size: int,
        generators: NDArray[np.uint64],
        threads: int,
    ) -> None:
        self._design = design
        self._learning_rates = learning_rates
        self._batch_size = batch_size
        self._threads = threads
        self._replicas = KernelState.start(initial_weights, generators, len(design.target))

    def records(self, first_step: int) -> Iterator[GradientRecord]:
        """Train from ``first_step`` to the end."""
        rates, b, threads = self._learning_rates, self._batch_size, self._threads
        chunk = max(1, _CHUNK_BYTES // (2 * 8 * self._replicas.weights.size))
        starts = range(first_step, len(rates), chunk)
        with ThreadPoolExecutor(threads) as pool:
            for start in progress(starts, len(starts), f"b = {b}: chunks of {chunk} steps"):
                some = rates[start : start + chunk]
                stochastic, full, conditional = advance(
                    self._design, b, some, self._replicas, pool, threads
                )
                yield GradientRecord(
                    np.arange(start, start + len(some)),
                    {
                        (STOCHASTIC, ALL): vector_moments(stochastic),
                        (FULL, ALL): vector_moments(full),
                    },
                    np.isfinite(np.einsum("trp,trp->tr", stochastic, stochastic)),
                    {ALL: conditional},
                )

    def state(self) -> dict[str, Any]:
        """The arrays of `KernelState`, as they are in use."""
        return dict(vars(self._replicas))

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self._replicas = KernelState(**{name: array.copy() for name, array in state.items()})


def _torch_run(
    design: RegressionDesign,
    initial_weights: Floats,
    learning_rates: Floats,
    batch_size: int,
    n_replicas: int,
    stream: np.random.SeedSequence,
) -> Run:
    # Imported here: a CPU job that needs only the kernel starts without torch.
    import torch

    from pipeline_lib.models.linear_regression.replicas import LinearReplicas
    from pipeline_lib.sampling.subsets import without_replacement
    from pipeline_lib.training.loop import TorchRun

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    generator = torch.Generator(device).manual_seed(torch_seed(stream))
    weights = torch.as_tensor(initial_weights, device=device)
    n = len(design.target)
    return TorchRun(
        LinearReplicas(design, weights, n_replicas),
        lambda: without_replacement(n, batch_size, n_replicas, generator),
        generator,
        batch_size,
        learning_rates.tolist(),
    )


def _empty(kind: str) -> pd.DataFrame:
    frame: pd.DataFrame = SCHEMAS[kind].empty_table().to_pandas()
    return frame
