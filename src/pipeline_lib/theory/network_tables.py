"""Linear networks of any depth as long tables: degrees, b_0, the counter-example, t = 2."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pandas as pd
from flint import fmpq_poly
from numpy.typing import NDArray

from pipeline_lib.estimation.inference import variance_interval
from pipeline_lib.estimation.statistics import FULL, STOCHASTIC
from pipeline_lib.estimation.variance import (
    Contributions,
    pool,
    rao_blackwell_contributions,
    sample_contributions,
    summarise,
    vector_moments,
)
from pipeline_lib.seeding import seed_sequence
from pipeline_lib.theory.bartlett import second_step_variance
from pipeline_lib.theory.batch_polynomial import Rational, decreasing_from, value_at
from pipeline_lib.theory.matrix_network import (
    LayerVariance,
    MatrixNetwork,
    degree_bound,
    layer_variances,
)
from pipeline_lib.theory.scalar_depth import DeepScalarNetwork, deep_scalar_variances
from pipeline_lib.theory.two_layer import (
    GradientVariance,
    conditional_variances,
    first_step_variance,
    initial_variance,
    population_gradients,
)

Floats = NDArray[np.float64]

# W1 = W2 = I and T = I − 10 J, J the rotation by 90 degrees, at learning rate 1 and t = 1. The
# product S J S = det(S) J vanishes where S has rank 1, as it has at b = 1: the variances rise from
# b = 1 to b = 2.
_IDENTITY = ((1, 0), (0, 1))
COUNTEREXAMPLE = MatrixNetwork((_IDENTITY, _IDENTITY), ((1, 10), (-10, 1)))
COUNTEREXAMPLE_RATE = Fraction(1)
_RATE = Fraction(1, 5)  # of the other networks
# Runs simulated together; part of the definition of the random streams.
CHUNK = 100_000


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


def network_degrees_table(solved: Iterable[SolvedNetwork]) -> pd.DataFrame:
    """Rows of the ``network_degrees`` artefact: degree in 1/b, its bound, and b_0 of Theorem 5.

    ``bound`` is ((2L − 1)^{t+1} − 1)/(L − 1) − t − 1 for the stochastic gradient and one less for
    the full one, which lacks the last S. b_0 is enclosed over the reals (missing where the variance
    is zero or increases for all large b) and given over the whole numbers.
    """
    rows = []
    for one in solved:
        for quantity, tensor, polynomial in _named(one.layers):
            start = decreasing_from(polynomial) if polynomial.degree() > 0 else None
            low, high = (np.nan, np.nan) if start is None else map(float, start.real)
            rows.append(
                {
                    "network": one.name,
                    "depth": one.depth,
                    "inputs": one.inputs,
                    "step": one.step,
                    "quantity": quantity,
                    "tensor": tensor,
                    "degree": max(polynomial.degree(), 0),
                    "bound": degree_bound(one.depth, one.step) - (quantity == FULL),
                    "decreasing_from_real_low": low,
                    "decreasing_from_real_high": high,
                    "decreasing_from_integer": None if start is None else start.integer,
                }
            )
    return pd.DataFrame(rows).astype({"decreasing_from_integer": "Int32"})


def counterexample_table(
    batch_sizes: Sequence[int], simulated: Sequence[int], n_runs: int, seed: int, level: float
) -> pd.DataFrame:
    """Rows of the ``b0_counterexample`` artefact: exact variances at t = 1, and estimates of some.

    The network is ``COUNTEREXAMPLE``. At the sizes in ``simulated`` there are estimates by
    ``rao_blackwell`` (``sample`` for the full gradients) from ``n_runs`` runs with intervals.
    """
    exact = layer_variances(COUNTEREXAMPLE, COUNTEREXAMPLE_RATE, 1)
    estimates: dict[tuple[int, str, str], tuple[float, float, float, float]] = {}
    for b in simulated:
        found = simulate_first_step(b, n_runs, seed)
        for (quantity, tensor), one in found.items():
            interval = variance_interval(one.n_replicas, one.mean, one.m2, one.m3, level)
            estimates[b, quantity, tensor] = (
                float(one.mean),
                float(interval.std_error),
                float(interval.low),
                float(interval.high),
            )
    rows = []
    for quantity, tensor, polynomial in _named(exact):
        for b in batch_sizes:
            missing = (np.nan,) * 4
            value = float(value_at(polynomial, b))
            rows.append(
                (b, quantity, tensor, value, *estimates.get((b, quantity, tensor), missing))
            )
    names = ["b", "quantity", "tensor", "exact", "variance", "std_error", "ci_low", "ci_high"]
    return pd.DataFrame(rows, columns=names)


def simulate_first_step(
    batch_size: int, n_runs: int, seed: int
) -> Mapping[tuple[str, str], Contributions]:
    """Monte Carlo of ``COUNTEREXAMPLE`` at t = 1, by quantity and tensor, from R runs."""
    w1, w2 = (np.array(matrix, dtype=np.float64) for matrix in COUNTEREXAMPLE.weights)
    target = np.array(COUNTEREXAMPLE.teacher, dtype=np.float64)
    rate = float(COUNTEREXAMPLE_RATE)
    gap = w2 @ w1 - target
    blocks: dict[tuple[str, str], list[Contributions]] = {}
    n_chunks = -(-n_runs // CHUNK)
    for chunk in range(n_chunks):
        size = n_runs // n_chunks + (chunk < n_runs % n_chunks)
        stream = seed_sequence(seed, "b0_counterexample", batch_size, n_runs, chunk)
        x = np.random.default_rng(stream).standard_normal((size, batch_size, 2))
        s = np.swapaxes(x, -1, -2) @ x / batch_size
        moved_1, moved_2 = w1 - rate * w2.T @ gap @ s, w2 - rate * gap @ s @ w1.T
        own = conditional_variances(moved_1, moved_2, target, batch_size)
        full = population_gradients(moved_1, moved_2, target)
        for k, (conditional, gradient) in enumerate(zip(own, full, strict=True), start=1):
            spread = vector_moments(gradient.reshape(size, -1)).sq_deviations
            for quantity, values in (
                (STOCHASTIC, rao_blackwell_contributions(conditional, spread)),
                (FULL, sample_contributions(spread)),
            ):
                blocks.setdefault((quantity, f"W{k}"), []).append(summarise(values))
    return {key: pool(parts) for key, parts in blocks.items()}


def second_step_table(
    networks: Mapping[str, tuple[MatrixNetwork, Rational]], batch_sizes: Sequence[int]
) -> pd.DataFrame:
    """Rows of the ``network_theory`` artefact: two-layer networks with p <= 2 at t = 0, 1, 2.

    Args:
        networks: by name, each with its constant learning rate.
    """
    rows = []
    for name, (network, exact_rate) in networks.items():
        rate = float(exact_rate)
        w1, w2 = (_floats(matrix) for matrix in network.weights)
        target = _floats(network.teacher)
        early = [initial_variance(w1, w2, target), first_step_variance(w1, w2, target, rate)]
        for b in batch_sizes:
            last = second_step_variance((w1, w2), target, (rate, rate), b)
            at = [*(one.at(b) for one in early), vars(last)]
            for step, values in enumerate(at):
                for field, quantity, tensor in _FIELDS:
                    rows.append((name, b, step, quantity, tensor, values[field]))
    names = ["network", "b", "step", "quantity", "tensor", "variance"]
    return pd.DataFrame(rows, columns=names)


_FIELDS = (
    ("g1", STOCHASTIC, "W1"),
    ("g2", STOCHASTIC, "W2"),
    ("population_g1", FULL, "W1"),
    ("population_g2", FULL, "W2"),
)
assert {name for name, _, _ in _FIELDS} == set(GradientVariance.__dataclass_fields__)


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


def _named(layers: Sequence[LayerVariance]) -> Iterator[tuple[str, str, fmpq_poly]]:
    for k, layer in enumerate(layers, start=1):
        yield STOCHASTIC, f"W{k}", layer.stochastic
        yield FULL, f"W{k}", layer.population


def _floats(matrix: Sequence[Sequence[Rational]]) -> Floats:
    return np.array([[float(Fraction(str(value))) for value in row] for row in matrix])
