"""Depth, optimiser, schedule, clipping and ways of drawing, all from one override file."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from numpy.testing import assert_allclose

from checkout import copy_of
from pipeline_lib.artifacts.files import read_table
from pipeline_lib.artifacts.weights import read_weights
from pipeline_lib.models.linear_network.student import Student
from pipeline_lib.theory.deep_linear_initial import initial_variances

ITERATED = {
    "initial_weights": {"count": 1, "seed": 1, "scale": 0.5},
    "learning_rate": {"schedule": "constant", "initial": 0.05},
    "batch_sizes": [2, 8],
    "runs": 40,
    "runs_per_block": 40,
    "iterations": 6,
}
NETWORK = {
    "kind": "linear_network",
    "teacher_seed": 2,
    "teacher_scale": 0.5,
    "dtype": "float64",
    "replicas_at_once": 20,
}
REGRESSION = {"kind": "linear_regression", "dataset": "admissions", "features": "all"}
MODULE = {
    "kind": "module",
    "make_model": "own_study:make_model",
    "loss": "torch.nn.functional:cross_entropy",
    "dataset": "own_study:make_dataset",
    "dtype": "float32",
}
EXPERIMENTS = {
    "three_layers": ITERATED | {"model": NETWORK | {"layers": [4, 5, 3, 2]}},
    "four_layers": ITERATED
    | {"model": NETWORK | {"layers": [3, 4, 4, 3, 2]}, "optimizer": {"kind": "adam"}},
    "replaced": ITERATED | {"model": REGRESSION, "sampling": "with_replacement"},
    "in_epochs": ITERATED | {"model": REGRESSION, "sampling": "epochs"},
    "under_momentum": ITERATED
    | {"model": REGRESSION, "optimizer": {"kind": "sgd", "momentum": 0.9}},
    "cosine": {
        "model": MODULE,
        "initial_weights": {"count": 1, "seed": 1},
        "learning_rate": {"schedule": "cosine", "initial": 0.1, "warmup": 0.1},
        "sampling": "with_replacement",
        "clipping": {"norm": 0.5, "of": "whole"},
        "batch_sizes": [4, 8],
        "runs": 6,
        "runs_per_block": 6,
        "epochs": 2,
        "last_batch": "drop",
        "recorded_steps": "every",
        "evaluate_every": 1,
    },
    "own_rate": ITERATED
    | {
        "model": REGRESSION,
        "learning_rate": {"schedule": "own_study:rate", "initial": 0.1},
    },
}
OWN = """
import numpy as np
from torch import nn

def make_model():
    return nn.Linear(3, 2)

def make_dataset():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((24, 3)), rng.integers(0, 2, 24)
    return (x, y), (x, y)

def rate(step):
    return 0.9**step
"""


OF_MNIST = ("fig3b", "fig4a", "fig4b", "fig6")
# The list of all tables, which makes them, and of the figures those that are looked at.
TARGETS = ["results/smoke/datapackage.json"]
TARGETS += [f"results/smoke/figures/{name}.svg" for name in OF_MNIST]
TARGETS += [f"results/smoke/figures/{name}_variance.svg" for name in EXPERIMENTS]


@pytest.fixture(scope="module")
def results(repository, data_dir, tmp_path_factory) -> Path:
    """What one command makes of the file."""
    folder: Path = tmp_path_factory.mktemp("combined")
    changes = {
        # The network of MNIST under momentum is what its own figures are then drawn from. One
        # block of one batch size is enough for them.
        "mnist": {
            "optimizer": {"kind": "sgd", "momentum": 0.9},
            "batch_sizes": [64],
            "runs_per_block": 4,
        },
        **EXPERIMENTS,
    }
    mine = {"scale": "smoke", "only": list(changes), "experiments": changes}
    (folder / "mine.yaml").write_text(yaml.safe_dump(mine))
    (folder / "own_study.py").write_text(OWN)
    checkout = copy_of(repository, folder / "checkout")
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", "mine.yaml"]
    done = subprocess.run(
        [*command, "--snakefile", str(checkout / "Snakefile"), "--", *TARGETS],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | ({"DATA_DIR": data_dir} if data_dir else {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=3600,
    )
    assert done.returncode == 0, done.stderr
    return folder / "results/smoke"


def estimates(results: Path, name: str, estimator: str = "rao_blackwell") -> pd.DataFrame:
    table = read_table(results / f"variance/{name}.parquet", "variance")
    return table[
        (table["quantity"] == "stochastic_gradient")
        & (table["tensor"] == "all")
        & (table["estimator"] == estimator)
    ]


def test_every_experiment_has_its_figure_and_its_verdict(results: Path) -> None:
    for name in EXPERIMENTS:
        assert (results / f"figures/{name}_variance.svg").stat().st_size > 0
        assert (results / f"verdicts/{name}.md").stat().st_size > 0
    for name in OF_MNIST:
        assert (results / f"figures/{name}.svg").stat().st_size > 0


@pytest.mark.parametrize("name", ["three_layers", "four_layers"])
def test_deep_networks_are_exact_at_their_initial_weights(results: Path, name: str) -> None:
    arrays = read_weights(results / f"weights/experiment={name}/init=0.safetensors")
    student = Student.of(arrays)
    exact = sum(initial_variances(student.weights, student.teacher))
    theory = read_table(results / f"theory/variance/{name}.parquet", "theory")
    known = theory[(theory["tensor"] == "all") & (theory["quantity"] == "stochastic_gradient")]
    assert set(known["step"]) == {0}
    found = estimates(results, name).set_index(["b", "step"])["variance"]
    for b in (2, 8):
        assert_allclose(known.set_index("b")["variance"][b], exact / b, rtol=1e-12)
        assert_allclose(found[b, 0], exact / b, rtol=1e-9)
    for tensor in student_tensors(name):
        assert tensor in set(theory["tensor"])


def student_tensors(name: str) -> list[str]:
    layers = EXPERIMENTS[name]["model"]["layers"]
    return [f"W{k}" for k in range(1, len(layers))]


@pytest.mark.parametrize("name", ["replaced", "own_rate"])
def test_what_the_theory_covers_agrees_with_it(results: Path, name: str) -> None:
    theory = read_table(results / f"theory/variance/{name}.parquet", "theory")
    exact = theory[theory["quantity"] == "stochastic_gradient"].set_index(["b", "step"])["variance"]
    found = estimates(results, name).set_index(["b", "step"])
    for key, row in found.iterrows():
        if key[1] == 0:
            assert_allclose(row["variance"], exact[key], rtol=1e-9)
        else:
            assert abs(row["variance"] - exact[key]) < 6 * row["std_error"]


def test_what_it_does_not_cover_has_estimates_alone(results: Path) -> None:
    reasons = {
        "in_epochs": "mini-batches in epochs have no exact theory",
        "under_momentum": "the exact theory is that of plain SGD",
        "cosine": "no exact theory covers this kind of model",
    }
    for name, reason in reasons.items():
        assert not (results / f"theory/variance/{name}.parquet").exists()
        drawn = (results / f"figures/{name}_variance.svg").read_text()
        assert f"no exact values: {reason}" in drawn
    assert len(estimates(results, "in_epochs")) == len(estimates(results, "in_epochs", "sample"))


def test_clipping_is_recorded_beside_the_gradient(results: Path) -> None:
    table = read_table(results / "variance/cosine.parquet", "variance")
    assert set(table["quantity"]) == {"stochastic_gradient", "clipped_gradient"}
    # Drawn with replacement no batch of 24 examples is short: 6 steps an epoch, 3 of the larger.
    steps = table.groupby("b")["step"].max()
    assert dict(steps) == {4: 11, 8: 5}
    assert np.isfinite(table["variance"]).all()
