"""The initial weights that training and theory share, as safetensors files."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from pipeline_lib.artifacts.files import write_whole
from pipeline_lib.errors import ArtifactError
from pipeline_lib.seeding import seed_sequence

Floats = NDArray[np.float64]


def gaussian_weights(
    shapes: Mapping[str, tuple[int, ...]], scale: float, seed: int, init: int
) -> dict[str, Floats]:
    """Draw number ``init`` of weights with entries N(0, scale^2), float64, one array a name.

    The draw depends on nothing else, so experiments that share a seed start from the same weights.
    """
    weights = {}
    for name, shape in shapes.items():
        generator = np.random.default_rng(seed_sequence(seed, "initial_weights", init, name))
        weights[name] = scale * generator.standard_normal(shape)
    return weights


def network_weights(layers: Sequence[int], scale: float, seed: int, init: int) -> dict[str, Floats]:
    """Weights W1, W2, ... of a network with the given widths; W_k has entries N(0, scale^2/fan_in).

    ``layers`` lists inputs, hidden widths and outputs; W_k has the shape (layers[k], layers[k-1]).
    """
    shapes = {
        f"W{k}": (outputs, inputs) for k, (inputs, outputs) in enumerate(pairwise(layers), start=1)
    }
    unit = gaussian_weights(shapes, scale, seed, init)
    return {name: weight / np.sqrt(weight.shape[1]) for name, weight in unit.items()}


def mlp_weights(layers: Sequence[int], scale: float, seed: int, init: int) -> dict[str, Floats]:
    """`network_weights` with biases b1, b2, ... of 0, shape (layers[k],)."""
    weights = network_weights(layers, scale, seed, init)
    return weights | {f"b{k}": np.zeros(outputs) for k, outputs in enumerate(layers[1:], start=1)}


def write_weights(path: Path, weights: Mapping[str, NDArray[Any]]) -> None:
    """Write ``weights``, whole or not at all."""
    write_whole(path, lambda temporary: save_file(dict(weights), temporary))


def read_weights(path: Path) -> dict[str, NDArray[Any]]:
    """Read what `write_weights` wrote; ArtifactError if the file is absent or not whole."""
    try:
        weights: dict[str, NDArray[Any]] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ArtifactError(f"{path}: not a whole safetensors file ({error})") from error
    return weights
