"""Data once built stay: no absence of a folder or of the network replaces or deletes them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from checkout import NOTHING

NOWHERE = "http://127.0.0.1:9"  # refuses connections
OFFLINE = {
    **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), NOWHERE),
    "PIP_INDEX_URL": NOWHERE,
    "PIP_RETRIES": "0",
}
TABLE = "results/smoke/data/admissions.parquet"
FILE = "Admission_Predict_Ver1.1.csv"


def offline(folder: Path, *arguments: str, data: Path | None) -> subprocess.CompletedProcess[str]:
    """Snakemake without network, for the table of Graduate Admissions."""
    environment = {key: value for key, value in os.environ.items() if key != "DATA_DIR"}
    command = ["snakemake", "--cores", "1", "--config", "scale=smoke", *arguments, "--", TABLE]
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=environment | OFFLINE | ({"DATA_DIR": str(data)} if data is not None else {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=3600,
    )


@pytest.fixture
def supplied(fresh, raw_data, tmp_path) -> Path:
    """A data folder with the 500 rows, from which the table in ``fresh`` is built."""
    full = [folder / FILE for folder in raw_data if (folder / FILE).is_file()]
    if not full:
        pytest.skip("the 500-row file is in no data folder")
    folder = tmp_path / "supplied"
    folder.mkdir()
    (folder / FILE).write_bytes(full[0].read_bytes())
    done = offline(fresh, data=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_a_forgotten_folder_changes_nothing_and_the_table_can_be_built_again(fresh, supplied):
    before = (fresh / TABLE).read_bytes()
    done = offline(fresh, data=None)
    assert NOTHING in done.stdout + done.stderr
    done = offline(fresh, "--forcerun", "prepare_admissions", data=None)
    assert done.returncode == 0, done.stderr
    assert (fresh / TABLE).read_bytes() == before


def test_a_job_that_fails_leaves_the_table(fresh, supplied):
    before = (fresh / TABLE).read_bytes()
    for path in (fresh / "raw_data").iterdir():
        path.unlink()
    done = offline(fresh, "--forcerun", "prepare_admissions", data=None)
    assert done.returncode != 0
    assert "no usable copy" in done.stderr
    assert (fresh / TABLE).read_bytes() == before


def test_another_content_is_noticed_and_an_altered_one_replaces_nothing(fresh, supplied):
    before = (fresh / TABLE).read_bytes()
    lines = (supplied / FILE).read_text().splitlines(keepends=True)
    (supplied / FILE).write_text("".join(lines[:300]))
    done = offline(fresh, data=supplied)
    assert done.returncode != 0
    assert "truncated or altered" in done.stderr
    assert (fresh / TABLE).read_bytes() == before
    (supplied / FILE).write_text("".join(lines[:401]))  # the older version
    done = offline(fresh, data=supplied)
    assert done.returncode == 0, done.stderr
    assert json.loads((fresh / TABLE).with_suffix(".json").read_text())["n_rows"] == 400


def test_a_data_dir_of_the_user_that_is_no_folder_is_told(fresh):
    (fresh / "mine.yaml").write_text("data_dir: ../dta\n")
    done = offline(fresh, "--configfile", "mine.yaml", data=None)
    (told,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert "data_dir (mine.yaml, line 1): '../dta' is not an existing folder" in told
