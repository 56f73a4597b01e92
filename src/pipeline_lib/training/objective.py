"""What a module of labelled examples is trained on: how it is called, its loss and its error."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline_lib.study.model import COUPLED, MEAN, WEIGHTED, LossKind
from pipeline_lib.training.trees import Tree, mapped

__all__ = ["COUPLED", "MEAN", "WEIGHTED", "Loss", "LossKind", "Objective"]

Loss = Callable[[Any, Any], Tensor]
"""``loss(outputs, targets)``, one number for a batch, shape ()."""


@dataclass(frozen=True)
class Objective:
    """A loss, and what is known of it.

    Args:
        loss: the gradient of its value on a mini-batch is what is recorded.
        kind: decides how it is evaluated on many examples: as the mean of all, as one value of the
            whole set, or, if examples are coupled, as the mean over mini-batches of the size of
            training.
        error: ``error(outputs, targets)``, numbers (n,), one an example; None if there is none.
    """

    loss: Loss
    kind: LossKind = MEAN
    error: Callable[[Any, Any], Tensor] | None = None


def wrong_labels(outputs: Any, targets: Any) -> Tensor:
    """Whether the largest of several scores (n, C) is another than that of the label (n,).

    NaN (n,) where outputs are no scores of classes, or targets no labels.
    """
    if not are_class_scores(outputs, targets):
        return torch.full((len(targets),), torch.nan, dtype=torch.float64, device=targets.device)
    wrong: Tensor = outputs.argmax(dim=-1) != targets
    return wrong.double()


def wrong_signs(outputs: Any, targets: Any) -> Tensor:
    """Whether logits (n,) or (n, 1) of class 1 have another sign than labels 0 and 1 of one a row.

    Shape (n,). The error of a binary classifier trained on its cross-entropy.
    """
    n = len(targets)
    wrong: Tensor = (outputs.reshape(n) > 0) != (targets.reshape(n) > 0.5)
    return wrong.double()


def are_class_scores(outputs: Any, targets: Any) -> bool:
    """Whether ``outputs`` (n, C) with C > 1 can be the scores of labels (n,)."""
    return (
        isinstance(outputs, Tensor)
        and isinstance(targets, Tensor)
        and outputs.ndim == 2
        and outputs.shape[1] > 1
        and targets.shape == outputs.shape[:1]
        and not targets.is_floating_point()
    )


def call_arguments(x: Tree, dtype: torch.dtype) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """How a module is called on inputs ``x``: a dict by name, a tuple by place, else x alone.

    Images of 8 bits become numbers of ``dtype`` here, a mini-batch at a time, with their values as
    they are: 0 to 255.
    """
    x = mapped(lambda part: part.to(dtype) if part.dtype == torch.uint8 else part, x)
    if isinstance(x, dict):
        return (), x
    if isinstance(x, tuple | list):
        return tuple(x), {}
    return (x,), {}


def scores_of(outputs: Any) -> Any:
    """What the loss takes of a module's outputs: ``.logits`` where there is such a part."""
    if isinstance(outputs, Tensor):
        return outputs
    logits = outputs.get("logits") if isinstance(outputs, Mapping) else None
    if logits is None:
        logits = getattr(outputs, "logits", None)
    return outputs if logits is None else logits
