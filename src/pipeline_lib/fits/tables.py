"""Polynomial fits of an experiment as long tables, judged against the exact variance."""

from collections.abc import Sequence
from itertools import product
from typing import get_args

import numpy as np
import pandas as pd

from pipeline_lib.artifacts.schemas import SCHEMAS
from pipeline_lib.estimation.statistics import ALL, STOCHASTIC
from pipeline_lib.fits.fitting import Basis, fit_polynomial, max_relative_error

_GRID_POINTS = 200


def fit_tables(
    variance: pd.DataFrame, exact: pd.DataFrame, n: int, steps: Sequence[int], degree: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of the ``fits`` and ``fitted_curves`` artefacts (Section 4.2, Figure 1b).

    The stochastic gradient's variance of all parameters is fitted at each of ``steps``, for both
    estimators, in 1/b and in c_b, with and without a constant term. Curves are given at every b
    between the smallest and the largest fitted and at points between them. ``exact`` is the
    ``theory`` table; relative errors are the largest over every b in the range fitted.
    """
    fits, curves = [], []
    keep = (variance["quantity"] == STOCHASTIC) & (variance["tensor"] == ALL)
    chosen = variance[keep & variance["step"].isin(steps)]
    truth = exact[(exact["quantity"] == STOCHASTIC) & (exact["tensor"] == ALL)]
    groups = chosen.groupby(["init", "step", "estimator"], observed=True)
    for (init, step, estimator), points in groups:
        sizes = np.arange(points["b"].min(), points["b"].max() + 1)
        # Between the first few integers the polynomial moves too fast to be drawn from them alone.
        grid = np.union1d(sizes, np.geomspace(sizes[0], sizes[-1], _GRID_POINTS))
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
                        "raw_condition_number": fit.raw_condition_number,
                        "condition_number": fit.condition_number,
                        "orthogonal_condition_number": fit.orthogonal_condition_number,
                        "max_rel_error_vs_exact": max_relative_error(fit, sizes, here.loc[sizes]),
                    }
                )
            )
            curves.append(
                pd.DataFrame(
                    {
                        **key,
                        "b": grid,
                        "fitted": fit.predict(grid),
                        "std_error": fit.prediction_std_error(grid),
                    }
                )
            )
    return (
        pd.concat(fits, ignore_index=True)[SCHEMAS["fits"].names],
        pd.concat(curves, ignore_index=True)[SCHEMAS["fitted_curves"].names],
    )
