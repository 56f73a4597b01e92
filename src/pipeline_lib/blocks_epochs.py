"""One training block in epochs: R replicas that shuffle the same labelled examples.

A block that does not fit the device is trained group after group and pooled. Orders belong to
replicas (`pipeline_lib.epochs`), so a replica's path does not depend on its group.
"""

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline_lib.blocks import BlockResult, report_divergence, summarise_records
from pipeline_lib.epochs import EpochSampler, Integers, LastBatch
from pipeline_lib.logs import progress
from pipeline_lib.models.labelled import ChosenBatch, LabelledBatch, LabelledStack, OwnUpdate
from pipeline_lib.pooling import group_sizes, pooled
from pipeline_lib.replica_moments import sq_norms
from pipeline_lib.schemas import SCHEMAS
from pipeline_lib.statistics import STOCHASTIC, GradientRecord
from pipeline_lib.training import Report, gather_record, set_precision, step_moments

Examples = tuple[NDArray[np.generic], NDArray[np.generic]]
LearningRates = Sequence[float] | NDArray[np.float64] | Callable[[int], float]

# Numbers of this many recorded steps stay on the device before it is waited for.
_STEPS_PER_RECORD = 64
# So many steps between recorded ones are handed to the stack at once.
_STEPS_AT_ONCE = 64


@dataclass(frozen=True)
class EpochBlockResult:
    """The three tables that a block trained in epochs leaves behind."""

    statistics: pd.DataFrame
    divergence: pd.DataFrame
    metrics: pd.DataFrame


def epoch_block(
    make_stack: Callable[[int], LabelledStack],
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
    last_batch: LastBatch = "keep",
    group_size: int | None = None,
    device: str = "cpu",
    chunk: int = 1000,
    allow_tf32: bool = False,
) -> EpochBlockResult:
    """Train ``n_replicas`` runs by SGD in epochs and summarise the recorded steps.

    Args:
        make_stack: makes that many replicas, on ``device``, all with the same initial weights.
        train_x, train_y: examples (n, ...) and targets (n, ...), in the precision to train in.
        evaluation_sets: examples x and y by the name of their split.
        learning_rates: by step, or a function of the step.
        stream: seeds the orders of the examples.
        recorded: steps whose gradients are summarised, full mini-batches only
            (`pipeline_lib.epochs.recorded_steps`).
        evaluated_epochs: by split, after how many epochs it is evaluated; 0 is before training.
        group_size: replicas trained at once, all of them if None. Apart from rounding, only the
            degrees of freedom depend on it: each group costs one.
        chunk: examples evaluated at once.
        allow_tf32: on a CUDA device (`pipeline_lib.training.set_precision`).

    Returns:
        Rows of ``statistics``, ``divergence`` and ``metrics``. A replica has diverged at the first
        recorded step at which its gradient or a weight is not finite, or, after the last of them,
        at the step after training. Its metrics are missing once its loss is not finite.

    Raises ValueError if a recorded step, an evaluated epoch or a learning rate does not exist, or
    if a recorded step has a short mini-batch.
    """
    sizes = group_sizes(n_replicas, n_replicas if group_size is None else group_size)
    if device != "cpu":
        set_precision(allow_tf32)
    steps = np.unique(np.asarray(list(recorded), dtype=np.int64))
    x, y = torch.as_tensor(train_x, device=device), torch.as_tensor(train_y, device=device)
    splits = {
        name: (torch.as_tensor(xs, device=device), torch.as_tensor(ys, device=device))
        for name, (xs, ys) in evaluation_sets.items()
    }
    results: list[BlockResult] = []
    metrics: list[pd.DataFrame] = []
    for first, size in zip(np.cumsum([0, *sizes[:-1]]).tolist(), sizes, strict=True):
        sampler = EpochSampler(len(x), batch_size, size, stream, last_batch, first)
        check_plan(sampler, epochs, steps, learning_rates, evaluated_epochs, splits)
        run = _Run(make_stack(size), sampler, x, y, splits, evaluated_epochs, chunk)
        records = run.train(epochs, learning_rates, steps)
        result = summarise_records(records, size, sampler.steps_per_epoch)
        lost_at_end = run.lost_at_end(result.divergence, epochs * sampler.steps_per_epoch)
        divergence = pd.concat([result.divergence, lost_at_end], ignore_index=True)
        results.append(BlockResult(result.statistics, divergence))
        metrics += run.metrics
    block = pooled(results, sizes)
    report_divergence(block, n_replicas, batch_size)
    return EpochBlockResult(block.statistics, block.divergence, _sorted(metrics))


def _sorted(metrics: Sequence[pd.DataFrame]) -> pd.DataFrame:
    if not metrics:
        empty: pd.DataFrame = SCHEMAS["metrics"].empty_table().to_pandas()
        return empty
    return pd.concat(metrics).sort_values(["split", "epoch", "replica"], ignore_index=True)


class _Run:
    """One group of replicas on its way through the epochs."""

    def __init__(
        self,
        stack: LabelledStack,
        sampler: EpochSampler,
        x: Tensor,
        y: Tensor,
        splits: Mapping[str, tuple[Tensor, Tensor]],
        evaluated_epochs: Mapping[str, Collection[int]],
        chunk: int,
    ) -> None:
        self.stack = stack
        self.sampler = sampler
        self.x, self.y = x, y
        self.splits = splits
        self.evaluated_epochs = evaluated_epochs
        self.chunk = chunk
        self.metrics: list[pd.DataFrame] = []
        self._batches_ahead: list[LabelledBatch] = []
        self._rates_ahead: list[float] = []

    def train(
        self, epochs: int, learning_rates: LearningRates, recorded: Integers
    ) -> Iterator[GradientRecord]:
        """All epochs; records end with an epoch or after 64 recorded steps, evaluations between."""
        rate = learning_rates if callable(learning_rates) else learning_rates.__getitem__
        is_recorded = frozenset(recorded.tolist())
        what = f"b = {self.sampler.batch_size}: epochs of {len(self.sampler.replicas)} replicas"
        self._evaluate(0)
        for epoch in progress(range(epochs), epochs, what):
            steps: list[int] = []
            reports: list[Report] = []
            finite: list[Tensor] = []
            for step, batch in self._batches(epoch):
                if step not in is_recorded:
                    self._descend_later(batch, float(rate(step)))
                    continue
                self._descend_now()
                gradients = self.stack.gradients(batch)
                steps.append(step)
                reports.append((step_moments(STOCHASTIC, gradients), {}))
                finite.append(self._finite())
                self._update(gradients, float(rate(step)))
                if len(steps) == _STEPS_PER_RECORD:
                    yield _record(steps, reports, finite)
                    steps, reports, finite = [], [], []
            self._descend_now()
            if steps:
                yield _record(steps, reports, finite)
            self._evaluate(epoch + 1)

    def lost_at_end(self, divergence: pd.DataFrame, n_steps: int) -> pd.DataFrame:
        """Rows of ``divergence`` for replicas lost after the last recorded step."""
        lost = np.nonzero(~self._finite().cpu().numpy())[0]
        late = np.setdiff1d(lost, divergence["replica"])
        return pd.DataFrame({"replica": late, "step": np.full(len(late), n_steps)})

    def _update(self, gradients: Mapping[str, Tensor], learning_rate: float) -> None:
        if isinstance(self.stack, OwnUpdate):
            self.stack.update(gradients, learning_rate)
            return
        for name, gradient in gradients.items():
            self.stack.parameters[name].sub_(gradient, alpha=learning_rate)

    def _descend_later(self, batch: LabelledBatch, learning_rate: float) -> None:
        self._batches_ahead.append(batch)
        self._rates_ahead.append(learning_rate)
        if len(self._batches_ahead) == _STEPS_AT_ONCE:
            self._descend_now()

    def _descend_now(self) -> None:
        self.stack.descend_through(self._batches_ahead, self._rates_ahead)
        self._batches_ahead, self._rates_ahead = [], []

    def _batches(self, epoch: int) -> Iterator[tuple[int, ChosenBatch]]:
        """The steps of ``epoch`` and their mini-batches, gathered where the examples are."""
        order = torch.from_numpy(self.sampler.order(epoch))
        if self.x.device.type == "cuda":
            order = order.pin_memory().to(self.x.device, non_blocking=True)
        first = epoch * self.sampler.steps_per_epoch
        start = 0
        for step, size in enumerate(self.sampler.batch_sizes_of_epoch.tolist(), start=first):
            yield step, ChosenBatch(self.x, self.y, order[:, start : start + size])
            start += size

    def _finite(self) -> Tensor:
        """Which replicas have finite weights, (R,), on the device.

        A gradient can be finite though a weight is not, behind units that are switched off.
        """
        return torch.stack(
            [sq_norms(parameter).isfinite() for parameter in self.stack.parameters.values()]
        ).all(dim=0)

    def _evaluate(self, epoch: int) -> None:
        for split, (x, y) in self.splits.items():
            if epoch not in self.evaluated_epochs.get(split, ()):
                continue
            result = self.stack.evaluate(x, y, self.chunk)
            loss, error = result.loss.cpu().numpy(), result.error.cpu().numpy()
            lost = ~np.isfinite(loss)
            frame = pd.DataFrame(
                {
                    "replica": np.asarray(self.sampler.replicas, dtype=np.int32),
                    "epoch": np.int32(epoch),
                    "split": split,
                    "loss": np.where(lost, np.nan, loss),
                    "error": np.where(lost, np.nan, error),
                }
            )
            self.metrics.append(frame)


def _record(
    steps: Sequence[int], reports: Sequence[Report], finite: Sequence[Tensor]
) -> GradientRecord:
    record = gather_record(np.array(steps), reports)
    weights = torch.stack(list(finite)).cpu().numpy()
    return dataclasses.replace(record, finite=record.finite & weights)


def check_plan(
    sampler: EpochSampler,
    epochs: int,
    recorded: Integers,
    learning_rates: LearningRates,
    evaluated_epochs: Mapping[str, Collection[int]],
    splits: Mapping[str, tuple[Tensor, Tensor]],
) -> None:
    """Raise ValueError if what is to be recorded, evaluated or used as a rate does not exist."""
    n_steps = epochs * sampler.steps_per_epoch
    if len(recorded) == 0 or recorded[0] < 0 or recorded[-1] >= n_steps:
        raise ValueError(f"recorded steps must be some of 0 to {n_steps - 1}, got {recorded}")
    place = recorded % sampler.steps_per_epoch
    if sampler.short_last and (place == sampler.steps_per_epoch - 1).any():
        raise ValueError("a recorded step has a short mini-batch, whose variance is of another b")
    if not callable(learning_rates) and len(learning_rates) < n_steps:
        raise ValueError(f"{n_steps} steps need as many learning rates, got {len(learning_rates)}")
    unknown = set(evaluated_epochs) - set(splits)
    late = {e for chosen in evaluated_epochs.values() for e in chosen if not 0 <= e <= epochs}
    if unknown or late:
        raise ValueError(f"nothing to evaluate: splits {sorted(unknown)}, epochs {sorted(late)}")
