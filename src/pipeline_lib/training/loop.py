"""The training loop: R replicas in lock-step, gradients recorded before each update."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, runtime_checkable

import numpy as np
from torch import Generator, Tensor, float64

from pipeline_lib.estimation.statistics import ALL, CLIPPED, FULL, STOCHASTIC, GradientRecord
from pipeline_lib.training.labelled import OwnState
from pipeline_lib.training.replica_moments import Moments, gradient_moments
from pipeline_lib.training.report import CONDITIONAL_MEAN, Report, gather_record
from pipeline_lib.training.stack import Batch, ReplicaStack
from pipeline_lib.training.update import Update


@runtime_checkable
class ConditionalFromBatch(Protocol):
    """A stack whose var(g_t | F_t) depends on what the mini-batch was drawn from."""

    def conditional_from_batch(
        self, batch: Any
    ) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]] | None:
        """var(g_t | F_t) by tensor, (R,), and E[g_t | F_t], (R, *shape); None if that is the full
        gradient."""
        ...


@runtime_checkable
class ConditionalFromNorms(Protocol):
    """A stack whose var(g_t | F_t) needs the norms of its full gradients, which are at hand."""

    def conditional_variance_from_norms(
        self, batch_size: int, full_sq_norms: Mapping[str, Tensor]
    ) -> Mapping[str, Tensor]:
        """var(g_t | F_t) by tensor, (R,), from the squared norms of the full gradients, (R,)."""
        ...


@runtime_checkable
class ExampleVariance(Protocol):
    """A stack that knows tr Sigma(w_t), the variance of one example's gradient."""

    def example_variance(
        self, conditional: Mapping[str, Tensor], batch_size: int
    ) -> Mapping[str, Tensor]:
        """It by tensor, (R,), from var(g_t | F_t) of ``batch_size`` examples, which is at hand."""
        ...


@dataclass(frozen=True)
class Recording:
    """How many ``steps`` make one record, and whether with `GradientRecord.increments`.

    These need a stack that knows its full gradients and var(g_t | F_t).
    """

    steps: int = 64
    increments: bool = False


def train(
    stack: ReplicaStack[Batch],
    draw_batch: Callable[[], Batch],
    batch_size: int,
    learning_rates: Sequence[float],
    recording: Recording = Recording(),
    first_step: int = 0,
    update: Update | None = None,
) -> Iterator[GradientRecord]:
    """Make a step for each of ``learning_rates``; a record every ``recording.steps`` steps.

    ``stack``, ``draw_batch`` and ``update`` stand before ``first_step``, the first of those made
    here; without ``update`` they are those of plain SGD.

    What is recorded at step t belongs to the weights before update t. Where gradients are clipped,
    those after clipping are recorded too. Numbers stay on the device between records, so the loop
    does not wait for it.
    """
    update = Update(stack.parameters) if update is None else update
    for start in range(first_step, len(learning_rates), recording.steps):
        steps = range(start, min(start + recording.steps, len(learning_rates)))
        reports: list[Report] = []
        for step in steps:
            batch = draw_batch()
            gradients = stack.gradients(batch)
            moments = step_moments(STOCHASTIC, gradients)
            along: Mapping[str, Tensor] = {}
            full = stack.full_gradients()
            full_moments = {} if full is None else step_moments(FULL, full)
            if recording.increments and full is not None:
                along = {name: _along(gradients[name], full[name]) for name in full}
            given = None
            if isinstance(stack, ConditionalFromBatch):
                given = stack.conditional_from_batch(batch)
            if given is None:
                conditional = _conditional(stack, batch_size, full_moments)
            else:
                conditional, mean = given
                moments |= step_moments(CONDITIONAL_MEAN, mean)
            update.clip(gradients)
            if update.clipping is not None:
                moments |= step_moments(CLIPPED, gradients)
            trace: Mapping[str, Tensor] = {}
            if full_moments and isinstance(stack, ExampleVariance):
                trace = stack.example_variance(conditional, batch_size)
            reports.append(Report(moments | full_moments, conditional, trace=trace, along=along))
            update.step(gradients, learning_rates[step])
        yield gather_record(np.array(steps), reports)


class TorchRun(Generic[Batch]):
    """`train` as a `training.resumable.Run`.

    ``draw_batch`` draws from ``generator``; if it remembers more, it is an `OwnState`. Without
    ``update`` the stack is trained by plain SGD.
    """

    def __init__(
        self,
        stack: ReplicaStack[Batch],
        draw_batch: Callable[[], Batch],
        generator: Generator,
        batch_size: int,
        learning_rates: Sequence[float],
        recording: Recording = Recording(),
        update: Update | None = None,
    ) -> None:
        self._stack = stack
        self._draw_batch = draw_batch
        self._draws: object = draw_batch
        self._generator = generator
        self._update = Update(stack.parameters) if update is None else update
        self._settings = batch_size, learning_rates, recording

    def records(self, first_step: int) -> Iterator[GradientRecord]:
        """Train from ``first_step`` to the end."""
        return train(
            self._stack, self._draw_batch, *self._settings, first_step, update=self._update
        )

    def state(self) -> dict[str, Any]:
        """Parameters, as they are in use, and what else the next steps depend on."""
        draws = self._draws.state() if isinstance(self._draws, OwnState) else None
        return {
            "parameters": self._stack.parameters,
            "generator": self._generator.get_state(),
            "draws": draws,
            "update": self._update.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        for name, parameter in self._stack.parameters.items():
            parameter.copy_(state["parameters"][name])
        self._generator.set_state(state["generator"])
        if isinstance(self._draws, OwnState):
            self._draws.restore(state["draws"])
        # Copied: tensors of the state would be updated with the weights.
        self._update.restore(copy.deepcopy(state["update"]))


def step_moments(quantity: str, gradients: Mapping[str, Tensor]) -> Moments:
    """Moments of each tensor (R, *shape); of a single one under the name that stands for all."""
    names = [ALL] if len(gradients) == 1 else list(gradients)
    return {
        (quantity, name): gradient_moments(gradient)
        for name, gradient in zip(names, gradients.values(), strict=True)
    }


def _along(gradients: Tensor, full: Tensor) -> Tensor:
    """``<G, g - G>`` of each replica, (R,), float64."""
    return ((gradients - full) * full).flatten(start_dim=1).sum(dim=1, dtype=float64)


def _conditional(
    stack: ReplicaStack[Batch], batch_size: int, full: Moments
) -> Mapping[str, Tensor]:
    """var(g_t | F_t) by tensor; empty where there is no closed form."""
    if full and isinstance(stack, ConditionalFromNorms):
        norms = {tensor: moments["sq_norms"] for (_, tensor), moments in full.items()}
        return stack.conditional_variance_from_norms(batch_size, norms)
    return stack.conditional_variance(batch_size) or {}
