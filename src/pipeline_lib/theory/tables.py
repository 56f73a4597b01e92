"""Exact theory as long tables, ready to be written."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from pipeline_lib.artifacts.schemas import SCHEMAS
from pipeline_lib.estimation.noise_scale import noise_scale
from pipeline_lib.estimation.statistics import ALL, FULL, STOCHASTIC
from pipeline_lib.theory.linear_regression import ExactMoments
from pipeline_lib.theory.polynomial import VariancePolynomial
from pipeline_lib.theory.two_layer import GradientVariance


def theory_table(moments: ExactMoments, init: int) -> pd.DataFrame:
    """Rows of the ``theory`` artefact: both quantities for every b and step.

    Values beyond the range of float64 have no row.
    """
    parts = []
    n_steps = len(moments.full_gradient)
    for quantity, values in (
        (STOCHASTIC, moments.stochastic_gradient),
        (FULL, moments.full_gradient),
    ):
        parts.append(
            pd.DataFrame(
                {
                    "init": init,
                    "b": np.repeat(moments.batch_sizes, n_steps),
                    "step": np.tile(np.arange(n_steps), len(moments.batch_sizes)),
                    "quantity": quantity,
                    "tensor": ALL,
                    "variance": values.T.ravel(),
                }
            )
        )
    return pd.concat(parts, ignore_index=True).dropna(subset="variance", ignore_index=True)


def expected_loss_table(moments: ExactMoments, init: int) -> pd.DataFrame:
    """Rows of the ``expected_loss`` artefact: E[L(w_t) | F_0] for every finite value."""
    n_steps = len(moments.expected_loss)
    table = pd.DataFrame(
        {
            "init": init,
            "b": np.repeat(moments.batch_sizes, n_steps),
            "step": np.tile(np.arange(n_steps), len(moments.batch_sizes)),
            "loss": moments.expected_loss.T.ravel(),
        }
    )
    return table.dropna(subset="loss", ignore_index=True)


def exact_noise_scale_table(moments: ExactMoments, init: int) -> pd.DataFrame:
    """Rows of the ``noise_scale`` artefact: the two parts and their ratio for every b and step.

    Values beyond the range of float64 have no row.
    """
    n_steps = len(moments.sq_gradient)
    trace, sq_gradient = moments.example_variance.T.ravel(), moments.sq_gradient.T.ravel()
    ratio = noise_scale(trace, sq_gradient)
    table = pd.DataFrame(
        {
            "init": init,
            "b": np.repeat(moments.batch_sizes, n_steps),
            "step": np.tile(np.arange(n_steps), len(moments.batch_sizes)),
            "epoch": pd.array([pd.NA] * len(ratio), dtype="Int32"),
            "tensor": ALL,
            "trace": trace,
            "sq_gradient": sq_gradient,
            "noise_scale": ratio,
            "ci_low": ratio,
            "ci_high": ratio,
            "n_runs": pd.array([pd.NA] * len(ratio), dtype="Int32"),
            "exact": True,
            "reliable": np.isfinite(ratio),
            "n_diverged": 0,
        }
    )
    return table.dropna(subset=["trace", "sq_gradient"], ignore_index=True)


def polynomial_table(polynomials: Iterable[VariancePolynomial], init: int) -> pd.DataFrame:
    """Rows of the ``polynomial`` artefact, coefficients to 40 digits and in float64.

    ``float64_error`` is the largest relative error, over every b, of evaluating the polynomial from
    its float64 coefficients in float64; ``relative_radius`` bounds the error of the digits.
    """
    parts = []
    for polynomial in polynomials:
        coefficients = polynomial.as_float()
        parts.append(
            pd.DataFrame(
                {
                    "init": init,
                    "step": polynomial.step,
                    "quantity": polynomial.quantity,
                    "tensor": ALL,
                    "basis": polynomial.basis,
                    "power": np.arange(len(coefficients)),
                    "coefficient": coefficients,
                    "coefficient_decimal": polynomial.as_decimal(40),
                    "relative_radius": polynomial.radius(),
                    "float64_error": polynomial.float64_error(range(1, polynomial.n + 1)),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def two_layer_theory_table(
    variances: Sequence[GradientVariance], batch_sizes: Sequence[int], init: int
) -> pd.DataFrame:
    """Rows of the ``theory`` artefact from ``variances[t]`` of step t, for every given b.

    Tensor ``all`` is both weight matrices together, whose variances add.
    """
    rows = []
    for step, variance in enumerate(variances):
        for b in batch_sizes:
            at = variance.at(b)
            for quantity, prefix in ((STOCHASTIC, ""), (FULL, "population_")):
                first, second = at[f"{prefix}g1"], at[f"{prefix}g2"]
                for tensor, value in (("W1", first), ("W2", second), (ALL, first + second)):
                    rows.append((init, b, step, quantity, tensor, value))
    return pd.DataFrame(rows, columns=SCHEMAS["theory"].names)
