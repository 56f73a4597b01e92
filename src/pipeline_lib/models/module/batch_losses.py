"""Losses of batches put together from a few examples, and what kind of loss they tell."""

import functools
import itertools
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline_lib.errors import ConfigError
from pipeline_lib.imports import one_line
from pipeline_lib.training.objective import (
    COUPLED,
    MEAN,
    WEIGHTED,
    Loss,
    LossKind,
    call_arguments,
    scores_of,
)
from pipeline_lib.training.trees import Tree, copied, n_rows, rows, shapes

# Sums of a few dozen float32 numbers agree to about 1e-6.
RTOL = 1e-4


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


class BatchLosses:
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
        near = functools.partial(np.isclose, rtol=RTOL, atol=RTOL * scale * 0.1)
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
        if not torch.allclose(value, alike, rtol=RTOL):
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
                if abs(moved) > RTOL * abs(alone[reference]):
                    return None
                weights[i] = 0.0
            elif abs(apart) < 1e-3 * abs(alone[reference]):
                weights[i] = np.nan
            elif abs(alone[i] - pair) > 1e-3 * abs(apart):
                weights[i] = moved / (alone[i] - pair)
            else:
                return None
        return None if (weights < -1e-3).any() else weights
