"""Draws of the initial weights that training and theory share."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

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


def with_biases(weights: Mapping[str, Floats]) -> dict[str, Floats]:
    """``weights`` W1, W2, ... with biases b1, b2, ... of 0, one for each row."""
    biases = {f"b{k}": np.zeros(len(weight)) for k, weight in enumerate(weights.values(), start=1)}
    return {**weights, **biases}
