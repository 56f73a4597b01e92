"""What a user reads when something is wrong, and what is left of their results."""

from pathlib import Path

import pytest
import yaml

from checkout import copy_of, snakemake
from own_study import MINE, PARTS

LOSS = """
def all_pairs(outputs, targets):
    return (outputs - targets).square().mean()
"""


@pytest.fixture
def folder(repository, tmp_path) -> Path:
    """A checkout that has the user's files beside its own."""
    folder = copy_of(repository, tmp_path / "checkout")
    mine = folder / "own"
    mine.mkdir()
    (mine / "losses.py").write_text(LOSS)
    (mine / "parts.py").write_text(PARTS)
    (mine / "mine.yaml").write_text(yaml.safe_dump(MINE))
    return folder


def test_what_was_wrong_comes_after_all_that_is_said_of_jobs(folder: Path) -> None:
    done = snakemake(folder, "--configfile", "own/mine.yaml")
    assert done.returncode != 0
    last = [line for line in done.stderr.splitlines() if line.strip()][-1]
    assert last.startswith("error: loss: outputs (12, 1) float32 and targets (12,) float32")
    assert "broadcast to (12, 12)" in last


def test_a_package_that_is_not_found_costs_no_weights(folder: Path) -> None:
    weights = folder / "results/quick/weights/experiment=mine/init=0.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"kept")
    (folder / "own/losses.py").unlink()
    lines = (folder / "own/mine.yaml").read_text().splitlines()
    line = next(number for number, text in enumerate(lines, start=1) if "loss:" in text)
    done = snakemake(folder, "--configfile", "own/mine.yaml")
    assert done.returncode == 1
    told = "'losses:all_pairs': no module 'losses' in the folder of the configuration file"
    assert f"model.loss (own/mine.yaml, line {line}): {told}" in done.stderr
    assert weights.read_bytes() == b"kept"


def test_a_kind_whose_file_imports_everything_is_told_so_in_one_line(folder: Path) -> None:
    kind = """
from typing import ClassVar
from math import *
from pipeline_lib.models.linear_regression.settings import LinearRegression
from pipeline_lib.study.section import Text, section


@section
class Mine(LinearRegression):
    kind: Text
"""
    (folder / "own/kinds.py").write_text(kind)
    mine = {
        "model": {"kind": "kinds:Mine", "dataset": "admissions", "features": "all"},
        "initial_weights": {"count": 1, "seed": 1, "scale": 1.0},
        "learning_rate": {"schedule": "constant", "initial": 0.1},
        "batch_sizes": [4],
        "runs": 2,
        "runs_per_block": 2,
        "iterations": 3,
    }
    (folder / "own/mine.yaml").write_text(yaml.safe_dump({"experiments": {"mine": mine}}))
    done = snakemake(folder, "--dry-run", "--configfile", "own/mine.yaml")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    told = "kinds.py, line 3: import * from math hides which names are used; allowed: imports by"
    assert told in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("table", ["limits", "test_loss"])
def test_exact_tables_of_an_experiment_that_they_do_not_hold_for_are_refused(folder, table) -> None:
    mine = {"experiments": {"admission": {"optimizer": {"kind": "adam"}}}}
    (folder / "own/mine.yaml").write_text(yaml.safe_dump(mine))
    target = f"results/quick/theory/{table}/admission.parquet"
    done = snakemake(folder, "--dry-run", target, "--configfile", "own/mine.yaml")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: experiments.admission: no exact limits or losses on held-out")
    assert "the exact theory is that of plain SGD; covered are plain SGD and mini-batches" in last
