"""The findings of README.md: written from recorded ledgers, and never by hand."""

import csv

import pandas as pd
import pytest

from pipeline_lib.artifacts.files import write_table
from pipeline_lib.claims.catalogue import CLAIMS
from pipeline_lib.claims.findings import (
    BEGIN,
    COLUMNS,
    END,
    HEADLINES,
    block,
    main,
    record,
    recorded,
    replaced,
)
from pipeline_lib.claims.verdict import claims_table, finding
from pipeline_lib.data.admissions import COLUMNS as ADMISSIONS
from pipeline_lib.errors import ArtifactError

WITH_500 = "With the paper's 500 rows of admissions, at the scale `quick`"
WITH_400 = "With the registry's 400 rows of admissions, at the scale `quick`"


def ledger(**verdicts):
    """All claims, untested but for ``verdicts``: a verdict and evidence by id."""
    open_ = ("not tested at this scale", "No runs.")
    return [
        dict(zip(COLUMNS, ("quick", name, *verdicts.get(name, open_)), strict=True))
        for name in CLAIMS
    ]


FULL = ledger(
    T4=("confirmed", "It falls at 998,000 of 998,000 steps and sizes. More is in the table."),
    E7=("refuted", "It rises in 9 of 9, |z| > 5."),
    E2=("partly", "5 of 6."),  # no headline
)
FEWER = ledger(
    T4=("confirmed", "It falls at 798,000 of 798,000."),
    E7=("not tested at this scale", "No images."),
)


def test_a_planted_ledger_gives_counts_and_the_decided_headlines():
    assert block({500: FULL, 400: FEWER}).splitlines() == [
        f"The ledger has 35 claims. {WITH_500}: 1 confirmed, 1 refuted, 1 partly, 32 not tested at "
        f"this scale. {WITH_400}: 1 confirmed, 34 not tested at this scale.",
        "",
        "| statement | verdict | numbers |",
        "|---|---|---|",
        "| In linear regression the variance decreases in *b* at every iteration (T4) "
        "| **confirmed** | It falls at 998,000 of 998,000 steps and sizes. |",
        "| On MNIST the training loss after equal epochs decreases in *b* (Section 4.2) (E7) "
        "| **refuted**; with 400 rows not tested at this scale | It rises in 9 of 9, "
        r"\|z\| > 5. |",
    ]


def test_one_ledger_is_enough_and_none_is_told():
    assert block({400: FEWER}).startswith(f"The ledger has 35 claims. {WITH_400}: 1 confirmed")
    with pytest.raises(ArtifactError, match="no ledger is recorded"):
        block({})


def test_a_ledger_of_other_claims_is_refused():
    with pytest.raises(ArtifactError, match="500 rows of admissions is of other claims"):
        block({500: FULL[1:], 400: FEWER})


def test_headlines_are_claims():
    assert set(HEADLINES) <= set(CLAIMS)


def test_a_page_needs_its_marks_once():
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert replaced(page, "new") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    with pytest.raises(ArtifactError, match="0 marks"):
        replaced(f"before {BEGIN}", "new")
    with pytest.raises(ArtifactError, match="2 marks"):
        replaced(page + END, "new")


def test_marks_in_the_wrong_order_are_refused():
    with pytest.raises(ArtifactError, match="before"):
        replaced(f"{END}\n{BEGIN}\n", "new")


def test_a_claim_that_holds_in_part_tells_why():
    partly = ledger(E13=("partly", "It is 2 times that at the next. Of 86, 27 are open. More."))
    row = block({500: partly}).splitlines()[-1]
    assert row.endswith("| **partly** | It is 2 times that at the next. Of 86, 27 are open. |")


def test_other_numbers_of_rows_are_nobodys():
    assert "With 123 rows of admissions, at" in block({123: FULL})


def test_a_file_without_a_number_of_rows_is_refused(tmp_path):
    (tmp_path / "old_rows.csv").write_text("scale,id,verdict,evidence\n")
    with pytest.raises(ArtifactError, match=r"old_rows\.csv: no number of rows"):
        recorded(tmp_path)


def test_a_ledger_of_another_scale_is_refused(tmp_path):
    kept = tmp_path / "kept"
    with pytest.raises(ArtifactError, match=r"scale 'smoke'; allowed is 'quick'"):
        record(results_with(tmp_path, 500, "confirmed", "smoke"), kept)
    assert not kept.exists()


def results_with(tmp_path, rows, verdict, scale="quick"):
    """A folder of results whose ledger has ``verdict`` for all claims."""
    folder = tmp_path / f"results_{rows}"
    found = [
        finding(claim, verdict, f"Found, with {rows} rows.", exact=True, n_comparisons=1)
        for claim in CLAIMS.values()
    ]
    write_table(folder / "claims.parquet", claims_table(found), "claims", {"scale": scale})
    values = pd.DataFrame({name: [1.0] for name in ADMISSIONS})
    write_table(folder / "data/admissions.parquet", values, "admissions", {"n_rows": rows})
    return folder


def test_results_are_recorded_by_their_rows_and_written_into_the_page(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n{BEGIN}\n{END}\n")
    kept = tmp_path / "kept"
    folders = [results_with(tmp_path, 400, "partly"), results_with(tmp_path, 500, "confirmed")]
    options = ["--page", str(page), "--recorded", str(kept)]
    main([*map(str, folders), *options])
    assert sorted(path.name for path in kept.iterdir()) == ["400_rows.csv", "500_rows.csv"]
    text = page.read_text()
    assert f"{WITH_500}: 35 confirmed." in text
    assert f"{WITH_400}: 35 partly." in text
    assert text.count("**confirmed**; with 400 rows partly | Found, with 500 rows. |") == len(
        HEADLINES
    )
    # A later study with the same data takes the place of the earlier one.
    main([str(results_with(tmp_path / "later", 400, "confirmed")), *options])
    assert f"{WITH_400}: 35 confirmed." in page.read_text()

    with pytest.raises(SystemExit):
        main([str(tmp_path / "nowhere"), *options])
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert told.count("\n") == 1


def test_a_ledger_reads_back_as_it_was_recorded(tmp_path):
    folder = results_with(tmp_path, 500, "refuted")
    path = record(folder, tmp_path)
    with path.open(newline="") as file:
        assert list(csv.DictReader(file)) == recorded(tmp_path)[500]
    assert recorded(tmp_path)[500][0] == {
        "scale": "quick",
        "id": "T1",
        "verdict": "refuted",
        "evidence": "Found, with 500 rows.",
    }


def test_the_page_has_what_the_recorded_ledgers_say(repository):
    page = (repository / "README.md").read_text()
    assert page == replaced(page, block(recorded(repository / "docs/findings"))), (
        "run: make findings"
    )
