"""Every claim evaluated from the tables of one run of the study, and the page about it."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline_lib.claims.artefacts import claimed
from pipeline_lib.claims.catalogue import CLAIMS, THEOREMS
from pipeline_lib.claims.evaluators import EVALUATORS
from pipeline_lib.claims.setting import on_instance
from pipeline_lib.claims.source import REGRESSION, Regression, Source, Tables, not_configured
from pipeline_lib.claims.verdict import Finding, claims_markdown, counted, first_sentences
from pipeline_lib.study.study import Study

# Claims whose first sentence of evidence makes a headline, in this order.
_HEADLINES = {
    "T4": "Linear regression",
    "H1": "What runs see of a variance",
    "E7": "MNIST, training loss",
    "E4": "Two-layer linear network",
    "T7": "Degree in 1/b",
}


def evaluate(
    study: Study,
    tables: Tables,
    regression: Regression | None = None,
    reviews: Mapping[str, Any] | None = None,
    rows: int | None = None,
    seed: int = 0,
) -> list[Finding]:
    """The finding of every claim, in the order of the catalogue.

    Args:
        tables: what `artefacts.needed_tables` names, as far as it is there.
        regression: of `admission`, if it is configured.
        rows: of the admission data, if an experiment on them is configured.
        reviews: provenance of the ``reviews`` artefact, if `yelp` is configured.
        seed: of the small random problems.

    A claim whose tables are not there is not tested; its evidence says what is missing.
    """
    source = Source(study, tables, regression, reviews or {}, rows, seed)
    present = {*tables, *claimed(study), *([] if regression is None else [REGRESSION])}
    findings = []
    for name in CLAIMS:
        needs, evaluator = EVALUATORS[name]
        absent = [one for one in needs if one not in present]
        found = not_configured(name, absent[0]) if absent else evaluator(source)
        findings.append(on_instance(found) if name in THEOREMS else found)
    return findings


def ledger_page(findings: Sequence[Finding], scale: str) -> str:
    """`claims_markdown` with the headline: scale, counts, and findings in three sentences."""
    by_id = {one.id: one for one in findings}
    sentences = [
        f"- {words} ({name}, {by_id[name].verdict}): {first_sentences(by_id[name].evidence)}"
        for name, words in _HEADLINES.items()
        if name in by_id and by_id[name].n_comparisons
    ]
    verdicts = counted(one.verdict for one in findings)
    summary = f"{len(findings)} claims at scale `{scale}`: {verdicts}."
    return claims_markdown(
        findings,
        "The claims of arXiv 2004.13146, tested",
        "\n".join([summary, "", *sentences[:3]]),
    )
