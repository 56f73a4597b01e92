"""Everything that the table of docs/configuration.md puts together runs together."""

import dataclasses
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from pipeline_lib.data.reviews_table import Tokens
from pipeline_lib.estimation.statistics import ALL, CLIPPED, STOCHASTIC
from pipeline_lib.models import MODELS
from pipeline_lib.study.block import Block
from pipeline_lib.study.combinations import Combination, combination_table, combinations
from pipeline_lib.study.config import load_study
from pipeline_lib.study.experiment import Experiment
from pipeline_lib.study.learning_rate import SCHEDULES
from pipeline_lib.study.model import TrainingData, Weights

ROOT = Path(__file__).resolve().parents[2]
N, BATCH = 8, 3
CASES = [(kind, one) for kind in MODELS for one in combinations(MODELS[kind])]
IN_EPOCHS = {"epochs": 1, "last_batch": "drop", "recorded_steps": "every", "evaluate_every": 1}
KINDS: dict[str, dict[str, Any]] = {
    "linear_regression": {
        "model": {"dataset": "admissions", "features": ["cgpa", "sop"]},
        "iterations": 2,
    },
    "linear_network": {
        "model": {
            "layers": [3, 4, 2],
            "teacher_seed": 2,
            "teacher_scale": 0.5,
            "dtype": "float64",
            "replicas_at_once": 2,
        },
        "iterations": 2,
    },
    "perceptron": IN_EPOCHS
    | {
        "model": {
            "dataset": "mnist",
            "layers": [784, 3, 10],
            "training_examples": N,
            "validation_examples": N,
            "subset_seed": 1,
            "dtype": "float64",
        },
        "distorted_every": 1,
    },
    "transformer": IN_EPOCHS
    | {
        "model": {
            "dataset": "reviews",
            "d_model": 4,
            "n_layer": 1,
            "n_head": 2,
            "d_inner": 4,
            "dropout": 0.1,
            "training_examples": N,
            "validation_examples": 4,
            "subset_seed": 1,
            "vocabulary": 64,
            "tokens": 8,
        },
    },
    "module": IN_EPOCHS
    | {
        "model": {
            "make_model": f"{__name__}:make_linear",
            "loss": f"{__name__}:loss",
            "dataset": f"{__name__}:make_dataset",
            "dtype": "float64",
        },
    },
}


def make_linear() -> torch.nn.Module:
    return torch.nn.Linear(3, 2)


def make_dataset() -> Any:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((N, 3)), rng.integers(0, 2, N)
    return (x, y), (x[:4], y[:4])


def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(outputs, targets)


def halved(step: int) -> float:
    return 0.5**step


@cache
def experiment_of(kind: str, one: Combination, schedule: tuple[tuple[str, Any], ...]) -> Experiment:
    raw = yaml.safe_load((ROOT / "config.yaml").read_text())
    scale = {"scale": 0.5} if MODELS[kind].needs_scale else {}
    experiment = {
        **KINDS[kind],
        "model": {"kind": kind, **KINDS[kind]["model"]},
        "initial_weights": {"count": 1, "seed": 1, **scale},
        "learning_rate": dict(schedule),
        "batch_sizes": [BATCH],
        "runs": 2,
        "runs_per_block": 2,
        "sampling": one.sampling,
        "optimizer": {"kind": one.optimizer},
    }
    if one.clipping:
        experiment["clipping"] = {"norm": 1e-3, "of": one.clipping}
    raw["experiments"]["tried"] = experiment
    return load_study(raw, MODELS).experiments["tried"]


@dataclasses.dataclass(frozen=True)
class Design:
    features: np.ndarray
    target: np.ndarray


@cache
def material(kind: str) -> tuple[Weights, TrainingData]:
    """Initial weights and data, without the files that most kinds read."""
    model = experiment_of(kind, next(combinations(MODELS[kind])), CONSTANT).model
    rng = np.random.default_rng(0)
    if kind == "linear_regression":
        weights = {"weights": rng.standard_normal(3)}
        design = Design(rng.standard_normal((N, 3)), rng.standard_normal(N))
        return weights, TrainingData(design, "made")
    if kind == "transformer":
        from pipeline_lib.models.transformer.block import initial_weights
        from pipeline_lib.seeding import seed_sequence

        ids = rng.integers(1, 20, (N, 8)).astype(np.int32)
        tokens = Tokens(ids, np.ones_like(ids), (np.arange(N) % 2).astype(np.int8))
        weights = dict(initial_weights(model.sizes, 20, 0.1, seed_sequence(1, "weights")))
        return weights, TrainingData({"training": tokens, "validation": tokens}, "made")
    experiment = experiment_of(kind, next(combinations(MODELS[kind])), CONSTANT)
    weights = model.draw_weights(experiment, 0, {})
    if kind == "perceptron":
        pair = rng.standard_normal((N, 784)), rng.integers(10, size=N)
        sets = dict.fromkeys(("training", "validation", "distorted"), pair)
        return weights, TrainingData(sets, "made")
    return weights, model.load(experiment, {})


CONSTANT = (("schedule", "constant"), ("initial", 0.01))
OWN = f"{__name__}:halved"
RATES: dict[str, dict[str, Any]] = {
    **{name: {} for name in SCHEDULES},
    "step": {"every": 0.5, "factor": 0.1},
    "cosine": {"warmup": 0.5, "final": 0.001},
    OWN: {},
}


def trained(kind: str, one: Combination, schedule: tuple[tuple[str, Any], ...] = CONSTANT) -> Any:
    experiment = experiment_of(kind, one, schedule)
    weights, data = material(kind)
    block = Block(experiment, 0, BATCH, 0, 1)
    return experiment.model.train(block, weights, data)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "one"), CASES, ids=["-".join(map(str, (k, *c))) for k, c in CASES]
)
def test_every_combination_makes_two_steps(kind: str, one: Combination) -> None:
    tables = trained(kind, one)
    table = tables.statistics[tables.statistics["tensor"] == ALL]
    found = table[table["estimator"] == "sample"].pivot(
        index="step", columns="quantity", values="mean_sq_norm"
    )
    assert list(found.index) == [0, 1]
    assert len(tables.divergence) == 0
    assert (found[STOCHASTIC] > 0).all()
    assert (CLIPPED in found) == (one.clipping is not None)
    if one.clipping == "whole":
        np.testing.assert_allclose(found[CLIPPED], 1e-6, rtol=1e-5)
    if one.clipping == "tensor":
        assert (found[CLIPPED] < found[STOCHASTIC]).all()
    # The first step is that of plain SGD, the second is another.
    plain = trained(kind, Combination(one.sampling, "sgd", None)).statistics
    keep = (plain["tensor"] == ALL) & (plain["quantity"] == STOCHASTIC)
    keep &= plain["estimator"] == "sample"
    expected = plain[keep].set_index("step")["mean_sq_norm"]
    # RAdam begins with steps of plain SGD.
    is_other = one.optimizer not in ("sgd", "radam") or one.clipping is not None
    if kind != "linear_regression" and kind != "linear_network":
        np.testing.assert_allclose(found[STOCHASTIC][0], expected[0], rtol=1e-5)
        assert np.isclose(found[STOCHASTIC][1], expected[1], rtol=1e-9) != is_other


@pytest.mark.parametrize("schedule", RATES)
@pytest.mark.parametrize("kind", MODELS)
def test_every_schedule_makes_two_steps(kind: str, schedule: str) -> None:
    rates = tuple({"schedule": schedule, "initial": 0.01, **RATES[schedule]}.items())
    tables = trained(kind, next(combinations(MODELS[kind])), rates)
    assert sorted(tables.statistics["step"].unique()) == [0, 1]


def test_the_page_of_the_configuration_has_the_table() -> None:
    page = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    assert combination_table(MODELS) in page
