"""The initial weights that training and theory share, as safetensors files."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from pipeline_lib.artifacts import write_whole
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


def write_weights(path: Path, weights: Mapping[str, Floats]) -> None:
    """Write ``weights``, whole or not at all."""
    write_whole(path, lambda temporary: save_file(dict(weights), temporary))


def read_weights(path: Path) -> dict[str, Floats]:
    """Read what `write_weights` wrote."""
    weights: dict[str, Floats] = load_file(path)
    return weights
