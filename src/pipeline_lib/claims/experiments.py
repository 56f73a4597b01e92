"""E1, E4 and E12: Figures 1a and 2, and the p-values that the paper attaches to its figures."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline_lib.claims.catalogue import CLAIMS
from pipeline_lib.claims.comparisons import best_estimator, neighbours
from pipeline_lib.claims.extent import FIGURE_1A, FIGURE_2, Extent, missing
from pipeline_lib.claims.ordering import decide
from pipeline_lib.claims.p_values import unadjusted_p_values
from pipeline_lib.claims.setting import Problem, departures
from pipeline_lib.claims.verdict import Claim, Finding, Verdict, finding
from pipeline_lib.estimation.statistics import ALL


@dataclass(frozen=True, eq=False)
class Figure:
    """The ``variance`` table of the ``problem`` configured here, and what the paper states."""

    variance: pd.DataFrame
    problem: Problem
    stated: Extent


def decreasing_on_admissions(
    variance: pd.DataFrame,
    theory: pd.DataFrame,
    alpha: float = 0.05,
    extent: Extent = FIGURE_1A,
    artefact: str | None = None,
) -> Finding:
    """E1 from the ``variance`` and ``theory`` artefacts of `admission`.

    Tables that cover less than ``extent`` leave the claim partly confirmed at best.
    """
    return _decreasing(CLAIMS["E1"], variance, theory, (ALL,), alpha, extent, artefact)


def decreasing_in_two_layers(
    variance: pd.DataFrame,
    theory: pd.DataFrame | None,
    alpha: float = 0.05,
    extent: Extent = FIGURE_2,
    artefact: str | None = None,
) -> Finding:
    """E4 from the artefacts of `teacher_student`; ``theory`` holds the steps known exactly.

    Tables that cover less than ``extent`` leave the claim partly confirmed at best.
    """
    tensors = ("W1", "W2")
    return _decreasing(CLAIMS["E4"], variance, theory, tensors, alpha, extent, artefact)


def stated_p_values(
    figures: Mapping[str, Figure], level: float = 0.05, artefact: str | None = None
) -> Finding:
    """E12: with the stated runs, is the p-value of every comparison below ``level``?

    The paper names no test. Ours is of the plain estimate at b against the one at the next larger
    b, at every step that the figure covers, one-sided and not adjusted; sizes and steps beyond the
    figure's are left out. A figure of another problem or of another number of runs than stated is
    not judged, one with fewer batch sizes or steps cannot confirm; a missing estimate counts as not
    below. P-values vary from one experiment to the next, so one above ``level`` is no refutation,
    but none below it is.
    """
    sentences, waiting, every, below = [], [], [], []
    for name, figure in figures.items():
        plain = figure.variance[figure.variance["estimator"] == "sample"]
        runs, stated = int(plain["n_runs"].min()), figure.stated
        lacking = departures(figure.problem, stated.problem)
        if runs != stated.runs:
            lacking.append(f"{stated.runs:,} runs a batch size (here {runs:,})")
        judged = not lacking
        lacking += missing(stated, plain["b"], _steps(plain))
        if lacking:
            waiting.append(f"{' and '.join(lacking)} for {name}")
        if not judged:
            continue
        shown = plain["b"].isin(stated.batch_sizes) & (plain["step"] < stated.steps)
        comparisons = neighbours(plain[shown])
        if comparisons.empty:  # there are not two of the figure's batch sizes
            continue
        p = unadjusted_p_values(comparisons)
        every.append(p)
        below.append(int((p < level).sum()))
        sentences.append(
            f"{name}, {runs:,} runs: {below[-1]:,} of {p.size:,} below {level:g}, largest "
            f"{np.max(p):.2g}, not adjusted"
        )
    tested = np.concatenate([*every, np.empty(0)])
    verdict: Verdict = "not tested at this scale"
    if tested.size:
        n_below = sum(below)
        verdict = "confirmed" if n_below == tested.size else "partly" if n_below else "refuted"
        if verdict == "confirmed" and waiting:
            verdict = "partly"
    return finding(
        CLAIMS["E12"],
        verdict,
        "; ".join(sentences) + "."
        if sentences
        else "No figure has the stated problem and runs, and two of its batch sizes.",
        exact=False,
        n_comparisons=tested.size,
        p_value=float(tested.max()) if tested.size else None,
        scale_needed="; ".join(waiting) or None,
        artefact=artefact,
    )


def _decreasing(
    claim: Claim,
    variance: pd.DataFrame,
    theory: pd.DataFrame | None,
    tensors: tuple[str, ...],
    alpha: float,
    extent: Extent,
    artefact: str | None,
) -> Finding:
    rows = best_estimator(variance[variance["tensor"].isin(tensors)])
    comparisons = neighbours(rows, theory)
    ordering = decide(comparisons, alpha)
    verdict, needed = ordering.verdict, [ordering.scale_needed()]
    evidence = ordering.describe()
    small = comparisons["b_small"] < 4 if ordering.n_comparisons else None
    if small is not None and small.any() and not small.all():
        # Figure 2 shows b >= 4; smaller ones are only mentioned.
        shown = decide(comparisons[~small], alpha)
        evidence += f" For b of 4 and more alone, as in the figure: {shown.verdict}."
    if ordering.n_exact:
        runs = decide(neighbours(rows), alpha)
        evidence += (
            f" The runs alone decide {runs.n_for:,} of {runs.n_comparisons:,} in favour and "
            f"{runs.n_against:,} against."
        )
        if runs.n_against and verdict == "confirmed":
            # Runs that contradict exact values point to a fault on one side.
            verdict = "partly"
            needed.append("a reason why runs and exact values disagree")
    lacking = missing(extent, rows["b"], _steps(rows))
    if lacking and verdict == "confirmed":
        verdict = "partly"
        needed.append(" and ".join(lacking))
    return finding(
        claim,
        verdict,
        evidence,
        exact=ordering.exact,
        n_comparisons=ordering.n_comparisons,
        p_value=ordering.p_value,
        scale_needed="; ".join(text for text in needed if text) or None,
        artefact=artefact,
    )


def _steps(rows: pd.DataFrame) -> int:
    """Steps that every batch size has."""
    return int(rows.groupby("b")["step"].nunique().min()) if len(rows) else 0
