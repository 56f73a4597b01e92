"""What jobs are said to cost against what the trainers do."""

import dataclasses
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from pipeline_lib.artifacts.checkpoint import Checkpoint
from pipeline_lib.artifacts.files import write_table
from pipeline_lib.artifacts.state_archive import State
from pipeline_lib.errors import ConfigError
from pipeline_lib.models import MODELS, LinearNetwork, OwnModule, Transformer
from pipeline_lib.models.linear_network import block as linear_network
from pipeline_lib.models.linear_network import cost as network_cost
from pipeline_lib.models.linear_network.block import Grouping, linear_network_block
from pipeline_lib.models.linear_network.student import Student
from pipeline_lib.models.linear_network.two_layer import multiplications
from pipeline_lib.models.linear_regression.block import regression_block
from pipeline_lib.models.perceptron.cost import evaluation_multiply_adds, multiply_adds
from pipeline_lib.models.perceptron.replicas import MlpReplicas
from pipeline_lib.models.transformer import cost as transformer_cost
from pipeline_lib.models.transformer.xlnet import xlnet_module
from pipeline_lib.seeding import seed_sequence
from pipeline_lib.study.block import Block
from pipeline_lib.study.config import load_study
from pipeline_lib.study.cost import (
    GPU,
    MARGIN,
    MIN_MB,
    MIN_RUNTIME,
    STATISTICS,
    UPDATE,
    BlockCost,
    Speed,
    asked_for,
    block_cost,
    resources,
    seconds,
)
from pipeline_lib.study.experiment import EpochExperiment, Experiment, IterationExperiment
from pipeline_lib.study.optimizers import Adam, Sgd
from pipeline_lib.study.plan import plan, plan_text
from pipeline_lib.training import resumable
from pipeline_lib.training.epoch_plan import EpochData, EpochPlan
from pipeline_lib.training.epochs import epoch_block
from pipeline_lib.training.labelled import Evaluation, ExampleMoments, GivenBatch
from pipeline_lib.training.steps import StepPlan

ROOT = Path(__file__).resolve().parents[2]
STREAM = seed_sequence(0, "cost")
RNG = np.random.default_rng(0)
PROVENANCE = {"config": "0" * 16, "data_sha256": "0" * 64, "source": "a place", "n_rows": 500}


def study_at(scale: str, **compute):
    raw = yaml.safe_load((ROOT / "config.yaml").read_text())
    raw["scale"] = scale
    raw["compute"].update(compute)
    return load_study(raw, MODELS)


SMOKE, PAPER = study_at("smoke").experiments, study_at("paper").experiments


class CountingStack:
    """A stack that learns nothing and counts its steps and the examples of one replica."""

    def __init__(self, n_replicas: int) -> None:
        self.parameters = {name: torch.zeros(n_replicas, 2) for name in ("W1", "b1")}
        self.n_steps = self.n_examples = self.n_evaluated = self.n_recorded = self.n_averaged = 0

    def gradients(self, batch):
        self._see(batch)
        self.n_recorded += 1
        return {name: torch.ones_like(p) for name, p in self.parameters.items()}

    def example_moments(self, step, examples, twice) -> ExampleMoments:
        self.n_averaged += examples.size
        norms = {name: p.square().sum(dim=1).double() for name, p in self.parameters.items()}
        return ExampleMoments(self.parameters, norms, {})

    def descend_through(self, batches, learning_rates) -> None:
        for batch in batches:
            self._see(batch)

    def evaluate(self, x, y, chunk, meanwhile) -> Evaluation:
        self.n_evaluated += len(x)
        zeros = torch.zeros(len(self.parameters["W1"]), dtype=torch.float64)
        return Evaluation(zeros, zeros)

    def _see(self, batch) -> None:
        self.n_steps += 1
        self.n_examples += batch.size


def block_of(experiment: Experiment, b: int) -> Block:
    return Block(experiment, init=0, batch_size=b, seed=0, study_seed=0)


def train_mlp(experiment: EpochExperiment, b: int, stack, checkpoint: Checkpoint | None = None):
    """The block of ``experiment`` with ``stack`` in place of a perceptron of its own."""
    model = experiment.model

    def examples(n: int):
        x = RNG.standard_normal((n, model.layers[0])).astype(np.float32)
        return x, RNG.integers(model.layers[-1], size=n)

    sets = {name: examples(model.validation_examples) for name in ("validation", "distorted")}
    sets["training"] = examples(model.training_examples)
    return epoch_block(
        lambda _: stack,
        EpochData.on("cpu", *sets["training"], sets),
        EpochPlan.of(block_of(experiment, b), model.training_examples, 1000),
        checkpoint=checkpoint,
    )


def perceptrons(layers, n_replicas: int, device: str = "cpu") -> MlpReplicas:
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for k, (inputs, outputs) in enumerate(pairwise(layers), start=1):
        weights[f"W{k}"] = 0.1 * torch.randn(outputs, inputs, generator=generator)
        weights[f"b{k}"] = torch.zeros(outputs)
    return MlpReplicas({name: w.to(device) for name, w in weights.items()}, n_replicas)


@pytest.mark.parametrize("last_batch", ["keep", "drop"])
@pytest.mark.parametrize("b", [64, 128])
def test_steps_and_examples_are_those_of_training_in_epochs(last_batch: str, b: int) -> None:
    experiment = dataclasses.replace(SMOKE["mnist"], last_batch=last_batch)
    stack = CountingStack(experiment.runs_per_block)
    train_mlp(experiment, b, stack)
    cost = block_cost(experiment, b)
    assert cost.steps == stack.n_steps
    layers = experiment.model.layers
    parameters = sum((inputs + 1) * outputs for inputs, outputs in pairwise(layers))
    # The first of three evaluations is of initial weights, which all replicas share.
    at_start = stack.n_evaluated // 3
    expected = (
        2 * multiply_adds(layers, stack.n_examples + stack.n_averaged)
        + 2 * evaluation_multiply_adds(layers, stack.n_evaluated - at_start)
        + STATISTICS * parameters * stack.n_recorded
    )
    of_start = 2 * evaluation_multiply_adds(layers, at_start)
    assert cost.operations == experiment.runs_per_block * expected + of_start
    assert stack.n_averaged > 0


def test_the_short_batch_counts_as_one_step() -> None:
    # 320 examples in batches of 128 over 2 epochs
    steps = {
        last: block_cost(dataclasses.replace(SMOKE["mnist"], last_batch=last), 128).steps
        for last in ("keep", "drop")
    }
    assert steps == {"keep": 6, "drop": 4}
    assert block_cost(PAPER["mnist"], 64).steps == 1000 * 938


def in_place_product(_, left, right, **settings) -> int:
    """Operations of ``baddbmm_``, which torch's counter leaves out."""
    return 2 * left[0] * left[1] * left[2] * right[2]


@pytest.mark.parametrize("layers", [(784, 1024, 512, 10), (7, 5), (6, 5, 4, 3, 2)])
def test_operations_of_a_perceptron_are_those_of_its_products(layers: tuple[int, ...]) -> None:
    n_replicas, b = 3, 32
    stack = perceptrons(layers, n_replicas, "meta")  # shapes only: nothing is computed
    x = torch.empty(n_replicas, b, layers[0], device="meta")
    batch = GivenBatch(x, torch.empty(n_replicas, b, dtype=torch.int64, device="meta"))
    in_place = {torch.ops.aten.baddbmm_: in_place_product}
    with FlopCounterMode(display=False, custom_mapping=in_place) as step:
        stack.descend(batch, 0.1)
    with FlopCounterMode(display=False) as gradients:
        stack.gradients(batch)
    expected = 2 * n_replicas * multiply_adds(layers, b)
    assert step.get_total_flops() == gradients.get_total_flops() == expected


@pytest.mark.parametrize("n_moved", [0, 1])
def test_operations_of_an_evaluation(n_moved: int) -> None:
    # Replicas that share their weights are evaluated once.
    layers, n = (7, 5, 3), 32
    stack = perceptrons(layers, 3)
    stack._pool, stack._parts = None, [slice(0, 3)]  # the counter sees one thread
    for weight in stack.parameters.values():
        weight[2] += n_moved
    x, y = torch.zeros(n, layers[0]), torch.zeros(n, dtype=torch.int64)
    with FlopCounterMode(display=False) as evaluation:
        stack.evaluate(x, y, chunk=10)
    evaluated = 3 if n_moved else 1
    assert evaluation.get_total_flops() == 2 * evaluated * evaluation_multiply_adds(layers, n)


@pytest.mark.parametrize("b", [1, 3, 16, 63, 64, 65, 256, 5000])
@pytest.mark.parametrize("layers", [(64, 256, 128), (8, 4, 6), (5, 30, 2), (3, 5, 2), (40, 1, 1)])
def test_operations_of_a_two_layer_network(layers: tuple[int, int, int], b: int) -> None:
    p, p1, p2 = layers
    hidden = min(p1, p + p2)
    products = min(multiplications(p, hidden, p2, b).values())
    assert network_cost.multiply_adds(layers, b) == products
    model = dataclasses.replace(SMOKE["teacher_student"].model, layers=layers)
    experiment = dataclasses.replace(SMOKE["teacher_student"], model=model)
    cost = block_cost(experiment, b)
    # Stochastic and population gradients of W1 and of W2 are summarised.
    step = 2 * products + STATISTICS * 2 * hidden * (p + p2)
    assert (cost.steps, cost.operations) == (10, 20 * 10 * step)


def test_a_two_layer_network_under_adam_trains_all_of_its_hidden_units() -> None:
    p, p1, p2 = layers = (5, 30, 2)
    model = dataclasses.replace(SMOKE["teacher_student"].model, layers=layers)
    experiment = dataclasses.replace(SMOKE["teacher_student"], model=model, optimizer=Adam())
    products = min(multiplications(p, p1, p2, 16).values())
    step = 2 * products + (2 * STATISTICS + UPDATE) * p1 * (p + p2)
    assert block_cost(experiment, 16).operations == 20 * 10 * step


@pytest.mark.parametrize("b", [1, 4, 250, 500])
def test_linear_regression_costs_more_where_torch_trains_it(b: int) -> None:
    plain, paper = PAPER["admission"], block_cost(PAPER["admission"], b)
    momentum = block_cost(dataclasses.replace(plain, optimizer=Sgd(momentum=0.9)), b)
    assert momentum.operations > 3 * paper.operations
    assert momentum.steps == paper.steps


def test_operations_of_linear_regression() -> None:
    experiment = SMOKE["admission"]  # 30 runs of 50 steps
    cost = {b: block_cost(experiment, b) for b in (1, 2, 250, 251, 499, 500)}
    assert {c.steps for c in cost.values()} == {50}
    # An example takes a residual and an update of the sum over 8 columns: 4 * 8 operations.
    assert cost[2].operations - cost[1].operations == 30 * 50 * 4 * 8
    # Beyond n/2 the examples left out are drawn instead; at b = n nothing is.
    assert cost[251].operations < cost[250].operations
    assert cost[499].operations == cost[1].operations
    assert cost[500].operations == cost[1].operations - 30 * 50 * 4 * 8
    one = dataclasses.replace(experiment.model, features=("cgpa",))
    assert block_cost(dataclasses.replace(experiment, model=one), 4).operations < (
        block_cost(experiment, 4).operations / 4
    )


def regression_tables(
    experiment: IterationExperiment, b: int, checkpoint: Checkpoint | None = None
):
    features, target = RNG.standard_normal((500, 8)), RNG.standard_normal(500)
    plan_of_block = StepPlan.of(block_of(experiment, b))
    return regression_block(features, target, np.zeros(8), plan_of_block, checkpoint=checkpoint)


def network_tables(experiment: IterationExperiment, b: int, checkpoint: Checkpoint | None = None):
    model = experiment.model
    shapes = [(outputs, inputs) for inputs, outputs in pairwise(model.layers)]
    weights = tuple(0.01 * RNG.standard_normal(shape) for shape in shapes)
    teacher = 0.01 * RNG.standard_normal((model.layers[-1], model.layers[0]))
    return linear_network_block(
        Student(weights, teacher),
        StepPlan.of(block_of(experiment, b)),
        Grouping(model.replicas_at_once, model.dtype),
        checkpoint=checkpoint,
    )


def mlp_tables(experiment: EpochExperiment, b: int, checkpoint: Checkpoint | None = None):
    stack = perceptrons(experiment.model.layers, experiment.runs_per_block)
    return train_mlp(experiment, b, stack, checkpoint)


def longer(experiment: Experiment) -> Experiment:
    """More rows, so that it is they and not the file's frame that take the room."""
    if isinstance(experiment, IterationExperiment):
        small = experiment.model
        if isinstance(small, LinearNetwork):
            small = dataclasses.replace(small, layers=(4, 3, 2))
        return dataclasses.replace(experiment, model=small, iterations=500, runs_per_block=4)
    model = dataclasses.replace(
        experiment.model, layers=(784, 3, 10), training_examples=40, validation_examples=20
    )
    changes = {"epochs": 60, "runs_per_block": 40, "recorded_steps": 100}
    return dataclasses.replace(experiment, model=model, **changes)


@pytest.mark.slow
@pytest.mark.parametrize("change", [lambda e: e, longer], ids=["smoke", "longer"])
@pytest.mark.parametrize(
    ("name", "b", "tables"),
    [
        ("admission", 4, regression_tables),
        ("teacher_student", 4, network_tables),
        ("mnist", 20, mlp_tables),
    ],
)
def test_storage_is_near_that_of_real_artefacts(tmp_path, name, b, tables, change) -> None:
    experiment = change(SMOKE[name])
    result = tables(experiment, b)
    for kind in (field.name for field in dataclasses.fields(result)):
        if (table := getattr(result, kind)) is not None:
            write_table(tmp_path / f"{kind}.parquet", table, kind, PROVENANCE)
    written = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert written / 2 < block_cost(experiment, b).bytes_written < 2 * written


class Largest(Checkpoint):
    """Keeps the size of its largest state."""

    size = 0

    def save(self, state: State) -> bool:
        saved = super().save(state)
        self.size = max(self.size, self.path.stat().st_size)
        return saved


@pytest.mark.slow
@pytest.mark.parametrize("change", [lambda e: e, longer], ids=["smoke", "longer"])
@pytest.mark.parametrize(
    ("name", "b", "tables"),
    [
        ("admission", 4, regression_tables),
        ("teacher_student", 4, network_tables),
        ("mnist", 20, mlp_tables),
    ],
)
def test_checkpoints_are_near_those_of_real_blocks(
    tmp_path, name, b, tables, change, monkeypatch
) -> None:
    experiment = change(SMOKE[name])
    if isinstance(experiment, IterationExperiment):
        monkeypatch.setattr(linear_network, "_STEPS_PER_RECORD", experiment.iterations // 10)
    monkeypatch.setattr(resumable, "_POLL_S", 0.002)
    if isinstance(experiment.model, LinearNetwork):  # in several groups
        model = dataclasses.replace(experiment.model, replicas_at_once=2)
        experiment = dataclasses.replace(experiment, model=model)
    # Without a pause a long run in epochs would save thousands of times.
    every_s = 0.05 if change is longer and name == "mnist" else 0
    checkpoint = Largest(tmp_path / "state.zip", {"code": "abc"}, every_s)
    tables(experiment, b, checkpoint)
    assert checkpoint.size / 2 < block_cost(experiment, b).bytes_checkpoint < 2 * checkpoint.size


def test_memory_grows_with_what_is_held() -> None:
    mnist, student = PAPER["mnist"], PAPER["teacher_student"]
    weights = 4 * (784 * 1024 + 1024 + 1024 * 512 + 512 + 512 * 10 + 10)
    held = block_cost(mnist, 64).bytes_resident
    fewer = dataclasses.replace(mnist, runs_per_block=25)
    more = held - block_cost(fewer, 64).bytes_resident
    assert more == 25 * (2 * weights + 8 * 60000)  # weights, gradients, an order
    assert held > 4 * 784 * (60000 + 2 * 10000)
    assert block_cost(student, 4, 4).bytes_resident > block_cost(student, 4, 1).bytes_resident
    assert block_cost(student, 4, 4).operations == block_cost(student, 4, 1).operations


COST = BlockCost(
    steps=1000,
    replicas=10,
    groups=2,
    parts=10,
    operations=6e12,
    bytes_resident=2 * 10**9,
    bytes_written=1,
    bytes_checkpoint=1,
)


def test_time_of_a_block() -> None:
    work, wait = 6e12 / 1e9, 1000 * 0.5
    assert seconds(COST, Speed(1e9, 0.5, "replica")) == work + 10 * wait
    assert seconds(COST, Speed(1e9, 0.5, "group")) == work + 2 * wait
    assert seconds(COST, Speed(1e9, 0.5, "turn")) == work + 10 * wait
    # 10 parts on 4 threads take 3 turns, on 100 threads 1
    assert seconds(COST, Speed(1e9, 0, "replica"), 4) == pytest.approx(0.3 * work)
    assert seconds(COST, Speed(1e9, 0, "replica"), 100) == pytest.approx(0.1 * work)


def test_margins_double_with_every_attempt() -> None:
    speed = Speed(1e9, 0, "replica")  # 100 minutes
    asked = [resources(COST, speed, attempt) for attempt in (1, 2, 3)]
    assert [r["runtime"] for r in asked] == [MARGIN * 100 * again for again in (1, 2, 4)]
    assert [r["mem_mb"] for r in asked] == [MARGIN * (700 + 2000) * again for again in (1, 2, 4)]
    tiny = dataclasses.replace(COST, operations=1.0, steps=1, bytes_resident=1)
    least = [resources(tiny, speed, attempt) for attempt in (1, 2)]
    assert least[0] == {"runtime": MIN_RUNTIME, "mem_mb": MIN_MB}
    assert least[1] == {"runtime": 2 * MIN_RUNTIME, "mem_mb": 2 * MIN_MB}
    assert all(type(value) is int for r in asked + least for value in r.values())


def test_rules_ask_for_the_device_and_threads_of_the_study() -> None:
    mnist = PAPER["mnist"]
    on_cpu = asked_for(mnist, 64, 1, "cpu")["runtime"]
    assert asked_for(mnist, 64, 1, "auto")["runtime"] == on_cpu
    assert asked_for(mnist, 64, 1, "cuda")["runtime"] < on_cpu / 50
    assert (
        asked_for(mnist, 64, 1, "cuda", 10)["runtime"] == asked_for(mnist, 64, 1, "cuda")["runtime"]
    )
    assert asked_for(mnist, 64, 1, "cpu", 10)["runtime"] == pytest.approx(on_cpu / 10, rel=0.01)
    assert asked_for(mnist, 64, 2)["mem_mb"] == pytest.approx(
        2 * asked_for(mnist, 64, 1)["mem_mb"], abs=1
    )


def test_beside_a_gpu_the_host_has_cuda_the_data_and_the_state_of_a_stopped_block() -> None:
    beside = dataclasses.replace(COST, bytes_beside_gpu=300 * 10**6)
    assert resources(beside, GPU)["mem_mb"] == MARGIN * (700 + 1500 + 300)
    for name, b in (("mnist", 64), ("yelp", 32)):
        cost = block_cost(PAPER[name], b)
        assert cost.bytes_checkpoint < cost.bytes_beside_gpu < cost.bytes_resident
        asked = asked_for(PAPER[name], b, 1, "cuda")["mem_mb"]
        assert asked == resources(cost, GPU)["mem_mb"]
    # Replicas, their gradients and what Adam keeps are on the GPU: the states alone pass the host.
    assert asked < 0.7 * asked_for(PAPER["yelp"], 32, 1)["mem_mb"]


def test_bad_values() -> None:
    for name in ("admission", "teacher_student", "mnist"):
        with pytest.raises(ConfigError, match=r"batch size 0: allowed are whole numbers from 1"):
            block_cost(SMOKE[name], 0)
    with pytest.raises(ConfigError, match=r"batch size 501: allowed are 1 to 500"):
        block_cost(SMOKE["admission"], 501)
    with pytest.raises(ConfigError, match=r"batch size 321: allowed are 1 to 320"):
        block_cost(SMOKE["mnist"], 321)
    own = OwnModule("module", "mine:make", "mine:loss", "mine:sets", "float32")
    unknown = dataclasses.replace(SMOKE["mnist"], model=own)
    assert block_cost(unknown, 64) is None
    first, third = (asked_for(unknown, 64, attempt) for attempt in (1, 3))  # what is likely to do
    assert third == {name: 4 * value for name, value in first.items()}
    with pytest.raises(ValueError, match="at least 1 thread, got 0"):
        block_cost(SMOKE["mnist"], 64, 0)
    with pytest.raises(ValueError, match="attempts are counted from 1, got 0"):
        resources(COST, GPU, 0)


def test_plan_holds_every_job_once() -> None:
    study = study_at("paper")
    table = plan(study)
    assert set(zip(table["experiment"], table["b"], strict=True)) == {
        (name, b) for name, e in study.experiments.items() for b in e.batch_sizes
    }
    runs = table["jobs"] * table["runs_per_job"]
    for name, experiment in study.experiments.items():
        mine = table["experiment"] == name
        assert (runs[mine] == experiment.runs * experiment.initial_weights.count).all()
    assert (table["cpu_hours"] == table["jobs"] * table["cpu_hours_per_job"]).all()
    row = table.set_index(["experiment", "b"]).loc[("mnist", 64)]
    cost = block_cost(PAPER["mnist"], 64)
    assert row["gpu_hours_per_job"] == pytest.approx(seconds(cost, GPU) / 3600)
    assert row["storage_bytes"] == 2 * cost.bytes_written
    assert row["tflop_per_job"] == pytest.approx(cost.operations / 1e12)


def test_plan_as_text() -> None:
    lines = plan_text(study_at("paper")).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("experiment "))
    end = next(i for i, line in enumerate(lines) if line.startswith("total: "))
    rows = lines[start:end]
    table = plan(study_at("paper"))
    assert len(rows) == 1 + len(table)
    assert len({len(row) for row in rows}) == 1  # aligned
    total = lines[end]
    assert f"{table['jobs'].sum()} jobs" in total
    assert f"{table['cpu_hours'].sum():,.0f} CPU-hours" in total
    warned = lines[end + 1 :]
    assert [line.split(",")[0] for line in warned] == [
        "warning: mnist",
        "warning: mnist_inits",
        "warning: yelp",
    ]
    assert "b = 64, 128, 256, 512: " in warned[0]
    assert "more than 24 h" in warned[0]
    for short in (study_at("smoke"), study_at("paper", device="cuda")):
        assert "warning" not in plan_text(short)


def test_experiments_of_the_paper_are_estimated() -> None:
    for experiment in PAPER.values():
        assert experiment.model.cpu_core is not None
        assert block_cost(experiment, experiment.batch_sizes[0]) is not None


def test_planning_needs_no_torch() -> None:
    code = f"""
import sys, yaml
from pipeline_lib.models import MODELS
from pipeline_lib.study.config import load_study
from pipeline_lib.study.plan import plan_text
plan_text(load_study(yaml.safe_load(open({str(ROOT / "config.yaml")!r})), MODELS))
sys.exit(bool({{"torch", "numba"}} & set(sys.modules)))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


PAPER_XLNET = Transformer(
    kind="transformer",
    dataset="reviews",
    d_model=384,
    n_layer=6,
    n_head=12,
    d_inner=4096,
    dropout=0.1,
    training_examples=10_000,
    validation_examples=1000,
    subset_seed=1,
    vocabulary=31_246,
    tokens=128,
)


def test_xlnet_of_the_paper_has_its_parameters() -> None:
    assert sum(transformer_cost.n_parameters(PAPER_XLNET).values()) == 35_493_122


def test_xlnet_products_are_those_of_a_forward_pass() -> None:
    model = dataclasses.replace(
        PAPER_XLNET,
        d_model=16,
        n_layer=2,
        n_head=4,
        d_inner=24,
        dropout=0.0,
        vocabulary=64,
        tokens=12,
    )
    module = xlnet_module(model.vocabulary, model.sizes, seed=1)
    ids = torch.randint(4, 64, (3, 12))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(ids)
    # The summary and the scores are taken of one token of each review, not of all, and relative
    # positions, twice as many as tokens, are projected too.
    counted = counter.get_total_flops() / 2
    assert 0.7 * counted < transformer_cost.multiply_adds(model, 3) < 1.2 * counted


def test_plan_counts_checkpoints_of_xlnet() -> None:
    table = plan(study_at("paper")).set_index(["experiment", "b"])
    row = table.loc["yelp", 64]
    # Weights and two moments of AdamW, float32, of 100 replicas; a new state beside the old one.
    assert row["checkpoint_bytes"] == 2 * 100 * 35_493_122 * 12
    assert row["steps"] == 20 * 157
