"""The ledger of claims as a page that can be searched, sorted and filtered by verdict."""

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from pipeline_lib.claims.verdict import VERDICTS
from pipeline_lib.pages.table_page import Badge, Cell, Column, Row, table_page

_BADGES: Mapping[str, Badge] = {"confirmed": "good", "refuted": "bad", "partly": "mixed"}
_COLUMNS = (
    Column("id", "short"),
    Column("claim", "wide"),
    Column("verdict", "short"),
    Column("evidence", "wide"),
    Column("p", "number"),
    Column("comparisons", "number"),
)
_INTRODUCTION = (
    "What arXiv 2004.13146 claims, in our words, and what came out when it was tested. T: theory; "
    "E: experiments; H: our own questions. Where p says exact, the verdict rests on exact values "
    "alone; other p are adjusted for all comparisons of the claim, unless the evidence says not."
)


def claims_page(frame: pd.DataFrame, footer: str = "") -> str:
    """The ``claims`` table as one HTML file, in the order of its rows.

    Raises:
        ValueError: if a verdict is not one of `VERDICTS`.
    """
    rows = [
        Row(
            (
                Cell(one["id"], place),
                Cell(one["statement"], notes=(one["place"],)),
                verdict_cell(one["verdict"]),
                Cell(one["evidence"], notes=_notes(one)),
                _p_value(one),
                Cell(f"{one['n_comparisons']:,}", one["n_comparisons"]),
            ),
            key=one["id"],
            facet=one["verdict"],
        )
        for place, one in enumerate(frame.to_dict("records"))
    ]
    return table_page("The paper's claims, tested", _INTRODUCTION, _COLUMNS, rows, VERDICTS, footer)


def verdict_cell(verdict: str) -> Cell:
    """A verdict as a badge, sorted in the order of `VERDICTS`."""
    return Cell(verdict, VERDICTS.index(verdict), badge=_BADGES.get(verdict, "plain"))


def _notes(one: Mapping[Hashable, Any]) -> tuple[str, ...]:
    lines = {"Test": one["test"], "To decide": one["scale_needed"], "Numbers": one["artefact"]}
    return tuple(f"{name}: {value}" for name, value in lines.items() if isinstance(value, str))


def _p_value(one: Mapping[Hashable, Any]) -> Cell:
    p = one["p_value"]
    if pd.isna(p):
        return Cell("exact" if one["exact"] else "–", "")
    return Cell("< 1e-300" if p < 1e-300 else f"{p:.2g}", p)
