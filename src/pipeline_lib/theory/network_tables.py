"""Linear networks as long tables: degrees in 1/b and b_0 at any depth, two layers at t = 2."""

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline_lib.estimation.statistics import FULL, STOCHASTIC
from pipeline_lib.theory.bartlett import second_step_variance
from pipeline_lib.theory.batch_polynomial import Rational, decreasing_from
from pipeline_lib.theory.matrix_network import MatrixNetwork, degree_bound
from pipeline_lib.theory.studied_networks import SolvedNetwork, named_layers
from pipeline_lib.theory.two_layer import first_step_variance, initial_variance

Floats = NDArray[np.float64]

# The fields of `GradientVariance` and `StepVariance`, and what they are in tables.
_FIELDS = (
    ("g1", STOCHASTIC, "W1"),
    ("g2", STOCHASTIC, "W2"),
    ("population_g1", FULL, "W1"),
    ("population_g2", FULL, "W2"),
)


def network_degrees_table(solved: Iterable[SolvedNetwork]) -> pd.DataFrame:
    """Rows of the ``network_degrees`` artefact: degree in 1/b, its bound, and b_0 of Theorem 5.

    ``bound`` is ((2L − 1)^{t+1} − 1)/(L − 1) − t − 1 for the stochastic gradient and one less for
    the full one, which lacks the last S. b_0 is enclosed over the reals (missing where the variance
    is zero or increases for all large b) and given over the whole numbers.
    """
    rows = []
    for one in solved:
        for quantity, tensor, polynomial in named_layers(one.layers):
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


def _floats(matrix: Sequence[Sequence[Rational]]) -> Floats:
    return np.array([[float(Fraction(str(value))) for value in row] for row in matrix])
