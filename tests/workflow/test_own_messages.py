"""What a user reads when something is wrong, and what is left of their results."""

from pathlib import Path

import pytest
import yaml

from checkout import copy_of, snakemake

LOSS = """
def all_pairs(outputs, targets):
    return (outputs - targets).square().mean()
"""
PARTS = """
import numpy as np
from torch import nn


def make_model():
    return nn.Linear(3, 1)


def make_dataset():
    x = np.random.default_rng(0).normal(size=(20, 3))
    return (x[:16], x[:16, 0]), (x[16:], x[16:, 0])
"""
MINE = {
    "experiments": {
        "mine": {
            "model": {
                "kind": "module",
                "make_model": "parts:make_model",
                "loss": "losses:all_pairs",
                "dataset": "parts:make_dataset",
                "dtype": "float32",
            },
            "initial_weights": {"count": 1, "seed": 1},
            "learning_rate": {"schedule": "constant", "initial": 0.1},
            "batch_sizes": [4],
            "runs": 2,
            "runs_per_block": 2,
            "epochs": 1,
            "last_batch": "keep",
            "recorded_steps": "every",
            "evaluate_every": 1,
        }
    }
}


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
