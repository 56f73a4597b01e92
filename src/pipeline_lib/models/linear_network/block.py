"""One training block of a linear network: groups of replicas, pooled.

The weights and gradients of 1,000 replicas take half a gigabyte, and every step reads all of it. A
group of some 20 replicas stays in the last-level cache, so each group is trained through all steps
and the groups are pooled (`estimation.variance.pool`), at the price of one degree of freedom a
group.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pipeline_lib.artifacts.block_tables import BlockTables
from pipeline_lib.artifacts.checkpoint import Checkpoint
from pipeline_lib.estimation.control_variates import controlled_tables, enough_runs
from pipeline_lib.estimation.pooling import group_sizes, pooled
from pipeline_lib.estimation.statistics import FULL, STOCHASTIC, GradientRecord
from pipeline_lib.models.linear_network.deep import DeepLinearReplicas
from pipeline_lib.models.linear_network.student import Student
from pipeline_lib.models.linear_network.two_layer import (
    W1,
    W2,
    TwoLayerReplicas,
    preferred_form,
    reduce_hidden,
    variance_given_weights,
    variance_of_one,
)
from pipeline_lib.models.linear_network.two_layer_kernel import (
    FULL1,
    FULL2,
    G1,
    G2,
    StepNumbers,
    TwoLayerKernel,
)
from pipeline_lib.sampling.gaussian import GaussianBatch, GaussianSampler
from pipeline_lib.seeding import torch_seed
from pipeline_lib.study.block import CPU, Hardware
from pipeline_lib.study.optimizers import Sgd
from pipeline_lib.training.loop import Recording, TorchRun
from pipeline_lib.training.replica_moments import has_kernel
from pipeline_lib.training.report import Report, gather_record
from pipeline_lib.training.resumable import Run, train_side_by_side
from pipeline_lib.training.stack import ReplicaStack
from pipeline_lib.training.steps import StepPlan
from pipeline_lib.training.update import Update

Floats = NDArray[np.float64]

_ROWS = {G1: (STOCHASTIC, W1), G2: (STOCHASTIC, W2), FULL1: (FULL, W1), FULL2: (FULL, W2)}

# Tables are made from this many steps at once; few steps would cost more time in tables.
_STEPS_PER_RECORD = 256


@dataclass(frozen=True)
class Network:
    """A `pipeline_lib.models.linear_network.student.Student` where and how it is trained."""

    weights: tuple[torch.Tensor, ...]
    teacher: torch.Tensor


@dataclass(frozen=True)
class Grouping:
    """How the replicas of a block are trained: ``replicas_at_once`` through all steps, then others.

    Values depend on it: a group (of at most so many, made even) is a random stream and costs one
    degree of freedom. ``dtype`` is that of weights and gradients, ``float32`` or ``float64``.
    ``reduce`` trains the equivalent network of p + p2 hidden units, if two layers have more and SGD
    trains them. ``controlled`` takes off the Rao-Blackwell estimate what control variates explain.
    """

    replicas_at_once: int = 20
    dtype: str = "float32"
    reduce: bool = True
    controlled: bool = True


def linear_network_block(
    student: Student,
    plan: StepPlan,
    grouping: Grouping = Grouping(),
    hardware: Hardware = CPU,
    checkpoint: Checkpoint | None = None,
) -> BlockTables:
    """Train the runs of ``plan`` on a linear network online and summarise every step.

    Args:
        student: initial weights and the teacher; two layers under plain SGD are trained by a
            compiled kernel on CPU, all else by torch.
        plan: its stream seeds the mini-batches; each group of replicas has its own generator.
        hardware: on CPU so many groups are trained at the same time; no value depends on it. A
            CUDA device draws different mini-batches from the same stream.
        checkpoint: where to save the state and to go on from, opened and closed by the caller in
            the main thread.

    Raises ArtifactError if the checkpoint is of another run, StoppedError after a requested stop.
    """
    device = hardware.device
    sizes = group_sizes(plan.n_replicas, grouping.replicas_at_once)
    controlled = grouping.controlled and enough_runs(plan.n_replicas, len(student.weights))
    precision = {"float32": torch.float32, "float64": torch.float64}[grouping.dtype]
    with _one_thread():
        weights = [torch.as_tensor(weight) for weight in student.weights]
        # Of the optimisers SGD alone commutes with a rotation of the hidden units.
        if grouping.reduce and len(weights) == 2 and isinstance(plan.optimizer, Sgd):
            weights = list(reduce_hidden(*weights))
        network = Network(
            tuple(weight.to(device, precision) for weight in weights),
            torch.as_tensor(student.teacher).to(device, precision),
        )

        def make_run(group: int) -> Run:
            stream = _child(plan.stream, group)
            of_group = replace(plan, n_replicas=sizes[group], stream=stream)
            return _group(network, of_group, controlled)

        tables = train_side_by_side(
            make_run,
            sizes,
            hardware.threads if device == "cpu" else 1,
            f"b = {plan.batch_size}: groups of {sizes[0]} replicas",
            checkpoint,
            initializer=lambda: torch.set_num_threads(1),  # torch's setting belongs to the thread
        )
    if controlled:
        tables = controlled_tables(tables, plan.learning_rates)
    block = pooled([BlockTables(**of_group) for of_group in tables], sizes)
    block.log_divergence(plan.n_replicas, plan.batch_size)
    return block


def _group(network: Network, plan: StepPlan, controlled: bool) -> Run:
    weights, b = network.weights, plan.batch_size
    p, n_replicas = weights[0].shape[1], plan.n_replicas
    generator = torch.Generator(weights[0].device).manual_seed(torch_seed(plan.stream))
    two_layers = len(weights) == 2
    # Deep stacks take inputs: products through the layers cost less with b columns than with p.
    form = preferred_form(p, len(weights[0]), len(weights[1]), b) if two_layers else "inputs"
    sampler = GaussianSampler(p, b, n_replicas, generator, form, weights[0].dtype)
    if two_layers and plan.is_plain and has_kernel(weights[0]):
        return KernelRun(network, sampler, plan.learning_rates, n_replicas, controlled)
    stack: ReplicaStack[GaussianBatch]
    if two_layers:
        stack = TwoLayerReplicas(weights[0], weights[1], network.teacher, n_replicas)
    else:
        stack = DeepLinearReplicas(weights, network.teacher, n_replicas)
    rates = plan.learning_rates.tolist()
    update = Update(stack.parameters, plan.optimizer, plan.clipping)
    recording = Recording(_STEPS_PER_RECORD, increments=controlled)
    return TorchRun(stack, sampler, generator, b, rates, recording, update)


class KernelRun:
    """What `pipeline_lib.training.loop.TorchRun` does, through the compiled kernel."""

    def __init__(
        self,
        network: Network,
        draw_batch: GaussianSampler,
        learning_rates: Floats,
        n_replicas: int,
        with_increments: bool = False,
    ) -> None:
        w1, w2, teacher = (weight.numpy() for weight in (*network.weights, network.teacher))
        first, second = (np.repeat(w[None], n_replicas, axis=0) for w in (w1, w2))
        self._kernel = TwoLayerKernel(first, second, teacher)
        self._draw_batch = draw_batch
        self._learning_rates = learning_rates
        self._with_increments = with_increments

    def records(self, first_step: int) -> Iterator[GradientRecord]:
        """Train from ``first_step`` to the end."""
        kernel, draw_batch, all_rates = self._kernel, self._draw_batch, self._learning_rates
        p, b = draw_batch.n_features, draw_batch.batch_size
        for start in range(first_step, len(all_rates), _STEPS_PER_RECORD):
            rates = all_rates[start : start + _STEPS_PER_RECORD]
            reports = [
                _report(kernel.step(draw_batch(), rate), p, b, self._with_increments)
                for rate in rates
            ]
            yield gather_record(np.arange(start, start + len(rates)), reports)

    def state(self) -> dict[str, Any]:
        """Weights, as they are in use, and the generator's state."""
        generator = self._draw_batch.generator.get_state()
        return {"w1": self._kernel.w1, "w2": self._kernel.w2, "generator": generator}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self._kernel.w1[:], self._kernel.w2[:] = state["w1"], state["w2"]
        self._draw_batch.generator.set_state(state["generator"])


def _report(numbers: StepNumbers, p: int, batch_size: int, with_increments: bool) -> Report:
    moments = {
        key: {
            "sq_norms": torch.from_numpy(numbers.sq_norms[row]),
            "sq_norm_of_mean": torch.tensor(numbers.sq_norm_of_mean[row]),
            "sq_deviations": torch.from_numpy(numbers.sq_deviations[row]),
        }
        for row, key in _ROWS.items()
    }
    conditional = variance_given_weights(
        p,
        batch_size,
        torch.from_numpy(numbers.residual),
        torch.from_numpy(numbers.first_layer),
        {name: moments[FULL, name]["sq_norms"] for name in (W1, W2)},
    )
    along = {W1: torch.from_numpy(numbers.along[0]), W2: torch.from_numpy(numbers.along[1])}
    return Report(
        moments,
        conditional,
        trace=variance_of_one(conditional, batch_size),
        along=along if with_increments else {},
    )


def _child(stream: np.random.SeedSequence, group: int) -> np.random.SeedSequence:
    """Child number ``group`` of ``stream``; unlike ``spawn`` this leaves ``stream`` unchanged."""
    return np.random.SeedSequence(
        stream.entropy, spawn_key=(*stream.spawn_key, group), pool_size=stream.pool_size
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep torch and BLAS to one thread inside: groups run side by side instead.

    Values do not depend on how many do, nor do those of the reduced network on the processors at
    hand. Torch's setting belongs to the calling thread, BLAS's to the process; both are put back.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)
