"""A table as one HTML file: search, sorting and a filter work without a network.

Without JavaScript the whole table is shown. On narrow screens every row becomes a card.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from string import Template
from typing import Literal

_HERE = files("pipeline_lib.pages")

Kind = Literal["wide", "short", "number"]
Badge = Literal["good", "bad", "mixed", "plain"]


@dataclass(frozen=True)
class Column:
    """A heading, and how its cells are set: prose (wide), a few words, or a number."""

    heading: str
    kind: Kind


@dataclass(frozen=True)
class Cell:
    """What one cell shows.

    sort: what the column is sorted by, numbers as numbers; by default the text, and an empty one
        is last in either direction.
    notes: smaller lines below the text.
    badge: draws the text as a badge; the text alone carries the meaning, not the colour.
    """

    text: str
    sort: str | float | None = None
    notes: tuple[str, ...] = ()
    badge: Badge | None = None


@dataclass(frozen=True)
class Row:
    """Cells in the order of the columns.

    key: a search for exactly this shows only the rows that have it.
    facet: the group that the filter shows this row in; empty if there is no filter.
    """

    cells: tuple[Cell, ...]
    key: str = ""
    facet: str = ""


def table_page(
    title: str,
    introduction: str,
    columns: Sequence[Column],
    rows: Sequence[Row],
    facets: Sequence[str] = (),
    footer: str = "",
) -> str:
    """The page as HTML text; everything that is passed in is plain text and is escaped.

    facets: groups in the order in which the filter offers them; those without rows are left out.

    Raises:
        ValueError: a row has another number of cells than there are columns, or a group that is
            not one of ``facets``.
    """
    for row in rows:
        if len(row.cells) != len(columns):
            raise ValueError(f"row {row.key!r} has {len(row.cells)} cells of {len(columns)}")
        if facets and row.facet not in facets:
            raise ValueError(f"row {row.key!r} is in the group {row.facet!r}, not in {facets}")
    page = Template(_asset("table_page.html"))
    return page.substitute(
        title=escape(title),
        introduction=escape(introduction),
        options="".join(
            f'<option value="{i}">{escape(column.heading)}</option>'
            for i, column in enumerate(columns)
        ),
        facets=_facets(rows, facets),
        headings="\n".join(
            f'<th role="columnheader" scope="col" class="{column.kind}">'
            f'<button type="button">{escape(column.heading)}</button></th>'
            for column in columns
        ),
        rows="\n".join(_row(row, columns) for row in rows),
        footer=escape(footer),
        style=_asset("table_page.css"),
        script=_asset("table_page.js"),
    )


def _asset(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _facets(rows: Sequence[Row], facets: Sequence[str]) -> str:
    counts = Counter(row.facet for row in rows)
    groups = [("", "all", len(rows))]
    groups += [(facet, facet, counts[facet]) for facet in facets if counts[facet]]
    if len(groups) == 1:
        return ""
    buttons = "".join(
        f'<button type="button" data-facet="{escape(value)}" '
        f'aria-pressed="{"false" if value else "true"}">{count} {escape(label)}</button>'
        for value, label, count in groups
    )
    return f'<div class="facets" role="group" aria-label="Show only">{buttons}</div>'


def _row(row: Row, columns: Sequence[Column]) -> str:
    anchor = f' id="{escape(row.key)}"' if row.key else ""
    cells = "".join(_cell(cell, column) for cell, column in zip(row.cells, columns, strict=True))
    return (
        f'<tr role="row"{anchor} data-key="{escape(row.key)}" '
        f'data-facet="{escape(row.facet)}">{cells}</tr>'
    )


def _cell(cell: Cell, column: Column) -> str:
    text = escape(cell.text)
    if cell.badge:
        text = f'<span class="badge {cell.badge}">{text}</span>'
    notes = "".join(f'<span class="note">{escape(note)}</span>' for note in cell.notes)
    value = cell.text if cell.sort is None else cell.sort
    return (
        f'<td role="cell" class="{column.kind}" data-heading="{escape(column.heading)}" '
        f'data-sort="{escape(str(value))}">{text}{notes}</td>'
    )
