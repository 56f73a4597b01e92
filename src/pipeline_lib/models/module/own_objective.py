"""What a loss of the user's own is as an objective: its kind, and its metric."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.dropout import _DropoutNd

from pipeline_lib.errors import ConfigError
from pipeline_lib.imports import one_line
from pipeline_lib.models.module.batch_losses import RTOL, BatchLosses, outputs_on
from pipeline_lib.models.module.own_code import seeded
from pipeline_lib.seeding import seed_sequence
from pipeline_lib.training.labelled import Examples
from pipeline_lib.training.module_state import copy_of, evaluation_mode
from pipeline_lib.training.objective import (
    MEAN,
    Loss,
    Objective,
    are_class_scores,
    wrong_labels,
    wrong_signs,
)
from pipeline_lib.training.trees import Tree, copied, leaves, n_rows, rows, shapes

Metric = Callable[[Any, Any], Tensor]

_SPREAD, _RARE = 12, 16  # examples at equal distances, and of the rarest labels


def objective_of(
    module: nn.Module, loss: Loss, training: Examples, metric: Metric | None = None
) -> Objective:
    """The objective that ``loss`` is for ``module``, judged on examples spread over the set.

    ``training`` are tensors. Compared are the losses of single examples, of pairs of them and of
    all together, without random layers. This is done near the initial weights, not at them: a last
    layer of zeros gives all examples one loss, which is every mean of itself.

    Raises ConfigError if the loss is the sum over examples, or if outputs and targets broadcast.
    """
    chosen = _sample(training[1])
    x, y = (rows(part, chosen) for part in training)
    module = _moved(module)
    with _without_randomness(module, x):
        of = BatchLosses(module, loss, x, y)
        kind = of.kind()
        if kind != MEAN:
            of.refuse_broadcast()
        outputs = of.outputs(range(n_rows(y)))
    if metric is not None:
        _check_metric(metric, outputs, y)
        return Objective(loss, kind, metric)
    if are_class_scores(outputs, y):
        return Objective(loss, kind, wrong_labels)
    if _is_binary(loss, outputs, y):
        return Objective(loss, kind, wrong_signs)
    return Objective(loss, kind, None)


def _moved(module: nn.Module) -> nn.Module:
    """A copy whose parameters are a little off."""
    module = copy_of(module)
    with torch.no_grad(), seeded(seed_sequence(0, "loss kind")):
        for p in module.parameters():
            fan_in = max(1, p[0].numel()) if p.ndim > 1 else 1
            p.add_(torch.randn_like(p), alpha=0.1 / fan_in**0.5)
    return module


def _sample(targets: Tree) -> list[int]:
    """Rows spread over the set, and the first ones of the rarest whole numbers in the targets."""
    n = n_rows(targets)
    chosen = set(np.linspace(0, n - 1, min(n, _SPREAD)).astype(int).tolist())
    for part in leaves(targets):
        if not part.is_floating_point() and part.numel():
            per_row = part.numel() // n
            _, first, counts = np.unique(part.numpy(), return_index=True, return_counts=True)
            rarest = np.argsort(counts, kind="stable")[:_RARE]
            chosen |= set((first[rarest] // per_row).tolist())
    return sorted(chosen)


@contextmanager
def _without_randomness(module: nn.Module, x: Tree) -> Iterator[None]:
    """Random layers off, other parts in the mode they have; if that is not enough, in evaluation.

    Draws that are left do not depend on what was drawn before, whose state is left as it was.
    """
    off = [part for part in module.modules() if isinstance(part, _DropoutNd) and part.training]
    with torch.no_grad(), seeded(seed_sequence(0, "loss")):
        for part in off:
            part.eval()
        try:
            first, second = (leaves(outputs_on(module, x)) for _ in range(2))
            if all(torch.equal(one, two) for one, two in zip(first, second, strict=True)):
                yield
                return
            with evaluation_mode(module):
                yield
        finally:
            for part in off:
                part.train()


def _check_metric(metric: Metric, outputs: Any, y: Tree) -> None:
    try:
        found = metric(outputs, copied(y))
    except Exception as error:
        raise ConfigError(
            f"metric: outputs {shapes(outputs)} and targets {shapes(y)} do not fit: "
            f"{one_line(error)}"
        ) from error
    if not isinstance(found, Tensor) or found.shape != (n_rows(y),):
        raise ConfigError(
            f"metric: it gives {shapes(found)} on {n_rows(y)} examples; allowed is one number an "
            f"example, shape ({n_rows(y)},)"
        )


def _is_binary(loss: Loss, outputs: Any, y: Tree) -> bool:
    """Whether the loss is the binary cross-entropy of one logit and a label an example."""
    one_each = all(isinstance(part, Tensor) and part.numel() == n_rows(y) for part in (outputs, y))
    if not one_each or not bool(((y == 0) | (y == 1)).all()):
        return False
    n = n_rows(y)
    flat = y.reshape(n).to(outputs.dtype)
    expected = functional.binary_cross_entropy_with_logits(outputs.reshape(n), flat)
    return bool(torch.isclose(loss(outputs, y).to(expected), expected, rtol=RTOL))
