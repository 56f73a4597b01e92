"""A claim, what was found about it, and the ledger as a table and as a page.

A verdict is always computed by an evaluator from the numbers it is given:

    confirmed                    every part of the claim's test holds
    refuted                      a counter-example, exact or significant after correction for the
                                 whole family of comparisons
    partly                       some parts hold, or some comparisons are decided, none against
    not tested at this scale     nothing could be decided with the runs at hand, or only of another
                                 problem than the paper's
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, get_args

import pandas as pd

from pipeline_lib.artifacts.schemas import SCHEMAS

Verdict = Literal["confirmed", "refuted", "partly", "not tested at this scale"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
# Those that rest on a p-value, unless they rest on exact values.
SETTLED: tuple[Verdict, ...] = ("confirmed", "refuted", "partly")


@dataclass(frozen=True)
class Claim:
    """What the paper says, in our words, where it says so, and the test that decides it."""

    id: str
    place: str
    statement: str
    test: str


@dataclass(frozen=True)
class Finding:
    """The outcome of one claim's test.

    evidence: one or two sentences made from the numbers that decided.
    p_value: adjusted for the family of `n_comparisons` (but for E12, which is about p-values that
        are not); None where the verdict rests on no test.
    exact: whether the verdict rests on exact values alone, without sampling.
    n_comparisons: size of the family, exact comparisons and tests together.
    scale_needed: what it would take to decide; None where it is decided.
    artefact: path of the table that holds the numbers; None where they are computed on the spot.
    """

    id: str
    statement: str
    place: str
    test: str
    evidence: str
    p_value: float | None
    exact: bool
    n_comparisons: int
    verdict: Verdict
    scale_needed: str | None = None
    artefact: str | None = None


def finding(
    claim: Claim,
    verdict: Verdict,
    evidence: str,
    *,
    exact: bool,
    n_comparisons: int,
    p_value: float | None = None,
    scale_needed: str | None = None,
    artefact: str | None = None,
) -> Finding:
    """The finding of ``claim``.

    Raises:
        ValueError: if an exact finding has a p-value, or a p-value is not in [0, 1].
    """
    if p_value is not None and (exact or not 0 <= p_value <= 1):
        raise ValueError(f"{claim.id}: p-value {p_value} of a finding with exact = {exact}")
    return Finding(
        claim.id,
        claim.statement,
        claim.place,
        claim.test,
        evidence,
        p_value,
        exact,
        n_comparisons,
        verdict,
        scale_needed,
        artefact,
    )


def untested(claim: Claim, evidence: str, needed: str) -> Finding:
    """The finding where there is nothing to test."""
    return finding(
        claim,
        "not tested at this scale",
        evidence,
        exact=False,
        n_comparisons=0,
        scale_needed=needed,
    )


def from_parts(parts: Sequence[bool]) -> Verdict:
    """Confirmed if every part of a claim holds, refuted if none does, partly otherwise.

    Raises:
        ValueError: if there are no parts.
    """
    if not parts:
        raise ValueError("a verdict needs at least one part")
    if all(parts):
        return "confirmed"
    return "partly" if any(parts) else "refuted"


def from_instances(instances: Sequence[bool]) -> Verdict:
    """Confirmed if a statement about all instances holds for each; one counter-example refutes it.

    Raises:
        ValueError: if there are no instances.
    """
    if not instances:
        raise ValueError("a verdict needs at least one instance")
    return "confirmed" if all(instances) else "refuted"


def claims_table(findings: Sequence[Finding]) -> pd.DataFrame:
    """Rows of the ``claims`` artefact, in the order given.

    Raises:
        ValueError: if two findings have the same id.
    """
    counts = Counter(one.id for one in findings)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise ValueError(f"more than one finding for {', '.join(twice)}")
    names = SCHEMAS["claims"].names
    frame = pd.DataFrame([asdict(one) for one in findings], columns=names)
    return frame.astype({"p_value": "float64", "n_comparisons": "int32", "exact": "bool"})


def claims_markdown(
    findings: Sequence[Finding], headline: str = "The claims, tested", summary: str | None = None
) -> str:
    """The ledger as a Markdown page: headline, summary, one row a claim.

    The default summary is the count of the verdicts (`counted`).
    """
    if summary is None:
        summary = f"{len(findings)} claims: {counted(one.verdict for one in findings)}."
    lines = [
        f"# {headline}",
        "",
        summary,
        "",
        "| id | claim | place | verdict | evidence | p | comparisons | table |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in findings:
        evidence = one.evidence
        if one.scale_needed:
            evidence = f"{evidence} Needed: {one.scale_needed}."
        cells = (
            one.id,
            one.statement,
            one.place,
            f"**{one.verdict}**",
            evidence,
            p_text(one),
            f"{one.n_comparisons:,}",
            f"`{one.artefact}`" if one.artefact else "",
        )
        lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def counted(verdicts: Iterable[str]) -> str:
    """How many there are of each verdict, in words."""
    counts = Counter(verdicts)
    listed = (f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict])
    return ", ".join(listed) or "none"


def first_sentences(evidence: str, count: int = 1) -> str:
    """So many sentences of evidence, of which the first holds the numbers that decide."""
    sentences = evidence.split(". ")
    told = ". ".join(sentences[:count])
    return f"{told}." if len(sentences) > count else told


def p_text(one: Finding) -> str:
    """The p-value for a reader: `exact`, a number, or `< 1e-300` where it underflows."""
    if one.p_value is None:
        return "exact" if one.exact else ""
    return "< 1e-300" if one.p_value < 1e-300 else f"{one.p_value:.2g}"


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ")
