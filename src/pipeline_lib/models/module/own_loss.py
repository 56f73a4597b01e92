"""The loss of a module of the user's own: made, and what kind of loss it is found out."""

import copy
import functools
import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.dropout import _DropoutNd

from pipeline_lib.errors import ConfigError
from pipeline_lib.imports import one_line
from pipeline_lib.models.module.own_code import called, seeded
from pipeline_lib.seeding import seed_sequence
from pipeline_lib.training.labelled import Examples
from pipeline_lib.training.module_state import copy_of, evaluation_mode
from pipeline_lib.training.objective import (
    COUPLED,
    MEAN,
    WEIGHTED,
    Loss,
    LossKind,
    Objective,
    are_class_scores,
    call_arguments,
    scores_of,
    wrong_labels,
    wrong_signs,
)
from pipeline_lib.training.trees import Tree, copied, leaves, n_rows, rows, shapes

Metric = Callable[[Any, Any], Tensor]

# Sums of a few dozen float32 numbers agree to about 1e-6.
_RTOL = 1e-4
_SPREAD, _RARE = 12, 16  # examples at equal distances, and of the rarest labels
_FLOAT_TARGETS: tuple[object, ...] = (
    functional.binary_cross_entropy,
    functional.binary_cross_entropy_with_logits,
    functional.multilabel_soft_margin_loss,
    functional.mse_loss,
    functional.l1_loss,
    functional.smooth_l1_loss,
    functional.huber_loss,
)
_FLOAT_TARGET_CLASSES = (
    nn.BCELoss,
    nn.BCEWithLogitsLoss,
    nn.MultiLabelSoftMarginLoss,
    nn.MSELoss,
    nn.L1Loss,
    nn.SmoothL1Loss,
    nn.HuberLoss,
)


def make_loss(
    loss: Callable[..., Any], arguments: Mapping[str, Any], dtype: str, device: str = "cpu"
) -> Loss:
    """``loss(outputs, targets)`` with its arguments, its own tensors in ``dtype`` on ``device``.

    ``loss`` is a function, a module or a class of modules. Lists of numbers among the arguments
    become tensors. Torch's losses of numbers take whole targets as numbers with a fraction.
    """
    real: torch.dtype = getattr(torch, dtype)

    def tensor(value: Any) -> Any:
        is_list = isinstance(value, list) and all(isinstance(one, int | float) for one in value)
        return torch.tensor(value, dtype=real, device=device) if is_list else value

    settings = {name: tensor(value) for name, value in arguments.items()}
    made: Any = loss
    if isinstance(loss, type) and issubclass(loss, nn.Module):
        made = called("loss", lambda: loss(**settings))
    elif isinstance(loss, nn.Module):
        if settings:
            raise ConfigError("loss: it is a module already; allowed: arguments for a class")
        made = copy.deepcopy(loss)
    elif settings:
        made = functools.partial(loss, **settings)
    if isinstance(made, nn.Module):
        made = made.to(device=device, dtype=real)
    if loss not in _FLOAT_TARGETS and not isinstance(made, _FLOAT_TARGET_CLASSES):
        return made  # type: ignore[no-any-return]

    def with_numbers(outputs: Any, targets: Any) -> Tensor:
        whole = isinstance(outputs, Tensor) and not targets.is_floating_point()
        value: Tensor = made(outputs, targets.to(outputs.dtype) if whole else targets)
        return value

    return with_numbers


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
        of = _BatchLosses(module, loss, x, y)
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


def loss_value(loss: Loss, outputs: Any, targets: Any) -> Tensor:
    """The loss of a batch; ConfigError unless it is one number, as a tensor."""
    fit = f"outputs {shapes(outputs)} and targets {shapes(targets)}"
    try:
        with warnings.catch_warnings():
            # Torch's own losses broadcast sizes that differ, with a warning: never what is meant.
            warnings.filterwarnings("error", message="Using a target size")
            value = loss(outputs, targets)
    except Exception as error:
        raise ConfigError(f"loss: {fit} do not fit: {one_line(error)}") from error
    if not isinstance(value, Tensor) or value.shape != ():
        found = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise ConfigError(
            f"loss: {fit} give {found}; allowed is one number, the mean over examples, as a tensor"
        )
    return value


class _BatchLosses:
    """Losses of batches put together from a few examples."""

    def __init__(self, module: nn.Module, loss: Loss, x: Tree, y: Tree) -> None:
        self._module, self._loss, self._x, self._y = module, loss, x, y
        n = n_rows(y)
        # Some modules take no single example, as batch statistics do not.
        self._units: list[tuple[int, ...]] = [(i,) for i in range(n)]
        try:
            self._alone = [self._of(unit) for unit in self._units]
        except ConfigError:
            if n < 4:
                raise
            self._units = [(i, i + 1) for i in range(0, n - 1, 2)]
            self._alone = [self._of(unit) for unit in self._units]

    def kind(self) -> LossKind:
        """See `LossKind`; ConfigError for a sum."""
        alone = np.array(self._alone)
        few = range(0, len(alone), 2)
        batches = [range(len(alone)), few] if len(few) > 1 else [range(len(alone))]
        together = [self._of(self._joined(batch)) for batch in batches]
        pairs = list(zip(batches, together, strict=True))
        if not np.isfinite(together[0]):
            raise ConfigError(
                f"loss: {together[0]} on training examples at the initial weights; allowed is a "
                "finite number"
            )
        scale = np.nanmax(np.abs([*alone, *together]))
        near = functools.partial(np.isclose, rtol=_RTOL, atol=_RTOL * scale * 0.1)
        if all(near(value, np.mean(alone[batch])) for batch, value in pairs):
            return MEAN
        if all(near(value, np.sum(alone[batch])) for batch, value in pairs):
            raise ConfigError(
                "loss must be the mean over examples, and it is their sum: "
                f"{together[0]:.6g} on {len(alone) * len(self._units[0])} examples; allowed is "
                "the same divided by their number"
            )
        weights = self._weights(alone)
        if weights is None:
            return COUPLED
        is_known = np.isfinite(weights)
        if is_known.sum() < max(3, len(weights) / 2):
            return COUPLED  # equal losses, whose mean would be any of them, and is not
        losses = np.where(weights > 0, alone, 0.0)
        for batch in batches:
            known = [k for k in batch if is_known[k]]
            total = weights[known].sum()
            if not total > 0:
                return COUPLED
            expected = np.dot(weights[known], losses[known]) / total
            if not near(self._of(self._joined(known)), expected):
                return COUPLED
        return WEIGHTED

    def refuse_broadcast(self) -> None:
        """ConfigError if outputs (n, 1) and targets (n,), or the like, are meant to be alike."""
        outputs, y = self.outputs(range(n_rows(self._y))), self._y
        if not (isinstance(outputs, Tensor) and isinstance(y, Tensor)):
            return
        if outputs.numel() != y.numel() or outputs.shape == y.shape:
            return
        value = self._loss(outputs, y)
        try:
            alike = self._loss(outputs.reshape(y.shape), y)
        except Exception:
            return  # the loss itself takes the outputs apart
        if not torch.allclose(value, alike, rtol=_RTOL):
            raise ConfigError(
                f"loss: outputs {shapes(outputs)} and targets {shapes(y)} broadcast to "
                f"{np.broadcast_shapes(outputs.shape, y.shape)}; give them one shape, as "
                "by outputs.squeeze(-1)"
            )

    @torch.no_grad()
    def outputs(self, chosen: Any) -> Any:
        """Outputs on some of the examples."""
        return outputs_on(self._module, rows(self._x, list(chosen)))

    @torch.no_grad()
    def _of(self, chosen: tuple[int, ...]) -> float:
        value = loss_value(self._loss, self.outputs(chosen), copied(rows(self._y, list(chosen))))
        return float(value)

    def _joined(self, batch: Iterable[int]) -> tuple[int, ...]:
        return tuple(itertools.chain.from_iterable(self._units[k] for k in batch))

    def _weights(self, alone: Any) -> Any:
        """Weights of a weighted mean relative to that of one unit, from pairs with it.

        L of the pair (r, i) is (L_r + w_i L_i) / (1 + w_i). A unit that has no loss of its own has
        the weight 0, and one with the loss of unit r an unknown one, NaN. None if there are no such
        weights.
        """
        finite = np.flatnonzero(np.isfinite(alone))
        if len(finite) < 2:
            return None
        middle = np.median(alone[finite])
        reference = finite[np.argmax(np.abs(alone[finite] - middle))]
        weights = np.ones(len(alone))
        for i in range(len(alone)):
            if i == reference:
                continue
            pair = self._of((*self._units[reference], *self._units[i]))
            moved, apart = pair - alone[reference], alone[i] - alone[reference]
            if not np.isfinite(alone[i]):
                if abs(moved) > _RTOL * abs(alone[reference]):
                    return None
                weights[i] = 0.0
            elif abs(apart) < 1e-3 * abs(alone[reference]):
                weights[i] = np.nan
            elif abs(alone[i] - pair) > 1e-3 * abs(apart):
                weights[i] = moved / (alone[i] - pair)
            else:
                return None
        return None if (weights < -1e-3).any() else weights


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


def outputs_on(module: nn.Module, x: Tree) -> Any:
    """Outputs on a copy of ``x``; ConfigError if the module does not take it."""
    dtype = next(p.dtype.to_real() for p in module.parameters())
    places, names = call_arguments(copied(x), dtype)
    try:
        return scores_of(module(*places, **names))
    except Exception as error:
        raise ConfigError(
            f"make_model: the module does not take inputs {shapes(x)}: {one_line(error)}"
        ) from error


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
    return bool(torch.isclose(loss(outputs, y).to(expected), expected, rtol=_RTOL))
