"""H1: whether an experiment of a given number of runs sees the true variance."""

import numpy as np
import pandas as pd
from scipy import stats

from pipeline_lib.claims.catalogue import CLAIMS
from pipeline_lib.claims.verdict import Finding, Verdict, finding, untested
from pipeline_lib.estimation.inference import holm


def runs_see_the_variance(
    repeats: pd.DataFrame,
    runs: int = 1000,
    largest_b: int = 4,
    tolerated: float = 0.1,
    alpha: float = 0.05,
    artefact: str | None = None,
) -> Finding:
    """H1 from the ``heavy_tails_repeats`` artefact: small b, every step, layer, plain estimator.

    The intervals (nominally at 95 %) may miss the exact variance in at most the share ``tolerated``
    of the repeats. Two exact binomial tests for every row, each family Holm-adjusted: a miss rate
    above ``tolerated`` somewhere refutes the claim, one below it everywhere confirms it.
    """
    rows = repeats[
        (repeats["estimator"] == "sample") & (repeats["runs"] == runs) & (repeats["b"] <= largest_b)
    ]
    if rows.empty:
        evidence = f"No repeated experiments of {runs:,} runs with b up to {largest_b}."
        return untested(CLAIMS["H1"], evidence, f"repeats of {runs:,} runs")
    n = rows["repeats"].to_numpy()
    share = (rows["missed_below"] + rows["missed_above"]).to_numpy()
    missed = np.rint(share * n)
    above = holm(stats.binom.sf(missed - 1, n, tolerated))
    below = holm(stats.binom.cdf(missed, n, tolerated))
    worst = rows.iloc[int(np.argmax(share))]
    evidence = (
        f"With {runs:,} runs the interval misses the exact variance in up to {share.max():.1%} of "
        f"{worst['repeats']:,} repeats (b = {worst['b']}, t = {worst['step']}, {worst['tensor']}), "
        f"and the median estimate there is {worst['median'] / worst['exact']:.2g} of the exact "
        f"value. Of {len(rows)} cases (a batch size, a step, a layer) {int((above < alpha).sum())} "
        f"miss it significantly more often than {100 * tolerated:g} %, "
        f"{int((below < alpha).sum())} less."
    )
    verdict: Verdict = "not tested at this scale"
    p = None
    if (above < alpha).any():
        verdict, p = "refuted", above.min()
    elif (below < alpha).all():
        verdict, p = "confirmed", below.max()
    elif (below < alpha).any():
        verdict, p = "partly", below.min()
    return finding(
        CLAIMS["H1"],
        verdict,
        evidence,
        exact=False,
        n_comparisons=len(rows),
        p_value=None if p is None else float(p),
        scale_needed=None if verdict in ("confirmed", "refuted") else "more repeats",
        artefact=artefact,
    )
