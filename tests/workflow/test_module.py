"""The study as a module of another Snakefile."""

import subprocess
import sys
from pathlib import Path

import pytest

from checkout import NOTHING, jobs

WITHOUT_CONFIG = """
configfile: "parent.yaml"

module study:
    snakefile: "{checkout}/Snakefile"

use rule * from study
"""
WITH_CONFIG = """
rule first:
    input: "{prefix}results/smoke/theory/variance/admission.parquet"
    output: "copy.txt"
    script: "made.py"

module study:
    snakefile: "{checkout}/Snakefile"
    config: {{"scale": "smoke", "experiments": {{"admission": {{"iterations": 12}}}}}}
    {line}

use rule * from study as study_*
"""


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "1", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=3600,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_without_a_configuration_it_has_its_own(fresh, tmp_path):
    folder = tmp_path / "parent"
    folder.mkdir()
    (folder / "Snakefile").write_text(WITHOUT_CONFIG.format(checkout=fresh))
    (folder / "parent.yaml").write_text("mine: 3\n")
    done = snakemake(folder, "--dry-run", "fig1b", "heavy_tails")
    counted = jobs(done.stdout + done.stderr)
    assert (counted["train_block"], counted["heavy_tails"], counted["fig1b"]) == (20, 1, 1)
    assert "results/quick/figures/heavy_tails.svg" in done.stdout + done.stderr


@pytest.mark.parametrize("prefix", ["", "sub/"])
def test_with_a_configuration_of_some_keys_and_a_prefix(fresh, tmp_path, prefix):
    folder = tmp_path / "parent"
    folder.mkdir()
    line = f'prefix: "{prefix.rstrip("/")}"' if prefix else ""
    text = WITH_CONFIG.format(checkout=fresh, prefix=prefix, line=line)
    (folder / "Snakefile").write_text(text)
    script = "from pathlib import Path\nPath(snakemake.output[0]).write_text('made')\n"
    (folder / "made.py").write_text(script)
    snakemake(folder)
    assert (folder / "copy.txt").read_text() == "made"
    import pandas as pd

    table = pd.read_parquet(folder / f"{prefix}results/smoke/theory/variance/admission.parquet")
    assert table["step"].max() == 11  # 12 iterations
    done = snakemake(folder, "--dry-run")
    assert NOTHING in done.stdout + done.stderr
