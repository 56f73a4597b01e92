"""What a module holds beside its weights: the mode of each part, buffers, running statistics."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from pipeline_lib.errors import ConfigError


def copy_of(module: nn.Module) -> nn.Module:
    """A deep copy. What a part computed from its weights, as old weight norms do, comes along."""
    computed = {
        id(value): value.detach().clone()
        for part in module.modules()
        for value in vars(part).values()
        if isinstance(value, Tensor) and not value.is_leaf
    }
    with torch.no_grad():  # or copies of scripted weights would be no leaves of their graphs
        copied = copy.deepcopy(module, computed)
    for own, other in zip(module.parameters(), copied.parameters(), strict=True):
        other.requires_grad_(own.requires_grad)
    return copied


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """The whole module in evaluation mode; after it each part has the mode that it had."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def refuse_running_statistics(module: nn.Module) -> None:
    """ConfigError if a part that is in training mode keeps running statistics."""
    for name, part in module.named_modules():
        if isinstance(part, _NormBase) and part.training and part.running_mean is not None:
            raise ConfigError(
                f"module: {name or 'itself'} is a {type(part).__name__} with running statistics, "
                "which mix examples and steps; allowed is for example GroupNorm, or in the model "
                "section batch_norm: batch_statistics or batch_norm: frozen"
            )
