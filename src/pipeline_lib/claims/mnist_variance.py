"""E13 and E14: the variance on MNIST at all four batch sizes, and from several initial weights."""

from itertools import permutations

import numpy as np
import pandas as pd

from pipeline_lib.claims.catalogue import CLAIMS
from pipeline_lib.claims.comparisons import shared_steps, whole_gradient
from pipeline_lib.claims.epochs import ordered
from pipeline_lib.claims.ordering import decide
from pipeline_lib.claims.paper_settings import FIGURE_3A, FIGURE_4
from pipeline_lib.claims.setting import Setting
from pipeline_lib.claims.verdict import Finding, untested

LARGE = 2.0  # what doubling the batch size does


def decreasing_on_mnist(
    variance: pd.DataFrame,
    here: Setting,
    alpha: float = 0.05,
    stated: Setting = FIGURE_4,
    artefact: str | None = None,
) -> Finding:
    """E13 from the ``variance`` artefact of `mnist`: whole gradient, iterations of both sizes."""
    claim = CLAIMS["E13"]
    comparisons = shared_steps(whole_gradient(variance))
    if not len(comparisons):
        return untested(claim, "There are no two estimates to compare.", "two batch sizes")
    ordering = decide(comparisons, alpha)
    steps = sorted(comparisons["step"].unique())
    ratio = comparisons["estimate_small"] / comparisons["estimate_large"]
    evidence = (
        f"{len(steps)} recorded iterations, t = {steps[0]:,} to {steps[-1]:,}: the variance at b "
        f"is {ratio.min():.3g} to {ratio.max():.3g} times that at the next larger b. "
        f"{ordering.describe()}"
    )
    return ordered(claim, ordering, evidence, here, stated, artefact)


def little_sensitive(
    variance: pd.DataFrame,
    here: Setting,
    alpha: float = 0.05,
    stated: Setting = FIGURE_3A,
    artefact: str | None = None,
) -> Finding:
    """E14 from the ``variance`` artefact of `mnist_inits`: ratios between initial weights."""
    claim = CLAIMS["E14"]
    rows = whole_gradient(variance).rename(columns={"variance": "estimate"})
    inits = sorted(rows["init"].unique())
    if len(inits) < 2:
        return untested(claim, "There is one draw of initial weights.", "two initial weights")
    comparisons = pd.concat([_against(rows, one, two) for one, two in permutations(inits, 2)])
    ordering = decide(comparisons, alpha)
    at = rows.groupby(["b", "step"])["estimate"]
    spread = (at.max() / at.min()).dropna().rename("ratio").reset_index()
    widest = spread.loc[spread["ratio"].idxmax()]
    evidence = (
        f"The largest estimate of {len(inits)} initial weights is "
        f"{spread['ratio'].median():.3g} times the smallest in the median of {len(spread)} batch "
        f"sizes and iterations, "
        f"{widest['ratio']:.3g} times at most (b = {widest['b']:.0f}, t = {widest['step']:,.0f}). "
        f"Ratios below {LARGE:g}: {ordering.describe()}"
    )
    return ordered(claim, ordering, evidence, here, stated, artefact)


def _against(rows: pd.DataFrame, one: int, two: int) -> pd.DataFrame:
    """Comparisons that are settled in favour where the ratio of init ``two`` to ``one`` is small.

    Twice the variance of one is compared with that of the other, at the same b and step.
    """
    columns = ["b", "step", "estimate", "std_error", "n_runs", "dof", "reliable"]
    doubled, other = (rows.loc[rows["init"] == init, columns] for init in (one, two))
    doubled = doubled.assign(
        estimate=LARGE * doubled["estimate"], std_error=LARGE * doubled["std_error"]
    )
    merged = doubled.merge(other, on=["b", "step"], suffixes=("_small", "_large"))
    return merged.assign(exact_small=np.nan, exact_large=np.nan)
