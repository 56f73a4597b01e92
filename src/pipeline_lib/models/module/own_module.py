"""A module of the user's own: made under a seed, with the weights that all runs start from."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import replace_all_batch_norm_modules_
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

from pipeline_lib.errors import ConfigError
from pipeline_lib.models.module.own_code import called, seeded
from pipeline_lib.seeding import seed_sequence
from pipeline_lib.training.module_state import evaluation_mode
from pipeline_lib.training.objective import call_arguments
from pipeline_lib.training.trees import Tree, mapped, rows

BatchNorm = Literal["batch_statistics", "frozen"]


def make_module(
    make_model: Callable[..., object],
    arguments: Mapping[str, Any],
    dtype: str,
    seed: int,
    init: int,
    x: Tree = None,
    batch_norm: BatchNorm | None = None,
) -> nn.Module:
    """The module with initial weights number ``init``; its parts keep the mode they are made in.

    The draw depends on ``seed`` and ``init`` alone, if it is made from the global generators of
    torch (on CPU), NumPy or Python, whose state is left as it was. Parameters whose shape depends
    on the inputs are drawn at the first two of the examples ``x``.

    Real numbers become ``dtype`` and complex ones of twice its size. ``batch_norm`` makes batch
    normalisations use the ``batch_statistics`` always, or the ``frozen`` ones that they are made
    with. A model of Hugging Face's transformers may be a class with the argument ``config``, the
    arguments of its configuration.

    Raises ConfigError if ``make_model`` fails or makes no module, or one without parameters to
    train.
    """

    def make() -> object:
        config_class = getattr(make_model, "config_class", None)
        if config_class is not None and set(arguments) == {"config"}:
            return make_model(config_class(**arguments["config"]))
        return make_model(**arguments)

    with seeded(seed_sequence(seed, "initial_weights", init, "module")):
        module = called("make_model", make)
        if not isinstance(module, nn.Module):
            raise ConfigError(
                f"make_model: it returns type {type(module).__name__}; allowed is a torch.nn.Module"
            )
        if x is not None and any(is_lazy(p) for p in module.parameters()):
            _draw_at(module, x)
    if not any(p.requires_grad for p in module.parameters()):
        raise ConfigError("make_model: the module has no parameter to train; it needs one")
    real: torch.dtype = getattr(torch, dtype)
    module._apply(lambda tensor: _cast(tensor, real))  # type: ignore[no-untyped-call]
    if batch_norm == "batch_statistics":
        replace_all_batch_norm_modules_(module)
    if batch_norm == "frozen":
        for part in module.modules():
            if isinstance(part, _BatchNorm):
                part.eval()
    return module


def same_module(one: nn.Module, two: nn.Module) -> None:
    """ConfigError unless both, of two calls under one seed, have the same weights and buffers."""
    first, second = one.state_dict(), two.state_dict()
    for name in {**first, **second}:
        if name not in first or name not in second or not _equal(first[name], second[name]):
            raise ConfigError(
                f"make_model: two calls under the same seed give another {name!r}; it is to draw "
                "from torch's, NumPy's or Python's global generators, which are seeded before each "
                "call, or from one that it seeds itself"
            )


def weights_of(module: nn.Module) -> dict[str, NDArray[Any]]:
    """Parameters and buffers by name, as files store them; complex ones as pairs of real ones."""
    return {name: _real(tensor).numpy() for name, tensor in _tensors(module).items()}


def load_weights(module: nn.Module, weights: Mapping[str, NDArray[Any]]) -> None:
    """Give ``module`` what `weights_of` took; ConfigError if names or shapes are not its own."""
    own = _tensors(module)
    given = {name: torch.from_numpy(np.array(array)) for name, array in weights.items()}
    wrong = sorted(
        name
        for name in {**own, **given}
        if name not in own or name not in given or _real(own[name]).shape != given[name].shape
    )
    if wrong:
        raise ConfigError(
            "make_model: the module does not take the initial weights that it was drawn with: "
            f"{', '.join(wrong)} differ; it is to be the same at every call"
        )
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(torch.view_as_complex(given[name]) if tensor.is_complex() else given[name])


def _draw_at(module: nn.Module, x: Tree) -> None:
    first = mapped(
        lambda part: part.float() if part.is_floating_point() else part, rows(x, slice(2))
    )
    places, names = call_arguments(first, torch.float32)

    def call() -> None:
        with torch.no_grad(), evaluation_mode(module):
            module(*places, **names)

    called("make_model: parameters that depend on the inputs", call)


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """What a state dict holds, each tensor once and without what is no tensor."""
    return {
        name: tensor.detach()
        for name, tensor in module.state_dict().items()
        if isinstance(tensor, Tensor)
    }


def _cast(tensor: Tensor, real: torch.dtype) -> Tensor:
    if tensor.is_complex():
        return tensor.to(real.to_complex())
    return tensor.to(real) if tensor.is_floating_point() else tensor


def _real(tensor: Tensor) -> Tensor:
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def _equal(one: object, two: object) -> bool:
    if isinstance(one, Tensor) and isinstance(two, Tensor):
        return one.shape == two.shape and bool((one == two).logical_or(one != one).all())
    return True
