"""What every kind of model promises, whatever it is: the tests run over all of `MODELS`."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from numpy.testing import assert_array_equal
from pandas.testing import assert_frame_equal

from pipeline_lib.artifacts.block_tables import BlockTables
from pipeline_lib.artifacts.checkpoint import Checkpoint, StoppedError
from pipeline_lib.artifacts.files import read_table, write_table, write_text
from pipeline_lib.errors import ConfigError
from pipeline_lib.models import MODELS
from pipeline_lib.study.block import Block, Hardware
from pipeline_lib.study.config import load_study
from pipeline_lib.study.cost import block_cost
from pipeline_lib.study.experiment import Experiment
from pipeline_lib.study.model import TrainingData, Weights

ROOT = Path(__file__).resolve().parents[2]
N = 12  # examples of the cases that have some
KINDS = sorted(MODELS)


def make_linear(inputs: int, outputs: int) -> torch.nn.Module:
    return torch.nn.Linear(inputs, outputs)


def make_dataset() -> Any:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((N, 3)), rng.integers(0, 2, N)
    return (x, y), (x[:4], y[:4])


def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(outputs, targets)


ITERATED = {"learning_rate": {"schedule": "inverse_time", "initial": 0.1}, "iterations": 7}
IN_EPOCHS = {
    "learning_rate": {"schedule": "constant", "initial": 0.01},
    "epochs": 2,
    "last_batch": "keep",
    "recorded_steps": "every",
    "evaluate_every": 1,
}
SCALED = {"count": 2, "seed": 1, "scale": 0.5}
EXPERIMENTS: dict[str, dict[str, Any]] = {
    "linear_regression": ITERATED
    | {
        "model": {"dataset": "admissions", "features": ["cgpa", "sop"]},
        "initial_weights": SCALED,
    },
    "linear_network": ITERATED
    | {
        "model": {
            "layers": [3, 4, 2, 2],
            "teacher_seed": 1,
            "teacher_scale": 0.5,
            "dtype": "float64",
            "replicas_at_once": 2,
        },
        "initial_weights": SCALED,
    },
    "perceptron": IN_EPOCHS
    | {
        "model": {
            "dataset": "mnist",
            "layers": [784, 5, 10],
            "training_examples": N,
            "validation_examples": N,
            "subset_seed": 1,
            "dtype": "float64",
        },
        "initial_weights": SCALED,
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
        "initial_weights": SCALED,
        "learning_rate": {"schedule": "warmup_linear", "initial": 0.01, "warmup": 0.1},
        "optimizer": {"kind": "adamw"},
        "clipping": {"norm": 1.0, "of": "tensor"},
    },
    "module": IN_EPOCHS
    | {
        "model": {
            "make_model": f"{__name__}:make_linear",
            "loss": f"{__name__}:loss",
            "dataset": f"{__name__}:make_dataset",
            "dtype": "float64",
            "arguments": {"make_model": {"inputs": 3, "outputs": 2}},
        },
        "initial_weights": {"count": 2, "seed": 1},
    },
}


def experiment_of(kind: str, **changes: Any) -> Experiment:
    """A tiny experiment of this kind, read as from a configuration."""
    raw = yaml.safe_load((ROOT / "config.yaml").read_text())
    values = {"batch_sizes": [4], "runs": 4, "runs_per_block": 4, **EXPERIMENTS[kind], **changes}
    values["model"] = {"kind": kind, **values["model"]}
    raw |= {"experiments": {"tiny": values}, "scales": {"paper": {}}, "scale": "paper"}
    return load_study(raw, MODELS).experiments["tiny"]


def write_sources(folder: Path) -> None:
    """The tables that the kinds read, with made-up numbers."""
    rng = np.random.default_rng(3)
    names = "serial_no gre_score toefl_score university_rating sop lor cgpa research"
    columns = {name: rng.standard_normal(N) for name in [*names.split(), "chance_of_admit"]}
    origin = {"source": "made up", "data_sha256": "0", "n_rows": N}
    write_table(folder / "data/admissions.parquet", pd.DataFrame(columns), "admissions", origin)
    images = [rng.integers(0, 256, 784, dtype=np.uint8).tobytes() for _ in range(N)]
    labels = np.arange(N, dtype=np.int8) % 10
    for name, splits in (("mnist", ["training", "validation"]), ("mnist_distorted", ["distorted"])):
        parts = [
            pd.DataFrame({"split": split, "label": labels, "image": images}) for split in splits
        ]
        write_table(folder / f"data/{name}.parquet", pd.concat(parts), "mnist", origin)
    reviews = pd.DataFrame(
        {
            "split": ["training"] * N + ["validation"] * 4,
            "label": np.arange(N + 4, dtype=np.int8) % 2,
            "text": "words",
            "n_tokens": 8,
            "input_ids": [rng.integers(4, 64, 8).astype(np.int32) for _ in range(N + 4)],
        }
    )
    write_table(folder / "data/reviews/tiny.parquet", reviews, "reviews", origin)
    write_text(folder / "data/reviews/tiny.json", '{"vocabulary": 64}')


@dataclass(frozen=True)
class Case:
    """A tiny experiment with its data, and how to train a block of it."""

    experiment: Experiment
    folder: Path

    @property
    def data(self) -> TrainingData:
        sources = self.experiment.model.sources("tiny")
        return self.experiment.model.load(
            self.experiment, {name: self.folder / path for name, path in sources.items()}
        )

    def weights(self, init: int = 0) -> Weights:
        sources = self.experiment.model.weight_sources("tiny")
        return self.experiment.model.draw_weights(
            self.experiment, init, {name: self.folder / path for name, path in sources.items()}
        )

    def train(
        self, b: int = 4, checkpoint: Checkpoint | None = None, threads: int = 1
    ) -> BlockTables:
        block = Block(self.experiment, 0, b, 0, 5, Hardware(threads=threads))
        return self.experiment.model.train(block, self.weights(), self.data, checkpoint)


@pytest.fixture(params=KINDS)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    write_sources(tmp_path)
    return Case(experiment_of(request.param), tmp_path)


def tables_of(tables: BlockTables) -> dict[str, pd.DataFrame]:
    kinds = ("statistics", "divergence", "metrics", "noise")
    return {kind: getattr(tables, kind) for kind in kinds if getattr(tables, kind) is not None}


def assert_same(one: BlockTables, other: BlockTables) -> None:
    for kind, table in tables_of(one).items():
        assert_frame_equal(tables_of(other)[kind], table, check_exact=True)


def test_every_kind_has_a_case() -> None:
    assert set(EXPERIMENTS) == set(MODELS)


def test_weights_depend_on_their_number_alone(case: Case) -> None:
    first, again, second = case.weights(0), case.weights(0), case.weights(1)
    for name, weight in first.items():
        assert_array_equal(again[name], weight)
    assert any(not np.array_equal(second[name], weight) for name, weight in first.items())


def test_tables_are_artefacts_and_every_step_is_there(case: Case, tmp_path: Path) -> None:
    tables = tables_of(case.train())
    assert ("metrics" in tables) == case.experiment.model.in_epochs
    assert tables["noise"].empty == (case.experiment.model.noise_scale(case.experiment) != "runs")
    for kind, table in tables.items():
        path = tmp_path / f"{kind}.parquet"
        write_table(path, table, kind)
        assert len(read_table(path, kind)) == len(table)
    statistics = tables["statistics"]
    cost = block_cost(case.experiment, 4)
    steps = case.experiment.iterations if not case.experiment.model.in_epochs else 2 * N // 4
    assert cost is None or cost.steps == steps
    assert_array_equal(np.unique(statistics["step"]), np.arange(steps))
    assert set(statistics["n_replicas"]) == {4}
    assert (statistics["sum_sq_dev"] > 0).any()


def test_a_block_is_the_same_again_and_depends_on_its_place(case: Case) -> None:
    one, again = case.train(), case.train()
    assert_same(one, again)
    block = Block(case.experiment, 0, 4, 1, 5)
    other = case.experiment.model.train(block, case.weights(), case.data)
    assert not other.statistics.equals(one.statistics)


def test_threads_change_nothing(case: Case) -> None:
    one, two = case.train(), case.train(threads=2)
    numbers = one.statistics.select_dtypes("number").columns
    # Of transformers and own modules by rounding, of all others not at all.
    rounding = 1e-10 if case.experiment.model.kind in ("transformer", "module") else 0
    assert_frame_equal(
        two.statistics[numbers], one.statistics[numbers], rtol=rounding, atol=rounding
    )


class Stops(Checkpoint):
    """A checkpoint at which a stop is requested at every look but the first ``after``."""

    after = 0

    def save_if_due(self, state: Callable[[], Any]) -> bool:
        self.after -= 1
        if self.after < 0:
            self.save(state())
            raise StoppedError("stopped")
        return False


def test_it_stops_anywhere_and_goes_on_bit_for_bit(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline_lib.models.linear_regression.block.CHUNK_BYTES", 1)
    monkeypatch.setattr("pipeline_lib.training.resumable._POLL_S", 1e-4)
    whole, path = case.train(), tmp_path / "state.zip"
    stops, resumed = 0, None
    while resumed is None:
        checkpoint = Stops(path, {})
        checkpoint.after = stops + 1  # an evaluation that was left begins again
        try:
            with checkpoint:
                resumed = case.train(checkpoint=checkpoint)
        except StoppedError:
            stops += 1
    assert_same(whole, resumed)
    # Groups of linear networks run in threads, which can end before anyone looks: there, stops are
    # those of tests/training/test_block_checkpoints.py.
    if case.experiment.model.kind != "linear_network":
        assert stops >= 2


def test_a_batch_of_all_examples_has_no_variance_at_step_0(case: Case) -> None:
    if case.experiment.model.kind == "linear_network":
        pytest.skip("its examples are drawn online")
    if case.experiment.model.kind == "transformer":
        still = replace(case.experiment.model, dropout=0.0)
        case = Case(replace(case.experiment, model=still), case.folder)
    statistics = case.train(b=N).statistics
    start = statistics[statistics["step"] == 0]
    assert (start["sum_sq_dev"] <= 1e-10 * start["mean_sq_norm"]).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"runs": 5}, "experiments.tiny.runs: 5 is not whole blocks"),
        ({"learning_rate": {"schedule": "linear", "initial": 1.0}}, "schedule: 'linear'"),
        ({"batch_sizes": []}, "at least 1 entries"),
        ({"colour": 1}, "tiny.colour: unknown key"),
    ],
)
def test_what_no_kind_can_is_told_in_one_line(kind, changes, expected) -> None:
    with pytest.raises(ConfigError) as caught:
        experiment_of(kind, **changes)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_of_another_kind_is_refused_with_those_that_there_are(kind) -> None:
    key = "iterations" if MODELS[kind].in_epochs else "epochs"
    with pytest.raises(ConfigError, match=f"tiny.{key}: not for a model of kind {kind}; allowed"):
        experiment_of(kind, **{key: 3})


def test_planning_imports_neither_torch_nor_numba() -> None:
    code = (
        "import sys, pipeline_lib.models, pipeline_lib.study.config, pipeline_lib.study.plan;"
        "sys.exit(bool({'torch', 'numba'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
