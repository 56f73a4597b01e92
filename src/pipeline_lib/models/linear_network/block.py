"""One training block of the two-layer linear network: groups of replicas, pooled.

The weights and gradients of 1,000 replicas take half a gigabyte, and every step reads all of it. A
group of some 20 replicas stays in the last-level cache, so each group is trained through all steps
and the groups are pooled (`estimation.variance.pool`), at the price of one degree of freedom a
group.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pipeline_lib.estimation.pooling import group_sizes, pooled
from pipeline_lib.estimation.statistics import FULL, STOCHASTIC, GradientRecord
from pipeline_lib.models.linear_network.two_layer import (
    W1,
    W2,
    TwoLayerReplicas,
    preferred_form,
    reduce_hidden,
    variance_given_weights,
)
from pipeline_lib.models.linear_network.two_layer_kernel import (
    FULL1,
    FULL2,
    G1,
    G2,
    StepNumbers,
    TwoLayerKernel,
)
from pipeline_lib.models.linear_regression.block import BlockResult, report_divergence
from pipeline_lib.sampling.gaussian import GaussianSampler
from pipeline_lib.seeding import torch_seed
from pipeline_lib.training.checkpoint import Checkpoint
from pipeline_lib.training.loop import Report, TorchRun, gather_record
from pipeline_lib.training.replica_moments import has_kernel
from pipeline_lib.training.resumable import Run, train_side_by_side

Floats = NDArray[np.float64]
Weights = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # W1, W2 and T

_ROWS = {G1: (STOCHASTIC, W1), G2: (STOCHASTIC, W2), FULL1: (FULL, W1), FULL2: (FULL, W2)}

# Tables are made from this many steps at once; few steps would cost more time in tables.
_STEPS_PER_RECORD = 256


def two_layer_block(
    w1: Floats,
    w2: Floats,
    teacher: Floats,
    learning_rates: Floats,
    batch_size: int,
    n_replicas: int,
    stream: np.random.SeedSequence,
    replicas_at_once: int = 20,
    threads: int = 1,
    dtype: str = "float32",
    device: str = "cpu",
    reduce: bool = True,
    checkpoint: Checkpoint | None = None,
) -> BlockResult:
    """Train ``n_replicas`` runs of the two-layer linear network online and summarise every step.

    Args:
        w1, w2, teacher: initial weights (p1, p), (p2, p1) and T (p2, p).
        learning_rates: shape (T,).
        stream: seeds the mini-batches; each group of replicas has its own generator.
        replicas_at_once: replicas of a group (up to the rounding that makes groups even). Values
            depend on it: a group is a random stream and costs one degree of freedom.
        threads: groups trained at the same time on CPU. No value depends on it.
        dtype: of weights and gradients, ``float32`` or ``float64``. Sums of squares are float64.
        device: ``cpu`` or a CUDA device, which draws different mini-batches from the same seed.
        reduce: train the equivalent network of p + p2 hidden units, if that is smaller.
        checkpoint: where to save the state and to go on from, opened and closed by the caller in
            the main thread.

    Raises ArtifactError if the checkpoint is of another run, StoppedError after a requested stop.
    """
    sizes = group_sizes(n_replicas, replicas_at_once)
    precision = {"float32": torch.float32, "float64": torch.float64}[dtype]
    with _one_thread():
        first, second = torch.as_tensor(w1), torch.as_tensor(w2)
        if reduce:
            first, second = reduce_hidden(first, second)
        w1_start, w2_start, target = (
            tensor.to(device, precision) for tensor in (first, second, torch.as_tensor(teacher))
        )
        weights = w1_start, w2_start, target

        def make_run(group: int) -> Run:
            return _group(weights, learning_rates, batch_size, sizes[group], _child(stream, group))

        tables = train_side_by_side(
            make_run,
            sizes,
            threads if device == "cpu" else 1,
            f"b = {batch_size}: groups of {sizes[0]} replicas",
            checkpoint,
            initializer=lambda: torch.set_num_threads(1),  # torch's setting belongs to the thread
        )
    block = pooled([BlockResult(**of_group) for of_group in tables], sizes)
    report_divergence(block, n_replicas, batch_size)
    return block


def _group(
    weights: Weights,
    learning_rates: Floats,
    batch_size: int,
    n_replicas: int,
    stream: np.random.SeedSequence,
) -> Run:
    w1, w2, teacher = weights
    (hidden, p), p2 = w1.shape, len(w2)
    generator = torch.Generator(w1.device).manual_seed(torch_seed(stream))
    form = preferred_form(p, hidden, p2, batch_size)
    sampler = GaussianSampler(p, batch_size, n_replicas, generator, form, w1.dtype)
    if has_kernel(w1):
        return KernelRun(weights, sampler, learning_rates, n_replicas)
    stack = TwoLayerReplicas(w1, w2, teacher, n_replicas)
    rates = learning_rates.tolist()
    return TorchRun(stack, sampler, generator, batch_size, rates, _STEPS_PER_RECORD)


class KernelRun:
    """What `pipeline_lib.training.loop.TorchRun` does, through the compiled kernel."""

    def __init__(
        self,
        weights: Weights,
        draw_batch: GaussianSampler,
        learning_rates: Floats,
        n_replicas: int,
    ) -> None:
        w1, w2, teacher = (weight.numpy() for weight in weights)
        first, second = (np.repeat(w[None], n_replicas, axis=0) for w in (w1, w2))
        self._kernel = TwoLayerKernel(first, second, teacher)
        self._draw_batch = draw_batch
        self._learning_rates = learning_rates

    def records(self, first_step: int) -> Iterator[GradientRecord]:
        """Train from ``first_step`` to the end."""
        kernel, draw_batch, all_rates = self._kernel, self._draw_batch, self._learning_rates
        p, b = draw_batch.n_features, draw_batch.batch_size
        for start in range(first_step, len(all_rates), _STEPS_PER_RECORD):
            rates = all_rates[start : start + _STEPS_PER_RECORD]
            reports = [_report(kernel.step(draw_batch(), rate), p, b) for rate in rates]
            yield gather_record(np.arange(start, start + len(rates)), reports)

    def state(self) -> dict[str, Any]:
        """Weights, as they are in use, and the generator's state."""
        generator = self._draw_batch.generator.get_state()
        return {"w1": self._kernel.w1, "w2": self._kernel.w2, "generator": generator}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self._kernel.w1[:], self._kernel.w2[:] = state["w1"], state["w2"]
        self._draw_batch.generator.set_state(state["generator"])


def _report(numbers: StepNumbers, p: int, batch_size: int) -> Report:
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
    return moments, conditional


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
