"""What a block in epochs trains on, for how long, and what of it is recorded and evaluated."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline_lib.sampling.epochs import EpochSampler, Integers, LastBatch
from pipeline_lib.sampling.names import Sampling
from pipeline_lib.study.block import Block
from pipeline_lib.study.experiment import EpochExperiment
from pipeline_lib.study.optimizers import PLAIN_SGD, Optimizer
from pipeline_lib.study.settings import Clipping
from pipeline_lib.training.labelled import Examples
from pipeline_lib.training.trees import Tree, device_of, n_rows, on_device

LearningRates = Sequence[float] | NDArray[np.float64] | Callable[[int], float]


@dataclass(frozen=True)
class EpochData:
    """Training examples x (n, ...) and targets y (n, ...), and those that are evaluated, by split.

    All on one device.
    """

    x: Tree
    y: Tree
    splits: Mapping[str, tuple[Tree, Tree]]

    @property
    def n(self) -> int:
        """Training examples."""
        return n_rows(self.x)

    @property
    def device(self) -> torch.device:
        return device_of(self.x)

    @classmethod
    def on(
        cls,
        device: str,
        x: Tree,
        y: Tree,
        evaluation_sets: Mapping[str, Examples],
    ) -> Self:
        """The same arrays on ``device``; on CPU their memory is shared."""
        splits = {
            name: (on_device(xs, device), on_device(ys, device))
            for name, (xs, ys) in evaluation_sets.items()
        }
        return cls(on_device(x, device), on_device(y, device), splits)


@dataclass(frozen=True)
class EpochPlan:
    """How the runs of a block are trained in epochs.

    Args:
        learning_rates: by step, or a function of the step.
        stream: seeds the orders of the examples.
        recorded: steps whose gradients are summarised, full mini-batches only
            (`pipeline_lib.sampling.epochs.recorded_steps`).
        evaluated_epochs: by split, after how many epochs it is evaluated; 0 is before training.
        last_batch: whether the short mini-batch at the end of an epoch is kept.
        chunk: examples evaluated at once.
        sampling: how mini-batches are drawn, one of `pipeline_lib.sampling.names.FINITE`.
        optimizer, clipping: what becomes of a gradient; plain SGD if nothing is said.
        per_tensor: whether the gradient of each tensor is summarised, or of all together only.
        averaged: how many of the examples that a recorded mini-batch is drawn from tell its
            variance, at most; none if 0. The replicas are an `ExampleStack` then.
    """

    learning_rates: LearningRates
    batch_size: int
    epochs: int
    n_replicas: int
    stream: np.random.SeedSequence
    recorded: Collection[int] | Integers
    evaluated_epochs: Mapping[str, Collection[int]]
    last_batch: LastBatch = "keep"
    chunk: int = 1000
    sampling: Sampling = "epochs"
    optimizer: Optimizer = PLAIN_SGD
    clipping: Clipping | None = None
    per_tensor: bool = True
    averaged: int = 0

    @classmethod
    def of(cls, block: Block, n: int, chunk: int) -> Self:
        """The plan of a configured block that is trained on ``n`` examples.

        Raises ConfigError if the batch size is above them.
        """
        experiment, b = block.experiment, block.batch_size
        assert isinstance(experiment, EpochExperiment)
        stream, last_batch, sampling = block.stream(), experiment.last_batch, experiment.sampled
        sampler = EpochSampler(n, b, block.n_replicas, stream, last_batch, sampling=sampling)
        averaged = experiment.averaged_examples(b, n)
        recorded = sampler.recorded_steps(
            experiment.epochs, experiment.recorded_steps, averaged > 0
        )
        return cls(
            experiment.learning_rate.values(experiment.epochs * sampler.steps_per_epoch),
            b,
            experiment.epochs,
            block.n_replicas,
            stream,
            recorded,
            experiment.evaluated_epochs(),
            last_batch,
            chunk,
            sampling,
            experiment.optimizer,
            experiment.clipping,
            averaged=averaged,
        )

    def rate(self, step: int) -> float:
        """The learning rate of ``step``."""
        rates = self.learning_rates
        return float(rates(step) if callable(rates) else rates[step])

    def sampler(self, n: int, replicas: range) -> EpochSampler:
        """The mini-batches of ``replicas``, by number within the block, from n examples."""
        return EpochSampler(
            n,
            self.batch_size,
            len(replicas),
            self.stream,
            self.last_batch,
            replicas.start,
            self.sampling,
        )

    def check(self, data: EpochData) -> None:
        """Raise ValueError if what to record, to evaluate or to use as a rate does not exist."""
        sampler = self.sampler(data.n, range(self.n_replicas))
        recorded = np.unique(np.asarray(list(self.recorded), dtype=np.int64))
        n_steps = self.epochs * sampler.steps_per_epoch
        if len(recorded) == 0 or recorded[0] < 0 or recorded[-1] >= n_steps:
            raise ValueError(f"recorded steps must be some of 0 to {n_steps - 1}, got {recorded}")
        place = recorded % sampler.steps_per_epoch
        if sampler.short_last and (place == sampler.steps_per_epoch - 1).any():
            raise ValueError(
                "a recorded step has a short mini-batch, whose variance is of another b"
            )
        rates = self.learning_rates
        if not callable(rates) and len(rates) < n_steps:
            raise ValueError(f"{n_steps} steps need as many learning rates, got {len(rates)}")
        unknown = set(self.evaluated_epochs) - set(data.splits)
        chosen = {epoch for epochs in self.evaluated_epochs.values() for epoch in epochs}
        late = {epoch for epoch in chosen if not 0 <= epoch <= self.epochs}
        if unknown or late:
            raise ValueError(
                f"nothing to evaluate: splits {sorted(unknown)}, epochs {sorted(late)}"
            )
