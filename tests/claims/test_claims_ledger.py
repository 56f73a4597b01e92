"""The ledger as a table and as a page; single claims from the command line."""

import subprocess
import sys

import numpy as np
import pytest

from pipeline_lib.artifacts.files import read_table, write_table
from pipeline_lib.claims.__main__ import ALONE, main
from pipeline_lib.claims.catalogue import CLAIMS, THEOREMS
from pipeline_lib.claims.verdict import (
    claims_markdown,
    claims_table,
    finding,
    from_instances,
    from_parts,
)

EXACT = finding(CLAIMS["T2"], "refuted", "1 | 2.", exact=True, n_comparisons=1, artefact="a")
TESTED = finding(
    CLAIMS["E4"],
    "partly",
    "3 of 4.",
    exact=False,
    n_comparisons=12345,
    p_value=0.0,
    scale_needed="1,000 runs",
)


def test_every_claim_of_the_study_is_listed():
    expected = [f"T{k}" for k in range(1, 18)] + [f"E{k}" for k in range(1, 15)]
    expected += ["H1", "H2", "H4", "H5"]
    assert list(CLAIMS) == expected
    assert all(key == claim.id for key, claim in CLAIMS.items())


def test_the_table_is_a_valid_artefact(tmp_path):
    path = tmp_path / "claims.parquet"
    write_table(path, claims_table([EXACT, TESTED]), "claims")
    back = read_table(path, "claims").set_index("id")
    assert back.loc["T2", "verdict"] == "refuted"
    assert np.isnan(back.loc["T2", "p_value"])
    assert back.loc["T2", "exact"]
    assert back.loc["E4", "n_comparisons"] == 12345
    assert back.loc["E4", "scale_needed"] == "1,000 runs"
    assert back.loc["T2", "scale_needed"] is None
    write_table(path, claims_table([EXACT]), "claims")  # a column of missing values only
    with pytest.raises(ValueError, match="more than one finding for T2"):
        claims_table([EXACT, EXACT])


def test_the_page_counts_and_escapes():
    page = claims_markdown([EXACT, TESTED], "Headline")
    assert page.startswith("# Headline\n\n2 claims: 1 refuted, 1 partly.\n")
    rows = [line for line in page.splitlines() if line.startswith("| T2") or "| E4" in line]
    assert r"1 \| 2." in rows[0]
    assert rows[0].endswith("| exact | 1 | `a` |")
    assert "3 of 4. Needed: 1,000 runs. | < 1e-300 | 12,345 |" in rows[1]
    # as many cells as columns, escaped bars aside
    assert {line.replace(r"\|", "").count("|") for line in rows} == {9}


def test_verdicts_of_parts_and_of_instances():
    assert from_parts([True, True]) == from_instances([True, True]) == "confirmed"
    assert from_parts([True, False]) == "partly"
    assert from_instances([True, False]) == "refuted"
    assert from_parts([False]) == from_instances([False]) == "refuted"
    for verdict_of in (from_parts, from_instances):
        with pytest.raises(ValueError, match="at least one"):
            verdict_of([])
    with pytest.raises(ValueError, match="p-value"):
        finding(CLAIMS["T1"], "confirmed", "", exact=True, n_comparisons=1, p_value=0.1)


def test_every_claim_that_can_be_computed_alone_is(capsys):
    expected = {
        "T1": "confirmed", "T2": "refuted", "T3": "confirmed", "T4": "confirmed",
        "T5": "confirmed", "T6": "confirmed", "T7": "partly", "T8": "refuted",
        "T9": "confirmed", "T10": "refuted", "E3": "refuted", "H1": "refuted", "H2": "confirmed",
        "T11": "refuted", "T12": "refuted", "T13": "confirmed", "T14": "confirmed",
        "T15": "confirmed", "T16": "confirmed", "T17": "confirmed", "H4": "confirmed",
        "H5": "refuted",
    }  # fmt: skip
    main(list(ALONE))
    printed = capsys.readouterr().out
    assert set(expected) == set(ALONE)
    for name, verdict in expected.items():
        assert f"{name}, {CLAIMS[name].place}: {verdict}\n" in printed
    held = [name for name in THEOREMS if expected.get(name) == "confirmed"]
    assert printed.count("It holds on this instance, exactly.") == len(held) == 13
    assert printed.count("An instance other than the paper's 500 rows (here 20)") == 2  # T4, H2
    main([])
    assert "T10  proof of Lemma 3" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["E5"])
    assert "cannot compute E5 alone" in capsys.readouterr().err


def test_the_command_runs_without_torch():
    code = (
        "import sys; from pipeline_lib.claims.__main__ import main; main(['T2']); "
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Lemma 2: refuted" in done.stdout
