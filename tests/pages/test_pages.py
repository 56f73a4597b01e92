"""Pages made from tables, read back as a browser would, but for layout and scripts."""

import subprocess
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from pipeline_lib.claims.catalogue import CLAIMS
from pipeline_lib.claims.page import claims_page
from pipeline_lib.claims.verdict import claims_table, finding
from pipeline_lib.pages.exact_tables import (
    efficiency_page,
    polynomial_degrees_page,
    scalar_degrees_page,
)
from pipeline_lib.pages.table_page import Cell, Column, Row, table_page
from pipeline_lib.revision import revision


class Page(HTMLParser):
    """The texts and attributes of the table's cells, and every address that the page names."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.sorts: list[list[str]] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        values = dict(attrs)
        self.addresses += [values[name] for name in ("src", "href", "action") if name in values]
        if tag == "tr":
            self.rows.append([])
            self.sorts.append([])
        if tag == "td":
            self.rows[-1].append("")
            self.sorts[-1].append(values["data-sort"])
            self._inside = True

    def handle_endtag(self, tag):
        if tag == "td":
            self._inside = False

    def handle_data(self, data):
        if self._inside:
            self.rows[-1][-1] += data


def body(text: str) -> list[list[str]]:
    return [row for row in Page(text).rows if row]


def test_text_is_escaped_and_nothing_is_fetched():
    nasty = "<script>alert('a')</script> & \"b\" $title"
    columns = (Column(nasty, "wide"),)
    page = Page(
        table_page(nasty, nasty, columns, [Row((Cell(nasty),), nasty, nasty)], [nasty], nasty)
    )
    assert page.rows[1] == [nasty]
    assert page.tags.count("script") == 1
    assert page.addresses == ["data:,"]


def test_cells_must_fit_the_columns_and_groups_must_be_known():
    columns = (Column("a", "short"), Column("b", "number"))
    with pytest.raises(ValueError, match="1 cells of 2"):
        table_page("t", "i", columns, [Row((Cell("1"),), "first")])
    with pytest.raises(ValueError, match="group 'z'"):
        table_page("t", "i", columns[:1], [Row((Cell("1"),), "first", "z")], ["y"])


def test_ledger_has_every_field_of_every_claim():
    options = {"exact": False, "n_comparisons": 1234}
    tested = finding(
        CLAIMS["E1"], "refuted", "seen", p_value=0.0123, artefact="a.parquet", **options
    )
    tiny = finding(CLAIMS["E2"], "confirmed", "seen", p_value=0.0, **options)
    undecided = finding(
        CLAIMS["E5"], "not tested at this scale", "few", scale_needed="more runs", **options
    )
    exact = finding(CLAIMS["T7"], "partly", "degrees", exact=True, n_comparisons=4)
    page = claims_page(claims_table([tested, tiny, undecided, exact]))
    rows = body(page)
    assert [row[0] for row in rows] == ["E1", "E2", "E5", "T7"]
    assert [row[2] for row in rows] == [
        "refuted",
        "confirmed",
        "not tested at this scale",
        "partly",
    ]
    assert [row[4] for row in rows] == ["0.012", "< 1e-300", "–", "exact"]
    assert [row[5] for row in rows] == ["1,234"] * 3 + ["4"]
    assert rows[0][1] == CLAIMS["E1"].statement + CLAIMS["E1"].place
    assert rows[0][3] == f"seenTest: {CLAIMS['E1'].test}Numbers: a.parquet"
    assert rows[2][3] == f"fewTest: {CLAIMS['E5'].test}To decide: more runs"
    # Verdicts sort in the order of the ledger, and rows without a p-value come last.
    sorts = [row for row in Page(page).sorts if row]
    assert [row[2] for row in sorts] == ["1", "0", "3", "2"]
    assert [row[4] for row in sorts] == ["0.0123", "0.0", "", ""]


def test_degrees_beyond_a_bound_are_marked():
    frame = pd.DataFrame(
        {
            "step": [0, 2],
            "quantity": ["full_gradient", "stochastic_gradient"],
            "tensor": ["W1", "W2"],
            "degree": [0, 23],
            "bound_stated": [2, 18],
            "bound_formula": [6, 54],
            "decreasing_from_integer": pd.array([None, 1], dtype="Int32"),
        }
    )
    assert body(scalar_degrees_page(frame)) == [
        ["0", "full gradient", "W1", "0", "2", "6", "–"],
        ["2", "stochastic gradient", "W2", "23", "18exceeded", "54", "1"],
    ]


def test_a_polynomial_is_one_row_with_its_certain_degree():
    frame = pd.DataFrame(
        {
            "init": 0,
            "step": 10,
            "quantity": "full_gradient",
            "basis": ["batch_factor"] * 3 + ["inverse_b"] * 3,
            "power": [0, 1, 2] * 2,
            "coefficient": [0.0, 3.0, 0.25, -0.5, 2.0, 0.0],
            "relative_radius": 3e-31,
        }
    )
    assert body(polynomial_degrees_page(frame)) == [
        ["10", "full gradient", "c_b", "2", "0", "0.25", "30"],
        ["10", "full gradient", "1/b", "1", "1", "2", "30"],
    ]


def test_worth_of_a_run_is_median_smallest_and_largest_over_steps():
    frame = pd.DataFrame({"tensor": "W1", "b": [4] * 4, "runs_worth": [1.5, np.nan, 250.0, 1e4]})
    assert body(efficiency_page({"study": frame})) == [["study", "W1", "4", "250", "1.5", "10,000"]]


def test_revision_is_the_commit_and_says_if_files_differ(tmp_path):
    assert revision(tmp_path) == "unknown"

    def git(*arguments: str) -> str:
        settings = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        command = ["git", "-C", str(tmp_path), *settings, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-m", "one")
    short = git("rev-parse", "--short", "HEAD")
    assert revision(tmp_path) == short
    (tmp_path / "file").write_text("two")
    assert revision(tmp_path) == f"{short}-dirty"
