"""Variances averaged over the steps of an epoch, as Figure 5 of the paper shows them."""

import numpy as np
import pandas as pd
from scipy import special  # scipy.stats takes a second to import

from pipeline_lib.artifacts.schemas import SCHEMAS

_KEY = ["init", "b", "epoch", "quantity", "tensor", "estimator"]
_SUMMED = ["variance", "std_error"]


def epoch_variances(variance: pd.DataFrame, level: float) -> pd.DataFrame:
    """Rows of the ``epoch_variance`` artefact: means over the recorded steps of each epoch.

    ``variance`` is the artefact of that name, with epochs. The estimates of two steps come from
    the same runs and are correlated, and no artefact holds moments across steps. So ``std_error``
    is the mean of the steps' standard errors: no correlation gives more (Cauchy-Schwarz), and it is
    exact if a run keeps its place in every step. ``ci_low`` and ``ci_high`` are the normal interval
    at ``level`` of the logarithm (by the delta method), since a variance is positive and its
    estimate skewed. Numbers are missing if those of any step of the epoch are.
    """
    columns = [*_KEY, "n_runs", "n_diverged", *_SUMMED]
    groups = variance[columns].groupby(_KEY, sort=True, observed=True)
    table = groups.agg(
        n_steps=("n_runs", "size"), n_runs=("n_runs", "max"), n_diverged=("n_diverged", "max")
    )
    # A missing number of any step counts: the default would leave the step out.
    complete = groups[_SUMMED].count().eq(table["n_steps"], axis=0)
    means = groups[_SUMMED].mean().where(complete)
    table[_SUMMED] = means
    with np.errstate(invalid="ignore"):  # a variance of 0 has no scatter either
        half = special.ndtri((1 + level) / 2) * means["std_error"] / means["variance"]
    factor = np.exp(half.where(means["variance"] != 0, 0.0))
    table["ci_low"] = means["variance"] / factor
    table["ci_high"] = means["variance"] * factor
    return pd.DataFrame(table.reset_index()[SCHEMAS["epoch_variance"].names])
