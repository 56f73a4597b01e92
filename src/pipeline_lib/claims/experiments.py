"""E1, E4 and E12: Figures 1a and 2, and the p-values that the paper attaches to its figures."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline_lib.claims.batch_dependence import swept_batch_sizes
from pipeline_lib.claims.catalogue import CLAIMS
from pipeline_lib.claims.ordering import (
    best_estimator,
    decide,
    neighbours,
    unadjusted_p_values,
)
from pipeline_lib.claims.setting import ADMISSIONS, TWO_LAYERS, Problem, departures
from pipeline_lib.claims.verdict import Claim, Finding, Verdict, finding
from pipeline_lib.statistics import ALL


@dataclass(frozen=True)
class Extent:
    """What a figure covers: batch sizes, steps 0, …, steps − 1, runs a batch size."""

    problem: Problem
    batch_sizes: tuple[int, ...]
    steps: int
    runs: int


@dataclass(frozen=True, eq=False)
class Figure:
    """The ``variance`` table of the ``problem`` configured here, and what the paper states."""

    variance: pd.DataFrame
    problem: Problem
    stated: Extent


# The legend of Figure 1a is lost; 4, 16, 64 and 256 are our choice.
FIGURE_1A = Extent(ADMISSIONS, (4, 16, 64, 256), 2000, 1000)
FIGURE_1B = Extent(ADMISSIONS, tuple(swept_batch_sizes()), 40, 10_000)
FIGURE_2 = Extent(TWO_LAYERS, (1, 2, 4, 16, 64, 256), 1000, 1000)


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
    b, at every step, one-sided and not adjusted. A figure of another problem or with fewer runs
    than stated is not judged, one with fewer batch sizes or steps cannot confirm; a missing
    estimate counts as not below.
    """
    sentences, waiting, every, below = [], [], [], []
    for name, figure in figures.items():
        plain = figure.variance[figure.variance["estimator"] == "sample"]
        runs, stated = int(plain["n_runs"].min()), figure.stated
        lacking = departures(figure.problem, stated.problem)
        if runs < stated.runs:
            lacking.append(f"{stated.runs:,} runs a batch size (here {runs:,})")
        judged = not lacking
        lacking += _missing(plain, stated)
        if lacking:
            waiting.append(f"{' and '.join(lacking)} for {name}")
        if not judged:
            continue
        p = unadjusted_p_values(neighbours(plain))
        every.append(p)
        below.append(int((p < level).sum()))
        sentences.append(
            f"{name}, {runs:,} runs: {below[-1]:,} of {p.size:,} below {level:g}, largest "
            f"{np.max(p):.2g}"
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
        "; ".join(sentences) + "." if sentences else "No figure has the stated problem and runs.",
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
    verdict, needed = ordering.verdict, [ordering.scale_needed(extent.runs)]
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
    missing = _missing(rows, extent)
    if missing and verdict == "confirmed":
        verdict = "partly"
        needed.append(" and ".join(missing))
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


def _missing(rows: pd.DataFrame, extent: Extent) -> list[str]:
    """What of the batch sizes and steps of ``extent`` the rows do not hold."""
    sizes = sorted(set(extent.batch_sizes) - set(rows["b"]))
    parts = [f"b = {', '.join(map(str, sizes))}"] if sizes else []
    n_steps = rows.groupby("b")["step"].nunique().min()
    if n_steps < extent.steps:
        parts.append(f"{extent.steps:,} steps (here {n_steps:,})")
    return parts
