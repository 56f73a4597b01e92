"""Which estimates are compared: pairs of batch sizes, one row each.

A row of a `variance`-shaped table is an estimate from `n_runs` runs of a non-negative quantity,
with its standard error. Neighbouring batch sizes are compared at every step, for every init,
quantity and tensor. `ordering` settles what is compared here.
"""

from itertools import pairwise

import numpy as np
import pandas as pd

from pipeline_lib.estimation.statistics import ALL, FULL, STOCHASTIC

SERIES = ["init", "step", "quantity", "tensor"]


def neighbours(
    table: pd.DataFrame, exact: pd.DataFrame | None = None, series: list[str] | None = None
) -> pd.DataFrame:
    """Every comparison of a batch size with the next larger one of ``table``.

    Args:
        table: the columns of ``series``, ``b``, ``variance``, ``std_error``, ``n_runs``, ``dof``
            and ``reliable``, one row each (one estimator; see `best_estimator`).
        exact: ``theory`` rows, the columns of ``series``, ``b`` and ``variance``.
        series: what tells one curve in b from another; default ``SERIES``.

    Returns: one row a comparison: ``series``, ``b_small``, ``b_large``, the estimates and exact
        values of both (suffixes ``_small`` and ``_large``; exact ones nan where not given).

    The full gradient at step 0 is left out: it is not random.
    """
    keys = SERIES if series is None else series
    given = table[~_not_random(table)]
    if given.duplicated([*keys, "b"]).any():
        raise ValueError(f"more than one row for the same {', '.join([*keys, 'b'])}")
    columns = [*keys, "b", "variance", "std_error", "n_runs", "dof", "reliable"]
    rows = given[columns].rename(columns={"variance": "estimate"})
    for name in keys:
        if isinstance(rows[name].dtype, pd.CategoricalDtype):
            rows[name] = rows[name].astype(str)
    rows["exact"] = np.nan
    if exact is not None:
        wanted = exact["b"].isin(rows["b"].unique())
        known = exact.loc[wanted, [*keys, "b", "variance"]].rename(columns={"variance": "exact"})
        known = known.astype({name: rows[name].dtype for name in keys})
        rows = rows.drop(columns="exact").merge(known, on=[*keys, "b"], how="left")
    sizes = sorted(rows["b"].unique())
    parts = [
        pairs(rows[rows["b"] == small], rows[rows["b"] == large], keys)
        for small, large in pairwise(sizes)
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def pairs(first: pd.DataFrame, second: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Comparisons of every row of ``first`` with every row of ``second`` that shares its ``keys``.

    Both have the columns ``keys``, ``b``, ``estimate``, ``std_error``, ``n_runs``, ``dof``,
    ``reliable`` and ``exact``; with the initial weights left out of ``keys``, all of them are
    crossed (Figure 3a).
    """
    columns = [*keys, "b", "estimate", "std_error", "n_runs", "dof", "reliable", "exact"]
    return first[columns].merge(
        second[columns], on=keys, how="outer", suffixes=("_small", "_large")
    )


def _not_random(table: pd.DataFrame) -> "pd.Series[bool]":
    if not {"quantity", "step"} <= set(table.columns):
        return pd.Series(False, index=table.index)
    return (table["quantity"] == FULL) & (table["step"] == 0)


def best_estimator(variance: pd.DataFrame) -> pd.DataFrame:
    """The rows of the Rao-Blackwellised estimator where there is one, of the plain one elsewhere.

    Both estimate the same variance without bias from the same runs, the former with less noise.
    """
    key = [*SERIES, "b"]
    blackwell = variance[variance["estimator"] == "rao_blackwell"]
    sample = variance[variance["estimator"] == "sample"]
    covered = pd.MultiIndex.from_frame(sample[key]).isin(pd.MultiIndex.from_frame(blackwell[key]))
    return pd.concat([blackwell, sample[~covered]], ignore_index=True)


def whole_gradient(variance: pd.DataFrame) -> pd.DataFrame:
    """The rows of the stochastic gradient, all tensors together, by the `best_estimator`."""
    rows = best_estimator(variance[variance["tensor"] == ALL])
    return rows[rows["quantity"] == STOCHASTIC]


def shared_steps(rows: pd.DataFrame) -> pd.DataFrame:
    """`neighbours` at the steps that both batch sizes record; a larger one takes fewer an epoch.

    A row with runs but no estimate is of runs that diverged, and stays.
    """
    comparisons = neighbours(rows)
    if not len(comparisons):
        return comparisons
    return comparisons.dropna(subset=["n_runs_small", "n_runs_large"])
