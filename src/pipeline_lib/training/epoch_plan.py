"""What a block in epochs trains on, for how long, and what of it is recorded and evaluated."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline_lib.sampling.epochs import EpochSampler, Integers, LastBatch
from pipeline_lib.training.labelled import Examples
from pipeline_lib.training.loop import set_precision

LearningRates = Sequence[float] | NDArray[np.float64] | Callable[[int], float]


@dataclass(frozen=True)
class EpochData:
    """Training examples x (n, ...) and targets y (n, ...), and those that are evaluated, by split.

    All on one device.
    """

    x: Tensor
    y: Tensor
    splits: Mapping[str, tuple[Tensor, Tensor]]

    @classmethod
    def on(
        cls,
        device: str,
        x: NDArray[np.generic],
        y: NDArray[np.generic],
        evaluation_sets: Mapping[str, Examples],
    ) -> Self:
        """The same arrays on ``device``; on CPU their memory is shared."""
        splits = {
            name: (torch.as_tensor(xs, device=device), torch.as_tensor(ys, device=device))
            for name, (xs, ys) in evaluation_sets.items()
        }
        return cls(torch.as_tensor(x, device=device), torch.as_tensor(y, device=device), splits)


@dataclass(frozen=True)
class EpochPlan:
    """How a block is trained; see `pipeline_lib.training.sgd_epochs.epoch_block` for each value."""

    learning_rates: LearningRates
    batch_size: int
    epochs: int
    n_replicas: int
    stream: np.random.SeedSequence
    recorded: Collection[int] | Integers
    evaluated_epochs: Mapping[str, Collection[int]]
    last_batch: LastBatch
    chunk: int

    def rate(self, step: int) -> float:
        """The learning rate of ``step``."""
        rates = self.learning_rates
        return float(rates(step) if callable(rates) else rates[step])

    def sampler(self, n: int, replicas: range) -> EpochSampler:
        """The mini-batches of ``replicas``, by number within the block, from n examples."""
        return EpochSampler(
            n, self.batch_size, len(replicas), self.stream, self.last_batch, replicas.start
        )

    def check(self, data: EpochData) -> None:
        """Raise ValueError if what to record, to evaluate or to use as a rate does not exist."""
        sampler = self.sampler(len(data.x), range(self.n_replicas))
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


def prepared(
    train_x: NDArray[np.generic],
    train_y: NDArray[np.generic],
    evaluation_sets: Mapping[str, Examples],
    learning_rates: LearningRates,
    batch_size: int,
    epochs: int,
    n_replicas: int,
    stream: np.random.SeedSequence,
    recorded: Collection[int] | Integers,
    evaluated_epochs: Mapping[str, Collection[int]],
    last_batch: LastBatch,
    chunk: int,
    device: str,
    allow_tf32: bool,
) -> tuple[EpochData, EpochPlan]:
    """The arguments of `training.sgd_epochs.epoch_block` as two; data are on ``device``.

    Sets the precision of products on a CUDA device.
    """
    if device != "cpu":
        set_precision(allow_tf32)
    plan = EpochPlan(
        learning_rates,
        batch_size,
        epochs,
        n_replicas,
        stream,
        recorded,
        evaluated_epochs,
        last_batch,
        chunk,
    )
    return EpochData.on(device, train_x, train_y, evaluation_sets), plan
