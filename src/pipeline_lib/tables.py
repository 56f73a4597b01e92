"""Exact theory and fits as long tables, one column order each, ready to be written."""

from collections.abc import Iterable, Sequence
from itertools import product
from typing import get_args

import numpy as np
import pandas as pd

from pipeline_lib.artifacts import SCHEMAS
from pipeline_lib.fitting import Basis, fit_polynomial, max_relative_error
from pipeline_lib.statistics import ALL, FULL, STOCHASTIC
from pipeline_lib.theory.linear_regression import ExactMoments
from pipeline_lib.theory.polynomial import VariancePolynomial
from pipeline_lib.theory.two_layer import GradientVariance


def theory_table(moments: ExactMoments, init: int) -> pd.DataFrame:
    """Rows of the ``theory`` artefact: both quantities for every b and step."""
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
    return pd.concat(parts, ignore_index=True)


def expected_loss_table(moments: ExactMoments, init: int) -> pd.DataFrame:
    """Rows of the ``expected_loss`` artefact: E[L(w_t) | F_0] for every b and step."""
    n_steps = len(moments.expected_loss)
    return pd.DataFrame(
        {
            "init": init,
            "b": np.repeat(moments.batch_sizes, n_steps),
            "step": np.tile(np.arange(n_steps), len(moments.batch_sizes)),
            "loss": moments.expected_loss.T.ravel(),
        }
    )


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


def fit_tables(
    variance: pd.DataFrame, exact: pd.DataFrame, n: int, steps: Sequence[int], degree: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of the ``fits`` and ``fitted_curves`` artefacts (Section 4.2, Figure 1b).

    The stochastic gradient's variance of all parameters is fitted at each of ``steps``, for both
    estimators, in 1/b and in c_b, with and without a constant term. ``exact`` is the ``theory``
    table; relative errors are the largest over every b between the smallest and largest b fitted.
    """
    fits, curves = [], []
    keep = (variance["quantity"] == STOCHASTIC) & (variance["tensor"] == ALL)
    chosen = variance[keep & variance["step"].isin(steps)]
    truth = exact[(exact["quantity"] == STOCHASTIC) & (exact["tensor"] == ALL)]
    groups = chosen.groupby(["init", "step", "estimator"], observed=True)
    for (init, step, estimator), points in groups:
        sizes = np.arange(points["b"].min(), points["b"].max() + 1)
        here = truth[(truth["init"] == init) & (truth["step"] == step)].set_index("b")["variance"]
        for basis, constant in product(get_args(Basis), (True, False)):
            fit = fit_polynomial(
                points["b"], points["variance"], points["std_error"], n, degree, basis, constant
            )
            key = {
                "init": init,
                "step": step,
                "quantity": STOCHASTIC,
                "tensor": ALL,
                "estimator": estimator,
                "basis": basis,
                "constant": constant,
            }
            fits.append(
                pd.DataFrame(
                    {
                        **key,
                        "degree": degree,
                        "power": fit.powers,
                        "coefficient": fit.coefficients,
                        "std_error": fit.std_errors,
                        "r_squared": fit.r_squared,
                        "chi_squared": fit.chi_squared,
                        "dof": fit.dof,
                        "condition_number": fit.condition_number,
                        "max_rel_error_vs_exact": max_relative_error(fit, sizes, here.loc[sizes]),
                    }
                )
            )
            curves.append(
                pd.DataFrame(
                    {
                        **key,
                        "b": sizes,
                        "fitted": fit.predict(sizes),
                        "std_error": fit.prediction_std_error(sizes),
                    }
                )
            )
    return (
        pd.concat(fits, ignore_index=True)[SCHEMAS["fits"].names],
        pd.concat(curves, ignore_index=True)[SCHEMAS["fitted_curves"].names],
    )


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
