"""A module, a loss and a data set of the user's own: made, and checked before anything is trained.

What can be checked early is: every message is one line that names the thing and what is allowed.
"""

import hashlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline_lib.errors import ConfigError
from pipeline_lib.imports import one_line
from pipeline_lib.seeding import seed_sequence, torch_seed
from pipeline_lib.training.labelled import Examples, GivenBatch
from pipeline_lib.training.module_stack import Loss, ModuleReplicas

SPLITS = ("training", "validation")
_AT_ONCE = 500  # examples that are tried at once
_PAIR = "((x, y) for training, (x, y) for validation), arrays or tensors with equal lengths"


def make_module(
    make_model: Callable[..., object],
    arguments: Mapping[str, Any],
    dtype: str,
    seed: int,
    init: int,
) -> nn.Module:
    """The module with initial weights number ``init``, in training mode.

    The draw depends on ``seed`` and ``init`` alone, if it is made from torch's random numbers on
    CPU. Torch's own random state is left as it was. Raises ConfigError if ``make_model`` fails or
    makes no module, or one without parameters to train.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(seed_sequence(seed, "initial_weights", init, "module")))
        try:
            module = make_model(**arguments)
        except Exception as error:
            raise ConfigError(f"make_model: calling it fails: {one_line(error)}") from error
    if not isinstance(module, nn.Module):
        raise ConfigError(
            f"make_model: it returns type {type(module).__name__}; allowed is a torch.nn.Module"
        )
    if not any(p.requires_grad for p in module.parameters()):
        raise ConfigError("make_model: the module has no parameter to train; it needs one")
    return module.to(getattr(torch, dtype)).train()


def load_sets(
    make_dataset: Callable[..., Any], arguments: Mapping[str, Any], dtype: str
) -> dict[str, Examples]:
    """Examples x (n, ...) and targets y (n, ...) by split, ``training`` and ``validation``.

    Numbers with a fraction become ``dtype``, whole ones int64. Raises ConfigError if
    ``make_dataset`` fails or returns something else.
    """
    try:
        (train_x, train_y), (valid_x, valid_y) = make_dataset(**arguments)
        arrays = [_array(part, dtype) for part in (train_x, train_y, valid_x, valid_y)]
    except Exception as error:
        raise ConfigError(f"dataset: {one_line(error)}; it is to return {_PAIR}") from error
    sets = {"training": (arrays[0], arrays[1]), "validation": (arrays[2], arrays[3])}
    for split, (x, y) in sets.items():
        if x.ndim == 0 or y.ndim == 0 or len(x) != len(y) or len(x) == 0:
            raise ConfigError(
                f"dataset: {split} has x of shape {x.shape} and y of shape {y.shape}; "
                f"it is to return {_PAIR}"
            )
    return sets


def weights_of(module: nn.Module) -> dict[str, NDArray[Any]]:
    """Parameters and buffers by name, as `pipeline_lib.models.initial_weights` stores them."""
    return {name: tensor.numpy() for name, tensor in module.state_dict().items()}


def load_weights(module: nn.Module, weights: Mapping[str, NDArray[Any]]) -> None:
    """Give ``module`` what `weights_of` took; ConfigError if names or shapes are not its own."""
    try:
        module.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    except RuntimeError as error:
        raise ConfigError(
            "make_model: the module does not take the initial weights that it was drawn with: "
            f"{' '.join(str(error).split())}; it is to be the same at every call"
        ) from error


def sets_digest(sets: Mapping[str, Examples]) -> str:
    """SHA-256 of all examples: two data sets that agree in it are the same."""
    total = hashlib.sha256()
    for split in SPLITS:
        for array in sets[split]:
            total.update(f"{split} {array.dtype} {array.shape}".encode())
            total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def check_fit(
    module: nn.Module, loss: Loss, sets: Mapping[str, Examples], largest_batch: int
) -> None:
    """ConfigError unless ``module``, ``loss`` and every example of ``sets`` fit together.

    That is: the module takes the inputs, keeps no state in training, and the loss is the finite
    mean over examples of its outputs and the targets; no batch is larger than the training set.
    """
    n = len(sets["training"][0])
    if largest_batch > n:
        raise ConfigError(
            f"batch_sizes: {largest_batch} is above the {n} training examples of the dataset; "
            f"allowed: 1 to {n}"
        )
    x, y = (torch.as_tensor(part[: min(n, 8)]) for part in sets["training"])
    outputs = _outputs(module, x)  # before the loss is judged by them
    _value(loss, outputs, y)
    ModuleReplicas(module, loss, 1, sample=GivenBatch(x[None], y[None]))
    was_training = module.training
    try:
        module.eval()
        for split in SPLITS:
            parts = (torch.split(torch.as_tensor(part), _AT_ONCE) for part in sets[split])
            for inputs, targets in zip(*parts, strict=True):
                value = _value(loss, _outputs(module, inputs), targets)
                if not value.isfinite():
                    raise ConfigError(
                        f"loss: {float(value)} on {split} examples at the initial weights; "
                        "allowed is a finite number"
                    )
    finally:
        module.train(was_training)


@torch.no_grad()
def _outputs(module: nn.Module, x: Tensor) -> Tensor:
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    try:
        with torch.random.fork_rng(devices=[]):
            outputs = module(x)
    except Exception as error:
        raise ConfigError(
            f"make_model: the module does not take inputs {_shape(x)}: {one_line(error)}"
        ) from error
    finally:
        for name, buffer in module.named_buffers():
            buffer.copy_(before[name])
    if not isinstance(outputs, Tensor):
        raise ConfigError(
            f"make_model: the module returns type {type(outputs).__name__}; allowed is one tensor"
        )
    return outputs


def _value(loss: Loss, outputs: Tensor, targets: Tensor) -> Tensor:
    fit = f"outputs {_shape(outputs)} and targets {_shape(targets)}"
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


def _array(values: object, dtype: str) -> NDArray[np.generic]:
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if array.dtype.kind == "f":
        return array.astype(dtype)
    if array.dtype.kind in "iub":
        return array.astype(np.int64)
    raise TypeError(f"numbers are of type {array.dtype}")


def _shape(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
