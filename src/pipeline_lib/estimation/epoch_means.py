"""Variances averaged over the steps of an epoch, as Figure 5 of the paper shows them."""

import numpy as np
import pandas as pd

from pipeline_lib.artifacts.schemas import SCHEMAS
from pipeline_lib.estimation.inference import variance_interval

_KEY = ["init", "b", "epoch", "quantity", "tensor", "estimator"]
_SUMMED = ["variance", "std_error"]


def epoch_variances(variance: pd.DataFrame, level: float) -> pd.DataFrame:
    """Rows of the ``epoch_variance`` artefact: means over the recorded steps of each epoch.

    ``variance`` is the artefact of that name, with epochs. The estimates of two steps come from
    the same runs and are correlated, and no artefact holds moments across steps. So ``std_error``
    is the mean of the steps' standard errors: no correlation gives more (Cauchy-Schwarz), and it is
    exact if a run keeps its place in every step. Steps that move together err together, so the
    error of the mean has as few degrees of freedom as that of one step, dof - 1. ``ci_low`` and
    ``ci_high`` are `inference.variance_interval` with it, at the least skewness, since the third
    moments are not in ``variance``. Numbers are missing if those of any step of the epoch are.
    """
    columns = [*_KEY, "n_runs", "dof", "n_diverged", *_SUMMED]
    groups = variance[columns].groupby(_KEY, sort=True, observed=True)
    table = groups.agg(
        n_steps=("n_runs", "size"),
        n_runs=("n_runs", "max"),
        dof=("dof", "min"),
        n_diverged=("n_diverged", "max"),
    )
    # A missing number of any step counts: the default would leave the step out.
    complete = groups[_SUMMED].count().eq(table["n_steps"], axis=0)
    means = groups[_SUMMED].mean().where(complete)
    table[_SUMMED] = means
    n, dof = (table[name].to_numpy(np.float64) for name in ("n_runs", "dof"))
    mean, error = (means[name].to_numpy() for name in _SUMMED)
    m2 = error**2 * n * np.maximum(dof - 1, 0)
    interval = variance_interval(n, mean, m2, 0.0, level, dof=dof)
    table["ci_low"], table["ci_high"] = interval.low, interval.high
    return pd.DataFrame(table.reset_index()[SCHEMAS["epoch_variance"].names])
