"""The linear networks whose exact variances the study tells, and the counter-example among them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np
from flint import fmpq_poly

from pipeline_lib.estimation.statistics import FULL, STOCHASTIC
from pipeline_lib.seeding import seed_sequence
from pipeline_lib.theory.batch_polynomial import Rational
from pipeline_lib.theory.matrix_network import LayerVariance, MatrixNetwork, layer_variances
from pipeline_lib.theory.scalar_depth import DeepScalarNetwork, deep_scalar_variances

# W1 = W2 = I and T = I − 10 J, J the rotation by 90 degrees, at learning rate 1 and t = 1. The
# product S J S = det(S) J vanishes where S has rank 1, as it has at b = 1: the variances rise from
# b = 1 to b = 2.
_IDENTITY = ((1, 0), (0, 1))
COUNTEREXAMPLE = MatrixNetwork((_IDENTITY, _IDENTITY), ((1, 10), (-10, 1)))
COUNTEREXAMPLE_RATE = Fraction(1)
_RATE = Fraction(1, 5)  # of the other networks


@dataclass(frozen=True)
class SolvedNetwork:
    """A network with its exact variances at one step."""

    name: str
    depth: int
    inputs: int
    step: int
    layers: Sequence[LayerVariance]


def solved_matrix(
    name: str, network: MatrixNetwork, rate: Rational, steps: Iterable[int] = (0, 1)
) -> Iterator[SolvedNetwork]:
    """A matrix network at t = 0 and 1."""
    for step in steps:
        layers = layer_variances(network, rate, step)
        yield SolvedNetwork(name, len(layers), len(network.teacher[0]), step, layers)


def solved_scalar(
    name: str, network: DeepScalarNetwork, rate: Rational, max_step: int
) -> Iterator[SolvedNetwork]:
    """A network of one unit a layer at t = 0, …, max_step."""
    for step in range(max_step + 1):
        layers = deep_scalar_variances(network, [rate] * step, step)
        yield SolvedNetwork(name, network.depth, 1, step, layers)


def studied_networks(seed: int) -> dict[str, tuple[MatrixNetwork, Rational]]:
    """The counter-example and random networks of several depths and widths, with their rates."""
    networks: dict[str, tuple[MatrixNetwork, Rational]] = {
        "counter-example 2-2-2": (COUNTEREXAMPLE, COUNTEREXAMPLE_RATE)
    }
    for widths in ((2, 2, 2), (2, 4, 3), (3, 3, 3), (2, 2, 2, 2), (2, 3, 2, 2, 2)):
        name = "-".join(map(str, widths))
        rng = np.random.default_rng(seed_sequence(seed, "networks", name))
        networks[f"random {name}"] = random_network(widths, rng, 4), _RATE
    return networks


def studied_scalar_networks() -> dict[str, DeepScalarNetwork]:
    """One unit a layer, one to five layers; two of them are the network of `scalar_network`."""
    weights = (Fraction(3, 2), Fraction(-1, 2), Fraction(2, 3), Fraction(5, 4), Fraction(-4, 5))
    return {
        f"scalar, {depth} layer{'s' * (depth > 1)}": DeepScalarNetwork(weights[:depth], 1)
        for depth in range(1, 6)
    }


def solve_studied(seed: int, max_step: int = 2) -> Iterator[SolvedNetwork]:
    """All of them, at t <= 1 (matrices) and t <= max_step (one unit a layer)."""
    for name, (network, rate) in studied_networks(seed).items():
        yield from solved_matrix(name, network, rate)
    for name, scalar in studied_scalar_networks().items():
        yield from solved_scalar(name, scalar, _RATE, max_step)


def random_network(
    widths: Sequence[int], rng: np.random.Generator, denominator: int
) -> MatrixNetwork:
    """Weights and teacher of random fractions between −1 and 1 with that denominator.

    Args:
        widths: of the inputs, the hidden layers and the output, in that order.
    """

    def draw(rows: int, columns: int) -> list[list[Fraction]]:
        numbers = rng.integers(-denominator, denominator + 1, (rows, columns)).tolist()
        return [[Fraction(value, denominator) for value in row] for row in numbers]

    weights = tuple(draw(rows, columns) for columns, rows in pairwise(widths))
    return MatrixNetwork(weights, draw(widths[-1], widths[0]))


def named_layers(layers: Sequence[LayerVariance]) -> Iterator[tuple[str, str, fmpq_poly]]:
    """(quantity, tensor, polynomial in 1/b) of both gradients of every layer."""
    for k, layer in enumerate(layers, start=1):
        yield STOCHASTIC, f"W{k}", layer.stochastic
        yield FULL, f"W{k}", layer.population
