"""What stacks of replicas that learn from labelled examples take, give back and promise."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from pipeline_lib.training.trees import Tree, gathered, leaves, rows

Examples = tuple[Tree, Tree]
"""Arrays of examples x (n, ...) and their targets y (n, ...)."""


class LabelledBatch(Protocol):
    """Mini-batches of R replicas: inputs ``x`` (R, b, ...) and targets ``y`` (R, b, ...).

    Each is a tensor or, for a stack that takes it, a `pipeline_lib.training.trees.Tree`.
    """

    @property
    def x(self) -> Tree: ...

    @property
    def y(self) -> Tree: ...

    @property
    def size(self) -> int:
        """b, the examples of one replica's mini-batch."""
        ...

    def part(self, replicas: slice) -> tuple[Tree, Tree]:
        """Inputs and targets of some replicas."""
        ...


@dataclass(frozen=True)
class GivenBatch:
    """A `LabelledBatch` made of the tensors themselves."""

    x: Tree
    y: Tree

    @property
    def size(self) -> int:
        size: int = leaves(self.x)[0].shape[1]
        return size

    def part(self, replicas: slice) -> tuple[Tree, Tree]:
        return rows(self.x, replicas), rows(self.y, replicas)


@dataclass(frozen=True)
class ChosenBatch:
    """A `LabelledBatch` of examples ``indices`` (R, b) of a data set, gathered when asked for.

    A stack that takes one replica after the other gathers each one's examples just before use.
    """

    all_x: Tree
    all_y: Tree
    indices: Tensor

    @property
    def x(self) -> Tree:
        return gathered(self.all_x, self.indices)

    @property
    def y(self) -> Tree:
        return gathered(self.all_y, self.indices)

    @property
    def size(self) -> int:
        return self.indices.shape[1]

    def part(self, replicas: slice) -> tuple[Tree, Tree]:
        chosen = self.indices[replicas]
        return gathered(self.all_x, chosen), gathered(self.all_y, chosen)

    def pieces(self, size: int) -> "Iterator[ChosenBatch]":
        """So many examples of each replica after the other."""
        for indices in torch.split(self.indices, size, dim=1):
            yield ChosenBatch(self.all_x, self.all_y, indices)


@dataclass(frozen=True)
class Evaluation:
    """Means over examples that all replicas share: loss and share of wrong labels, (R,) float64."""

    loss: Tensor
    error: Tensor


class EvaluatedStack(Protocol):
    """R replicas of one model in lock-step.

    ``parameters`` maps a name to a tensor (R, *shape), which training updates in place.
    """

    parameters: dict[str, Tensor]

    def evaluate(self, x: Tree, y: Tree, chunk: int, meanwhile: Callable[[], object]) -> Evaluation:
        """Means over the examples x (n, ...) and y (n, ...), ``chunk`` examples at a time.

        ``meanwhile`` is called between its parts, in the caller's thread, and may raise to leave.
        """
        ...


class LabelledStack(EvaluatedStack, Protocol):
    """R replicas in lock-step, trained on mini-batches of labelled examples."""

    def gradients(self, batch: LabelledBatch) -> Mapping[str, Tensor]:
        """Gradients of the mean loss over each replica's batch, (R, *shape).

        They may be changed, and the next call may overwrite them.
        """
        ...


class BatchResult(NamedTuple):
    """Gradients (R, *shape) by name of the mean loss over each replica's mini-batch, that loss
    (R,) and the number of its wrong labels (R,), float64, all with dropout."""

    gradients: dict[str, Tensor]
    loss: Tensor
    wrong: Tensor


@runtime_checkable
class SteppedStack(EvaluatedStack, Protocol):
    """A stack whose gradients depend on the step, through random layers, and come with losses."""

    def gradients_at(self, step: int, batch: LabelledBatch) -> BatchResult:
        """Gradients and their losses; the next call may overwrite them."""
        ...


class ExampleMoments(NamedTuple):
    """Gradients of single examples, M of each replica, by name of the parameter.

    ``gradients`` (R, *shape) are their means, those of the mean loss over the M examples;
    ``sq_norms`` (R,), float64, the means of their squared norms. Random layers draw for each
    example, and ``own_noise`` (R,) estimates the variance that this gives the gradient of one; it
    may be empty where there are none.
    """

    gradients: Mapping[str, Tensor]
    sq_norms: Mapping[str, Tensor]
    own_noise: Mapping[str, Tensor]


@runtime_checkable
class ExampleStack(Protocol):
    """A stack that knows the gradients of single examples apart, for a loss that is their mean."""

    def example_moments(
        self, step: int, examples: ChosenBatch, twice: ChosenBatch
    ) -> ExampleMoments:
        """Moments of ``examples``; the next call of any method may overwrite the gradients.

        ``twice`` are some of them, at random, that tell the variance of random layers: these draw
        for them twice. Weights and what training draws afterwards are left as they are.
        """
        ...


@runtime_checkable
class FusedStack(Protocol):
    """A stack that makes steps of plain SGD without its gradients at hand."""

    def descend_through(
        self, batches: Sequence[LabelledBatch], learning_rates: Sequence[float]
    ) -> None:
        """One step ``w <- w - rate * gradient`` after the other, each with its batch and rate."""
        ...


@runtime_checkable
class OwnState(Protocol):
    """What goes on from more than the parameters, such as a stack with random layers."""

    def state(self) -> dict[str, Any]:
        """What `restore` takes, as a `artifacts.checkpoint.State`, without the parameters."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        ...
