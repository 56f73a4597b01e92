"""One group of replicas on its way through the epochs.

Between any two steps, and within an evaluation, a run can be saved, to go on bit for bit.
"""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pipeline_lib.estimation.statistics import CLIPPED, STOCHASTIC, Tables
from pipeline_lib.logs import progress
from pipeline_lib.sampling.epochs import EpochSampler
from pipeline_lib.training.averaged import Draw, averaged_report
from pipeline_lib.training.epoch_plan import EpochData, EpochPlan
from pipeline_lib.training.epoch_record import EpochRecord
from pipeline_lib.training.gradient_records import all_moments, finite_replicas
from pipeline_lib.training.labelled import (
    ChosenBatch,
    ExampleStack,
    FusedStack,
    LabelledBatch,
    LabelledStack,
    OwnState,
    SteppedStack,
)
from pipeline_lib.training.orders import Orders
from pipeline_lib.training.precision import tf32_if
from pipeline_lib.training.replica_moments import Moments
from pipeline_lib.training.report import Report
from pipeline_lib.training.trees import from_host
from pipeline_lib.training.update import Update

BATCHES = "train_batches"
"""The split of metrics rows that average over an epoch's mini-batches, each before its update."""

# So many steps of plain SGD are handed to a stack that fuses them at once, but no more than the
# last of them say can be made in so many seconds: a stop waits for them, and Slurm kills after 30.
_STEPS_AT_ONCE = 64
_SECONDS_AT_ONCE = 5.0
# Examples whose random layers draw twice. What they tell counts by one over the examples left.
_DRAWN_TWICE = 8


class EpochRun:
    """R replicas, their summary so far and the step they are at.

    Args:
        stack: the replicas, on the device of ``data``, with their initial weights.
        sampler: their mini-batches.
    """

    def __init__(
        self,
        stack: LabelledStack | SteppedStack,
        sampler: EpochSampler,
        data: EpochData,
        plan: EpochPlan,
    ) -> None:
        self._stack = stack
        self._sampler = sampler
        self._data = data
        self._plan = plan
        self._update = Update(stack.parameters, plan.optimizer, plan.clipping)
        self._record = EpochRecord(sampler.replicas, sampler.steps_per_epoch)
        self._recorded = frozenset(int(step) for step in plan.recorded)
        self._next_step = 0
        # After how many epochs the evaluation is still to be made or finished; its results are
        # kept when it is complete.
        self._to_evaluate: int | None = 0
        self._stack_before: dict[str, Any] | None = None  # the stack's state as it began
        self._orders = Orders(sampler, plan.epochs, data.device)
        # Of this epoch's mini-batches so far: loss times examples, and wrong labels, (2, R).
        self._sums = torch.zeros(2, len(sampler.replicas), dtype=torch.float64, device=data.device)
        # Steps of plain SGD that are put off, and how many are handed over at once.
        self._batches_ahead: list[LabelledBatch] = []
        self._rates_ahead: list[float] = []
        self._at_once = 1  # until it is known how long a step takes

    def train(self, meanwhile: Callable[[Self], None]) -> None:
        """Make the steps that are left; ``meanwhile`` may take a `state` or raise to leave.

        It is called after each step and, in an evaluation, as often as the stack lets it.
        """
        per_epoch = self._sampler.steps_per_epoch
        n_steps = self._plan.epochs * per_epoch
        self._evaluate(meanwhile)
        steps = range(self._next_step, n_steps)
        what = f"b = {self._sampler.batch_size}: steps of {len(self._sampler.replicas)} replicas"
        for step in progress(steps, len(steps), what):
            self._make_step(step)
            self._next_step = step + 1
            if self._next_step % per_epoch == 0:
                self._finish_steps()
                self._to_evaluate = self._next_step // per_epoch
                self._add_batches(self._to_evaluate)
                self._evaluate(meanwhile)
            meanwhile(self)

    def tables(self) -> Tables:
        """Those of `EpochRecord`: replicas of ``divergence`` count from 0.

        A replica lost after the last recorded step is so at the step after training.
        """
        tables = self._record.tables()
        lost = np.nonzero(~finite_replicas(self._stack.parameters).cpu().numpy())[0]
        late = np.setdiff1d(lost, tables["divergence"]["replica"])
        at_end = pd.DataFrame({"replica": late, "step": np.full(len(late), self._next_step)})
        divergence = pd.concat([tables["divergence"], at_end], ignore_index=True)
        return tables | {"divergence": divergence}

    def state(self) -> dict[str, Any]:
        """What `restore` takes; the tensors are those in use, not copies."""
        self._finish_steps()
        return {
            "step": self._next_step,
            "to_evaluate": self._to_evaluate,
            "parameters": self._stack.parameters,
            "stack": self._stack_before or self._state_of_stack(),
            "update": self._update.state(),
            "sums": self._sums,
            **self._record.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave; its parameters are used up, so as to free their memory."""
        self._next_step, self._to_evaluate = state["step"], state["to_evaluate"]
        parameters = state["parameters"]
        for name, parameter in self._stack.parameters.items():
            parameter.copy_(parameters.pop(name))
        if isinstance(self._stack, OwnState):
            self._stack.restore(state["stack"])
        self._update.restore(state["update"])
        self._sums.copy_(state["sums"])
        self._record.restore(state)

    def _make_step(self, step: int) -> None:
        """Record the gradients, if they are to be, and update the weights or put that off."""
        batch, rate, stack = self._batch(step), self._plan.rate(step), self._stack
        is_recorded = step in self._recorded
        if self._update.is_plain and not is_recorded and isinstance(stack, FusedStack):
            self._batches_ahead.append(batch)
            self._rates_ahead.append(rate)
            if len(self._batches_ahead) >= self._at_once:
                self._finish_steps()
            return
        self._finish_steps()
        # Before the mini-batch's own gradients, which would be overwritten.
        averaged = self._averaged(step) if is_recorded and self._plan.averaged else None
        gradients = self._gradients(step, batch)
        moments: Moments = {}
        if is_recorded:
            moments |= all_moments(STOCHASTIC, gradients, self._plan.per_tensor)
        self._update.clip(gradients)
        if is_recorded and self._update.clipping is not None:
            moments |= all_moments(CLIPPED, gradients, self._plan.per_tensor)
        if is_recorded:
            report = Report(moments) if averaged is None else averaged.with_moments(moments)
            self._record.add(step, report, stack.parameters)
        self._update.step(gradients, rate)

    def _averaged(self, step: int) -> Report:
        """What the examples that the mini-batch of ``step`` is drawn from tell of its variance."""
        assert isinstance(self._stack, ExampleStack)
        sampler, data = self._sampler, self._data
        epoch, place = divmod(step, sampler.steps_per_epoch)
        order = self._orders.on_host(epoch)
        chosen = sampler.drawn_from(epoch, place, order, self._plan.averaged)
        some = sampler.some_of(chosen, epoch, place, _DRAWN_TWICE)
        examples, twice = (
            ChosenBatch(data.x, data.y, from_host(np.ascontiguousarray(indices), data.device))
            for indices in (chosen, some)
        )
        return averaged_report(
            self._stack.example_moments(step, examples, twice),
            Draw(
                sampler.batch_size,
                chosen.shape[1],
                sampler.examples_left(place),
                sampler.sampling == "with_replacement",
            ),
            self._plan.per_tensor,
        )

    def _gradients(self, step: int, batch: ChosenBatch) -> Mapping[str, Tensor]:
        if not isinstance(self._stack, SteppedStack):
            return self._stack.gradients(batch)
        gradients, loss, wrong = self._stack.gradients_at(step, batch)
        self._sums += torch.stack([loss * batch.size, wrong])
        return gradients

    def _finish_steps(self) -> None:
        """Make the steps that were put off."""
        if not self._batches_ahead:
            return
        assert isinstance(self._stack, FusedStack)
        start = time.monotonic()
        self._stack.descend_through(self._batches_ahead, self._rates_ahead)
        spent = max(time.monotonic() - start, 1e-9)
        in_time = math.ceil(len(self._batches_ahead) * _SECONDS_AT_ONCE / spent)
        self._at_once = min(_STEPS_AT_ONCE, in_time)
        self._batches_ahead, self._rates_ahead = [], []

    def _add_batches(self, epoch: int) -> None:
        """Losses of the mini-batches themselves, where they are known; ``epoch`` counts from 1."""
        if isinstance(self._stack, SteppedStack):
            examples = self._sampler.batch_sizes_of_epoch.sum()
            loss, error = (self._sums / examples).cpu().numpy()
            self._record.add_metrics(BATCHES, epoch, loss, error)
            self._sums.zero_()

    def _evaluate(self, meanwhile: Callable[[Self], None]) -> None:
        """Make the evaluation that is still to be made, if there is one, from its beginning."""
        epoch = self._to_evaluate
        if epoch is None:
            return
        self._stack_before = self._state_of_stack()
        results = {}
        for split, (x, y) in self._data.splits.items():
            if epoch in self._plan.evaluated_epochs.get(split, ()):
                with tf32_if(self._plan.tf32_in_evaluations):
                    result = self._stack.evaluate(x, y, self._plan.chunk, lambda: meanwhile(self))
                results[split] = result.loss.cpu().numpy(), result.error.cpu().numpy()
        for split, (loss, error) in results.items():
            self._record.add_metrics(split, epoch, loss, error)
        self._to_evaluate = self._stack_before = None

    def _state_of_stack(self) -> dict[str, Any] | None:
        return self._stack.state() if isinstance(self._stack, OwnState) else None

    def _batch(self, step: int) -> ChosenBatch:
        """The mini-batches of ``step``, gathered where the examples are."""
        epoch, place = divmod(step, self._sampler.steps_per_epoch)
        start = place * self._sampler.batch_size
        chosen = self._orders.on_device(epoch)[:, start : start + self._sampler.batch_size]
        return ChosenBatch(self._data.x, self._data.y, chosen)
