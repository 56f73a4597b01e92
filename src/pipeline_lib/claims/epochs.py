"""E5, E6, E7 and E9: MNIST trained in epochs, Figures 3 and 4.

Losses, errors and gaps are compared after equal numbers of epochs, as in the figures; before the
first epoch all runs share their weights, and nothing is random.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline_lib.claims.catalogue import CLAIMS
from pipeline_lib.claims.comparisons import neighbours, pairs, whole_gradient
from pipeline_lib.claims.ordering import Ordering, decide, signs
from pipeline_lib.claims.p_values import WELCH
from pipeline_lib.claims.paper_settings import FIGURE_3A, FIGURE_3B, FIGURE_4
from pipeline_lib.claims.setting import Setting, noted, verdict_in_setting
from pipeline_lib.claims.verdict import SETTLED, Claim, Finding, finding, untested
from pipeline_lib.estimation.metrics import ERROR, GAP, LOSS, TRAINING, VALIDATION

FIRST_GAP = 500  # epochs
_CURVE = ["init", "epoch", "split", "metric"]
# Where the paper says the opposite of Section 4.2.
_OTHER_SENTENCE = {
    "E7": "the abstract (smaller batches, lower loss)",
    "E9": "Section 1 (smaller batches, better prediction)",
}


def metric_comparisons(
    metrics: pd.DataFrame, curves: Sequence[tuple[str, str]], first_epoch: int = 1
) -> pd.DataFrame:
    """`comparisons.neighbours` of a ``metric_summary`` table, for t tests.

    Args:
        curves: pairs (split, metric).
        first_epoch: epochs before it are left out.
    """
    rows = metrics.astype({"split": str, "metric": str})
    wanted = pd.Series(list(zip(rows["split"], rows["metric"], strict=True)), rows.index)
    rows = rows[wanted.isin(list(curves)) & (rows["epoch"] >= first_epoch)]
    # The error of a mean of n runs has n - 1 degrees of freedom; a test takes one less than dof.
    rows = rows.rename(columns={"mean": "variance"}).assign(reliable=True, dof=rows["n_runs"])
    return neighbours(rows, series=_CURVE).assign(test=WELCH)


def smallest_above_largest(
    variance: pd.DataFrame,
    here: Setting,
    alpha: float = 0.05,
    stated: Setting = FIGURE_3A,
    artefact: str | None = None,
) -> Finding:
    """E5 from the ``variance`` artefact of `mnist_inits`: whole gradient, two batch sizes.

    Every initial weights at the smaller b against every one at the larger, at each iteration that
    both record.
    """
    claim = CLAIMS["E5"]
    rows = whole_gradient(variance).rename(columns={"variance": "estimate"})
    keys = ["step", "quantity", "tensor"]
    rows = rows.assign(exact=np.nan).astype(dict.fromkeys(keys[1:], str))
    small, large = (rows[rows["b"] == b] for b in stated.batch_sizes)
    steps = sorted(set(small["step"]) & set(large["step"]))
    if not steps:
        sizes = " and ".join(map(str, stated.batch_sizes))
        return untested(claim, f"There is no iteration with both b = {sizes}.", f"b = {sizes}")
    comparisons = pairs(small[small["step"].isin(steps)], large[large["step"].isin(steps)], keys)
    ordering = decide(comparisons, alpha)
    least = small.groupby("step")["estimate"].min().loc[steps]
    most = large.groupby("step")["estimate"].max().loc[steps]
    ratio = (least / most).dropna()
    evidence = (
        f"At {int((ratio > 1).sum())} of {len(steps)} iterations that both record, the smallest of "
        f"the {small['init'].nunique()} estimates at b = {stated.batch_sizes[0]} is above the "
        f"largest at b = {stated.batch_sizes[1]}"
    )
    if len(ratio):
        evidence += f"; their ratio is least, {ratio.min():.3g}, at t = {ratio.idxmin()}"
    evidence = f"{evidence}. {ordering.describe()}"
    return ordered(claim, ordering, evidence, here, stated, artefact)


def gap_increases(
    metrics: pd.DataFrame,
    here: Setting,
    alpha: float = 0.05,
    stated: Setting = FIGURE_3B,
    artefact: str | None = None,
) -> Finding:
    """E6 from the ``metric_summary`` artefact of `mnist`: the gap from epoch 500 on.

    Where no epoch is that late, the order at the epochs that there are is given as evidence alone.
    """
    last = int(metrics["epoch"].max())
    late = last >= FIRST_GAP
    comparisons = metric_comparisons(metrics, [("distorted", GAP)], FIRST_GAP if late else 1)
    if comparisons.empty:
        return untested(CLAIMS["E6"], "There are no two gaps to compare.", "two batch sizes")
    ordering = decide(comparisons, alpha, "increasing")
    first = (
        "" if late else f"Training ends after {last:,} epochs; the claim begins at {FIRST_GAP}. "
    )
    evidence = (
        f"{first}After {span(comparisons)}, from b to the next larger b, the gap "
        f"{counts(comparisons, alpha)}."
    )
    found = ordered(CLAIMS["E6"], ordering, evidence, here, stated, artefact)
    return found if late else replace(found, verdict="not tested at this scale", p_value=None)


def training_loss_decreases(
    metrics: pd.DataFrame,
    here: Setting,
    alpha: float = 0.05,
    stated: Setting = FIGURE_4,
    artefact: str | None = None,
) -> Finding:
    """E7 from the ``metric_summary`` artefact of `mnist`; the verdict is on Section 4.2."""
    return _decreases(CLAIMS["E7"], metrics, [(TRAINING, LOSS)], here, alpha, stated, artefact)


def errors_decrease(
    metrics: pd.DataFrame,
    here: Setting,
    alpha: float = 0.05,
    stated: Setting = FIGURE_4,
    artefact: str | None = None,
) -> Finding:
    """E9 from the ``metric_summary`` artefact of `mnist`; the verdict is on Section 4.2."""
    curves = [(TRAINING, ERROR), (VALIDATION, ERROR)]
    return _decreases(CLAIMS["E9"], metrics, curves, here, alpha, stated, artefact)


def ordered(
    claim: Claim,
    ordering: Ordering,
    evidence: str,
    here: Setting,
    stated: Setting,
    artefact: str | None,
) -> Finding:
    """The finding of an order of sampled means, judged by the setting here against the stated."""
    verdict, needed = verdict_in_setting(ordering.verdict, here, stated, ordering.scale_needed())
    return finding(
        claim,
        verdict,
        noted(evidence, here.problem, stated.problem),
        exact=False,
        n_comparisons=ordering.n_comparisons,
        p_value=ordering.p_value if verdict in SETTLED else None,
        scale_needed=needed,
        artefact=artefact,
    )


def tallies(comparisons: pd.DataFrame, alpha: float) -> str:
    """By split and metric: in how many comparisons the mean falls with b, rises, or is open."""
    curves = comparisons["split"] + " " + comparisons["metric"]
    settled = signs(comparisons, alpha)  # one family, whatever part of it is told
    parts = ((name, (curves == name).to_numpy()) for name in curves.unique())
    return "; ".join(f"{name} {_counted(comparisons[at], settled[at])}" for name, at in parts)


def counts(comparisons: pd.DataFrame, alpha: float) -> str:
    """In how many comparisons of one family the mean falls with b, rises, or is open, and why."""
    return _counted(comparisons, signs(comparisons, alpha))


def _decreases(
    claim: Claim,
    metrics: pd.DataFrame,
    curves: Sequence[tuple[str, str]],
    here: Setting,
    alpha: float,
    stated: Setting,
    artefact: str | None,
) -> Finding:
    comparisons = metric_comparisons(metrics, curves)
    if comparisons.empty:
        lack = "two batch sizes and an epoch after the first"
        return untested(claim, "There are no two means to compare.", lack)
    ordering = decide(comparisons, alpha)
    evidence = (
        f"From b to the next larger b, after {span(comparisons)}, the "
        f"{tallies(comparisons, alpha)}. "
        f"{_side(claim, ordering.n_for, ordering.n_against)}{_when(comparisons, alpha)}"
    )
    return ordered(claim, ordering, evidence, here, stated, artefact)


def _side(claim: Claim, n_for: int, n_against: int) -> str:
    """Which of the paper's two sentences the settled comparisons agree with."""
    text = "Section 4.2 (a decreasing function of b)"
    other = _OTHER_SENTENCE[claim.id]
    if n_for and n_against:
        return f"Some agree with {text}, some with {other}."
    if not n_for and not n_against:
        return f"None is significant, so nothing speaks for {text} or for {other}."
    return f"All that are settled agree with {text if n_for else other}."


def _when(comparisons: pd.DataFrame, alpha: float) -> str:
    """A sentence on the epochs at which all comparisons are settled, and those where some are."""
    settled = pd.Series(signs(comparisons, alpha) != 0).groupby(comparisons["epoch"].to_numpy())
    every, some = settled.all(), settled.any()
    told = [
        f"{words} settled after epochs {_ranges(chosen)}"
        for words, chosen in (("All are", every), ("some are", some & ~every))
        if chosen.any()
    ]
    text = "; ".join(told)
    return f" {text[0].upper()}{text[1:]}." if told else ""


def _ranges(chosen: "pd.Series[bool]") -> str:
    """The chosen epochs, ``1 to 12, 16``; neighbours are those evaluated one after the other."""
    gaps = (~chosen).cumsum()[chosen]
    ends = [(part.index[0], part.index[-1]) for _, part in gaps.groupby(gaps)]
    return ", ".join(f"{a:,}" if a == b else f"{a:,} to {b:,}" for a, b in ends)


def _counted(comparisons: pd.DataFrame, settled: NDArray[np.int8]) -> str:
    falls, rises = int((settled > 0).sum()), int((settled < 0).sum())
    text = (
        f"falls in {falls:,}, rises in {rises:,} and is open in {settled.size - falls - rises:,} "
        f"of {settled.size:,} comparisons"
    )
    ends = comparisons[["estimate_small", "estimate_large"]].to_numpy(np.float64)
    why = {
        "both means are 0": int((ends == 0).all(axis=1).sum()),
        "a mean is missing": int(np.isnan(ends).any(axis=1).sum()),
    }
    told = ", ".join(f"in {n:,} because {reason}" for reason, n in why.items() if n)
    return f"{text} ({told})" if told else text


def span(comparisons: pd.DataFrame) -> str:
    """How many epochs are compared, and which."""
    epochs = sorted(comparisons["epoch"].unique())
    if len(epochs) == 1:
        return f"{epochs[0]:,} epochs"
    return f"{epochs[0]:,} to {epochs[-1]:,} epochs ({len(epochs):,} evaluations)"
