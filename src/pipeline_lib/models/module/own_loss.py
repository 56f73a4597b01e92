"""The loss of a module of the user's own, made from a function, a module or a class."""

import copy
import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline_lib.errors import ConfigError
from pipeline_lib.models.module.own_code import called
from pipeline_lib.training.objective import Loss

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
