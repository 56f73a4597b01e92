"""One training block of linear regression, from data to statistics."""

import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.artifacts.block_tables import BlockTables
from pipeline_lib.artifacts.checkpoint import Checkpoint
from pipeline_lib.estimation.statistics import ALL, FULL, STOCHASTIC, GradientRecord
from pipeline_lib.estimation.variance import vector_moments
from pipeline_lib.logs import progress
from pipeline_lib.models.linear_regression.cost import CHUNK_BYTES
from pipeline_lib.models.linear_regression.design import RegressionDesign
from pipeline_lib.models.linear_regression.kernel import (
    EpochSteps,
    KernelState,
    advance,
    advance_in_epochs,
)
from pipeline_lib.sampling.names import IN_EPOCHS
from pipeline_lib.seeding import replica_states, torch_seed
from pipeline_lib.study.block import CPU, Hardware
from pipeline_lib.training.resumable import Run, train_run
from pipeline_lib.training.steps import StepPlan

log = logging.getLogger(__name__)
Floats = NDArray[np.float64]


def regression_block(
    features: Floats,
    target: Floats,
    initial_weights: Floats,
    plan: StepPlan,
    hardware: Hardware = CPU,
    checkpoint: Checkpoint | None = None,
) -> BlockTables:
    """Train the runs of ``plan`` on linear regression and summarise every step.

    Args:
        features, target, initial_weights: shapes (n, p), (n,) and (p,), float64; the loss is the
            mean over examples.
        plan: where its mini-batches are larger than n there is nothing to draw: the block is empty
            and the log says so.
        hardware: on CPU the compiled kernel trains by plain SGD; no value depends on its threads,
            and each replica has its own generator. On another device and for other optimisers it is
            torch, which draws different mini-batches from the same stream.
        checkpoint: where to save the state and to go on from, opened and closed by the caller.

    Raises ArtifactError if the checkpoint is of another run, StoppedError after a requested stop.
    """
    if plan.batch_size > len(target):
        log.warning(
            "b = %d is above the %d rows at hand: this block holds no estimate",
            plan.batch_size,
            len(target),
        )
        return BlockTables.without_rows()
    design = RegressionDesign.of(features, target)
    run: Run
    if hardware.device == "cpu" and plan.is_plain:
        run = _KernelRun(design, initial_weights, plan, hardware.threads)
    else:
        run = torch_run(design, initial_weights, plan, hardware.device)
    return train_run(run, plan, checkpoint)


class _KernelRun:
    """The compiled kernel as a `pipeline_lib.training.resumable.Run`."""

    def __init__(
        self, design: RegressionDesign, initial_weights: Floats, plan: StepPlan, threads: int
    ) -> None:
        self._design = design
        self._plan = plan
        self._threads = threads
        generators = replica_states(plan.stream, plan.n_replicas)
        self._replicas = KernelState.start(initial_weights, generators, len(design.target))

    def records(self, first_step: int) -> Iterator[GradientRecord]:
        """Train from ``first_step`` to the end."""
        rates, b, threads = self._plan.learning_rates, self._plan.batch_size, self._threads
        in_epochs = self._plan.sampling in IN_EPOCHS
        chunk = max(1, CHUNK_BYTES // ((2 + in_epochs) * 8 * self._replicas.weights.size))
        starts = range(first_step, len(rates), chunk)
        with ThreadPoolExecutor(threads) as pool:
            for start in progress(starts, len(starts), f"b = {b}: chunks of {chunk} steps"):
                some = rates[start : start + chunk]
                if in_epochs:
                    once = self._plan.sampling == "shuffled_once"
                    stochastic, full, mean, conditional, of_one = advance_in_epochs(
                        self._design,
                        EpochSteps(start, some, b, once),
                        self._replicas,
                        pool,
                        threads,
                    )
                    means = {ALL: vector_moments(mean).sq_deviations}
                    trace = {ALL: of_one}
                    sq_gradient = {ALL: np.einsum("trp,trp->tr", full, full)}
                else:
                    replace = self._plan.sampling == "with_replacement"
                    stochastic, full, conditional = advance(
                        self._design, b, some, self._replicas, pool, threads, replace
                    )
                    # Here the theory knows the gradient noise scale exactly.
                    means, trace, sq_gradient = {}, {}, {}
                yield GradientRecord(
                    np.arange(start, start + len(some)),
                    {
                        (STOCHASTIC, ALL): vector_moments(stochastic),
                        (FULL, ALL): vector_moments(full),
                    },
                    np.isfinite(np.einsum("trp,trp->tr", stochastic, stochastic)),
                    {ALL: conditional},
                    means,
                    trace=trace,
                    sq_gradient=sq_gradient,
                )

    def state(self) -> dict[str, Any]:
        """The arrays of `KernelState`, as they are in use."""
        return dict(vars(self._replicas))

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self._replicas = KernelState(**{name: array.copy() for name, array in state.items()})


def torch_run(
    design: RegressionDesign, initial_weights: Floats, plan: StepPlan, device: str
) -> Run:
    """The same model through torch, on any device, as a `pipeline_lib.training.resumable.Run`."""
    # Imported here: a CPU job that needs only the kernel starts without torch.
    import torch

    from pipeline_lib.models.linear_regression.replicas import LinearReplicas
    from pipeline_lib.sampling.subsets import ExampleDraws
    from pipeline_lib.training.loop import TorchRun
    from pipeline_lib.training.update import Update

    generator = torch.Generator(device).manual_seed(torch_seed(plan.stream))
    weights = torch.as_tensor(initial_weights, device=device)
    n, b, n_replicas = len(design.target), plan.batch_size, plan.n_replicas
    stack = LinearReplicas(design, weights, n_replicas, plan.sampling)
    return TorchRun(
        stack,
        ExampleDraws(n, b, n_replicas, plan.sampling, generator),
        generator,
        b,
        plan.learning_rates.tolist(),
        update=Update(stack.parameters, plan.optimizer, plan.clipping),
    )
