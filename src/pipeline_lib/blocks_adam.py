"""One training block in epochs with clipped gradients and AdamW: Appendix B.4 of the paper.

Mini-batches, groups of replicas and the three tables are those of `pipeline_lib.blocks_epochs`.
What is new: gradients are summarised before and after clipping, the losses of the mini-batches
themselves are averaged over each epoch, and a block can stop and go on from a checkpoint.
"""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline_lib.blocks import BlockResult, report_divergence, summarise_records
from pipeline_lib.blocks_epochs import EpochBlockResult, Examples, LearningRates, check_plan
from pipeline_lib.checkpoint import Checkpoint
from pipeline_lib.epochs import EpochSampler, Integers, LastBatch
from pipeline_lib.gradient_records import (
    all_moments,
    finite_replicas,
    from_plain,
    joined,
    to_plain,
    with_totals,
)
from pipeline_lib.logs import progress
from pipeline_lib.models.dropout_stack import SteppedStack
from pipeline_lib.models.labelled import ChosenBatch
from pipeline_lib.optim import AdamW, clip_per_tensor
from pipeline_lib.pooling import group_sizes, pooled
from pipeline_lib.statistics import STOCHASTIC, GradientRecord
from pipeline_lib.training import Moments, Report, gather_record, set_precision

CLIPPED = "clipped_gradient"
BATCHES = "train_batches"
"""The split of metrics rows that average over an epoch's mini-batches, each before its update."""

# Numbers of this many recorded steps stay on the device before it is waited for.
_STEPS_PER_RECORD = 64


@dataclass(frozen=True)
class AdamSettings:
    """`pipeline_lib.optim.AdamW`'s coefficients; ``max_norm`` is that of each clipped tensor."""

    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    max_norm: float = 1.0


def adam_block(
    make_stack: Callable[[range], SteppedStack],
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
    settings: AdamSettings,
    last_batch: LastBatch = "keep",
    group_size: int | None = None,
    device: str = "cpu",
    chunk: int = 100,
    allow_tf32: bool = False,
    per_tensor: bool = False,
    checkpoint: Checkpoint | None = None,
) -> EpochBlockResult:
    """Train ``n_replicas`` runs by AdamW in epochs and summarise the recorded steps.

    Args:
        make_stack: makes the replicas of these numbers within the block, on ``device``, all with
            the same initial weights.
        per_tensor: summarise each tensor's gradient too, not only all of them together.
        checkpoint: where to save the state and to go on from, opened and closed by the caller. A
            resumed block keeps the groups that it was started with.

    The other arguments, the tables and the errors are those of
    `pipeline_lib.blocks_epochs.epoch_block`. ``statistics`` has two quantities, the stochastic
    gradient of the mean loss and the same after clipping. ``metrics`` has, besides the evaluation
    sets, the split ``train_batches``: loss and error of the epoch's mini-batches, with dropout and
    before their updates, a mean over examples; its epoch counts from 1.

    Raises ArtifactError if the checkpoint is of another run, StoppedError after a requested stop.
    """
    if device != "cpu":
        set_precision(allow_tf32)
    state = None if checkpoint is None else checkpoint.load()
    if state is None:
        sizes = group_sizes(n_replicas, n_replicas if group_size is None else group_size)
        state = {"sizes": sizes, "finished": [], "group": None}
    sizes, finished = state["sizes"], state["finished"]
    steps = np.unique(np.asarray(list(recorded), dtype=np.int64))
    x, y = torch.as_tensor(train_x, device=device), torch.as_tensor(train_y, device=device)
    splits = {
        name: (torch.as_tensor(xs, device=device), torch.as_tensor(ys, device=device))
        for name, (xs, ys) in evaluation_sets.items()
    }

    def save_if_due(run: _Run) -> None:
        if checkpoint is not None:
            checkpoint.save_if_due(
                lambda: {"sizes": sizes, "finished": finished, "group": run.state()}
            )

    of_group = state.pop("group")
    for k in range(len(finished), len(sizes)):
        first, size = sum(sizes[:k]), sizes[k]
        sampler = EpochSampler(len(x), batch_size, size, stream, last_batch, first)
        check_plan(sampler, epochs, steps, learning_rates, evaluated_epochs, splits)
        data = _Data(x, y, splits, evaluated_epochs, chunk)
        run = _Run(make_stack(sampler.replicas), sampler, data, settings, per_tensor)
        if of_group is not None:
            run.restore(of_group)
            of_group = None
        run.train(epochs, learning_rates, steps, save_if_due)
        finished.append(run.result(epochs))
        del run  # its memory is for the next group
    results = [BlockResult(group["statistics"], group["divergence"]) for group in finished]
    block = pooled(results, sizes)
    report_divergence(block, n_replicas, batch_size)
    order = ["split", "epoch", "replica"]
    rows = pd.concat([group["metrics"] for group in finished])
    metrics = rows.sort_values(order, ignore_index=True)
    return EpochBlockResult(block.statistics, block.divergence, metrics)


@dataclass(frozen=True)
class _Data:
    """Training examples, and what is evaluated when."""

    x: Tensor
    y: Tensor
    splits: Mapping[str, tuple[Tensor, Tensor]]
    evaluated_epochs: Mapping[str, Collection[int]]
    chunk: int


class _Run:
    """One group of replicas on its way through the steps."""

    def __init__(
        self,
        stack: SteppedStack,
        sampler: EpochSampler,
        data: _Data,
        settings: AdamSettings,
        per_tensor: bool,
    ) -> None:
        self.stack = stack
        self.sampler = sampler
        self.data = data
        self.per_tensor = per_tensor
        self.max_norm = settings.max_norm
        self.adam = AdamW(stack.parameters, settings.betas, settings.eps, settings.weight_decay)
        self.step = 0
        self.records: list[GradientRecord] = []
        self.metrics: list[pd.DataFrame] = []
        # Sums of this epoch's mini-batches so far: loss times examples, and wrong labels, (2, R).
        self.sums = torch.zeros(2, len(sampler.replicas), dtype=torch.float64, device=data.x.device)
        self._steps: list[int] = []
        self._reports: list[Report] = []
        self._finite: list[Tensor] = []

    def train(
        self,
        epochs: int,
        learning_rates: LearningRates,
        recorded: Integers,
        after_step: Callable[["_Run"], None],
    ) -> None:
        """The steps that are left; ``after_step`` sees a state that can be saved."""
        rate = learning_rates if callable(learning_rates) else learning_rates.__getitem__
        is_recorded = frozenset(recorded.tolist())
        sizes = self.sampler.batch_sizes_of_epoch.tolist()
        starts = np.cumsum([0, *sizes]).tolist()
        n_steps = epochs * len(sizes)
        what = f"b = {self.sampler.batch_size}: steps of {len(self.sampler.replicas)} replicas"
        if self.step == 0:
            self._evaluate(0)
        order: Tensor | None = None
        for step in progress(range(self.step, n_steps), n_steps - self.step, what):
            epoch, place = divmod(step, len(sizes))
            if order is None or place == 0:
                order = torch.from_numpy(self.sampler.order(epoch)).to(self.data.x.device)
            chosen = order[:, starts[place] : starts[place + 1]]
            batch = ChosenBatch(self.data.x, self.data.y, chosen)
            self._update(step, batch, float(rate(step)), step in is_recorded)
            self.step = step + 1
            if place + 1 == len(sizes):
                self._average(epoch + 1)
                self._evaluate(epoch + 1)
            after_step(self)
        self._close_record()

    def result(self, epochs: int) -> dict[str, pd.DataFrame]:
        """The tables of this group, by name; replicas in ``divergence`` count from its first."""
        per_epoch = self.sampler.steps_per_epoch
        result = summarise_records(iter(self.records), len(self.sampler.replicas), per_epoch)
        lost = np.nonzero(~finite_replicas(self.stack.parameters).cpu().numpy())[0]
        late = np.setdiff1d(lost, result.divergence["replica"])
        at_end = pd.DataFrame({"replica": late, "step": np.full(len(late), epochs * per_epoch)})
        return {
            "statistics": result.statistics,
            "divergence": pd.concat([result.divergence, at_end], ignore_index=True),
            "metrics": pd.concat(self.metrics, ignore_index=True),
        }

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs; the tensors are those in use, not copies."""
        self._close_record()
        self.records = joined(self.records)
        return {
            "step": self.step,
            "parameters": self.stack.parameters,
            "adam": self.adam.state(),
            "records": [to_plain(record) for record in self.records],
            "metrics": self.metrics,
            "sums": self.sums,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.step = state["step"]
        parameters = state["parameters"]
        for name, parameter in self.stack.parameters.items():
            parameter.copy_(parameters.pop(name))
        self.adam.restore(state["adam"])
        self.records = [from_plain(record) for record in state["records"]]
        self.metrics = state["metrics"]
        self.sums.copy_(state["sums"])

    def _update(self, step: int, batch: ChosenBatch, rate: float, is_recorded: bool) -> None:
        gradients, loss, wrong = self.stack.gradients_at(step, batch)
        self.sums += torch.stack([loss * batch.size, wrong])
        moments: Moments = {}
        if is_recorded:
            moments |= all_moments(STOCHASTIC, gradients, self.per_tensor)
        clip_per_tensor(gradients, self.max_norm)
        if is_recorded:
            moments |= all_moments(CLIPPED, gradients, self.per_tensor)
            self._steps.append(step)
            self._reports.append((moments, {}))
            self._finite.append(finite_replicas(self.stack.parameters))
        self.adam.step(gradients, rate)
        if len(self._steps) == _STEPS_PER_RECORD:
            self._close_record()

    def _close_record(self) -> None:
        """Fetch the numbers of the last recorded steps from the device."""
        if not self._steps:
            return
        record = with_totals(gather_record(np.array(self._steps), self._reports))
        weights = torch.stack(self._finite).cpu().numpy()
        self.records.append(dataclasses.replace(record, finite=record.finite & weights))
        self._steps, self._reports, self._finite = [], [], []

    def _average(self, epoch: int) -> None:
        loss, error = (self.sums / self.sampler.batch_sizes_of_epoch.sum()).cpu().numpy()
        self._add_metrics(BATCHES, epoch, loss, error)
        self.sums.zero_()

    def _evaluate(self, epoch: int) -> None:
        for split, (x, y) in self.data.splits.items():
            if epoch in self.data.evaluated_epochs.get(split, ()):
                result = self.stack.evaluate(x, y, self.data.chunk)
                loss, error = result.loss.cpu().numpy(), result.error.cpu().numpy()
                self._add_metrics(split, epoch, loss, error)

    def _add_metrics(
        self, split: str, epoch: int, loss: NDArray[np.float64], error: NDArray[np.float64]
    ) -> None:
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
