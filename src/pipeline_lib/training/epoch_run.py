"""One group of replicas on its way through the epochs, whatever makes its steps.

Between any two steps, and within an evaluation, a run can be saved, to go on bit for bit.
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline_lib.artifacts.schemas import SCHEMAS
from pipeline_lib.estimation.statistics import Summary, Tables
from pipeline_lib.logs import progress
from pipeline_lib.sampling.epochs import EpochSampler
from pipeline_lib.training.epoch_plan import EpochData, EpochPlan
from pipeline_lib.training.gradient_records import finite_replicas
from pipeline_lib.training.labelled import ChosenBatch, EvaluatedStack, OwnState
from pipeline_lib.training.loop import Moments, Report, gather_record

# Numbers of this many recorded steps stay on the device before it is waited for.
_STEPS_PER_RECORD = 64


class EpochRun(ABC):
    """R replicas, their summary so far and the step they are at. Subclasses make the steps.

    Args:
        stack: the replicas, on the device of ``data``, with their initial weights.
        sampler: their mini-batches.
    """

    def __init__(
        self, stack: EvaluatedStack, sampler: EpochSampler, data: EpochData, plan: EpochPlan
    ) -> None:
        self.stack = stack
        self.sampler = sampler
        self.data = data
        self.plan = plan
        self._recorded = frozenset(int(step) for step in plan.recorded)
        self._next_step = 0
        # After how many epochs the evaluation is still to be made or finished; its results are
        # kept when it is complete.
        self._to_evaluate: int | None = 0
        self._stack_before: dict[str, Any] | None = None  # the stack's state as it began
        self._summary = Summary(len(sampler.replicas), sampler.steps_per_epoch)
        self._metrics: list[pd.DataFrame] = []
        self._order: tuple[int, Tensor] | None = None  # an epoch, and its (R, n)
        # Of recorded steps that are not in the summary yet.
        self._steps: list[int] = []
        self._reports: list[Report] = []
        self._finite: list[Tensor] = []

    @abstractmethod
    def make_step(
        self, step: int, batch: ChosenBatch, learning_rate: float, is_recorded: bool
    ) -> None:
        """Update the weights, or put the update off until `finish_steps`.

        Where ``is_recorded``, `record` is to be called with the moments of the gradients.
        """

    def finish_steps(self) -> None:  # noqa: B027
        """Make the updates that were put off."""

    def end_epoch(self, epoch: int) -> None:  # noqa: B027
        """What follows an epoch's last step, before the evaluation; ``epoch`` counts from 1."""

    def train(self, meanwhile: Callable[[Self], None]) -> None:
        """Make the steps that are left; ``meanwhile`` may take a `state` or raise to leave.

        It is called after each step and, in an evaluation, as often as the stack lets it.
        """
        per_epoch = self.sampler.steps_per_epoch
        n_steps = self.plan.epochs * per_epoch
        self._evaluate(meanwhile)
        steps = range(self._next_step, n_steps)
        what = f"b = {self.sampler.batch_size}: steps of {len(self.sampler.replicas)} replicas"
        for step in progress(steps, len(steps), what):
            self.make_step(step, self._batch(step), self.plan.rate(step), step in self._recorded)
            self._next_step = step + 1
            if self._next_step % per_epoch == 0:
                self.finish_steps()
                self._to_evaluate = self._next_step // per_epoch
                self.end_epoch(self._to_evaluate)
                self._evaluate(meanwhile)
            meanwhile(self)

    def tables(self) -> Tables:
        """``statistics``, ``divergence`` and ``metrics``; replicas of ``divergence`` count from 0.

        A replica lost after the last recorded step is so at the step after training.
        """
        self._close_record()
        tables = self._summary.tables()
        lost = np.nonzero(~finite_replicas(self.stack.parameters).cpu().numpy())[0]
        late = np.setdiff1d(lost, tables["divergence"]["replica"])
        at_end = pd.DataFrame({"replica": late, "step": np.full(len(late), self._next_step)})
        divergence = pd.concat([tables["divergence"], at_end], ignore_index=True)
        return tables | {"divergence": divergence, "metrics": self._all_metrics()}

    def state(self) -> dict[str, Any]:
        """What `restore` takes; the tensors are those in use, not copies."""
        self.finish_steps()
        self._close_record()
        return {
            "step": self._next_step,
            "to_evaluate": self._to_evaluate,
            "parameters": self.stack.parameters,
            "stack": self._stack_before or self._state_of_stack(),
            "summary": self._summary.state() if self._has_recorded() else None,
            "metrics": self._all_metrics(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave; its parameters are used up, so as to free their memory."""
        self._next_step, self._to_evaluate = state["step"], state["to_evaluate"]
        parameters = state["parameters"]
        for name, parameter in self.stack.parameters.items():
            parameter.copy_(parameters.pop(name))
        if isinstance(self.stack, OwnState):
            self.stack.restore(state["stack"])
        if self._has_recorded():
            self._summary.restore(state["summary"])
        self._metrics = [state["metrics"]] if len(state["metrics"]) else []

    def record(self, step: int, moments: Moments) -> None:
        """Note the moments of the gradients at ``step``; to be called before its update.

        A gradient can be finite though a weight is not, behind units that are switched off: both
        count.
        """
        self._steps.append(step)
        self._reports.append((moments, {}))
        self._finite.append(finite_replicas(self.stack.parameters))
        if len(self._steps) == _STEPS_PER_RECORD:
            self._close_record()

    def add_metrics(
        self, split: str, epoch: int, loss: NDArray[np.float64], error: NDArray[np.float64]
    ) -> None:
        """Add rows of ``metrics`` from loss and share of wrong labels by replica, (R,).

        Both are missing where the loss is not finite.
        """
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
        self._metrics.append(frame)

    def _evaluate(self, meanwhile: Callable[[Self], None]) -> None:
        """Make the evaluation that is still to be made, if there is one, from its beginning."""
        epoch = self._to_evaluate
        if epoch is None:
            return
        self._stack_before = self._state_of_stack()
        results = {}
        for split, (x, y) in self.data.splits.items():
            if epoch in self.plan.evaluated_epochs.get(split, ()):
                result = self.stack.evaluate(x, y, self.plan.chunk, lambda: meanwhile(self))
                results[split] = result.loss.cpu().numpy(), result.error.cpu().numpy()
        for split, (loss, error) in results.items():
            self.add_metrics(split, epoch, loss, error)
        self._to_evaluate = self._stack_before = None

    def _state_of_stack(self) -> dict[str, Any] | None:
        return self.stack.state() if isinstance(self.stack, OwnState) else None

    def _batch(self, step: int) -> ChosenBatch:
        """The mini-batches of ``step``, gathered where the examples are."""
        epoch, place = divmod(step, self.sampler.steps_per_epoch)
        if self._order is None or self._order[0] != epoch:
            self._order = None  # its memory is for the next
            order = torch.from_numpy(self.sampler.order(epoch))
            if self.data.device.type == "cuda":
                order = order.pin_memory().to(self.data.device, non_blocking=True)
            self._order = epoch, order
        start = place * self.sampler.batch_size
        chosen = self._order[1][:, start : start + self.sampler.batch_size]
        return ChosenBatch(self.data.x, self.data.y, chosen)

    def _close_record(self) -> None:
        """Fetch the numbers of the last recorded steps from the device and summarise them."""
        if not self._steps:
            return
        record = gather_record(np.array(self._steps), self._reports)
        weights = torch.stack(self._finite).cpu().numpy()
        # Overflow is a finding here, recorded as divergence, not an accident.
        with np.errstate(over="ignore", invalid="ignore"):
            self._summary.add(dataclasses.replace(record, finite=record.finite & weights))
        self._steps, self._reports, self._finite = [], [], []

    def _has_recorded(self) -> bool:
        return self._next_step > min(self._recorded)

    def _all_metrics(self) -> pd.DataFrame:
        """The rows so far, one table from here on."""
        if not self._metrics:
            empty: pd.DataFrame = SCHEMAS["metrics"].empty_table().to_pandas()
            return empty
        self._metrics = [pd.concat(self._metrics, ignore_index=True)]
        return self._metrics[0]
