"""Blocks in epochs, killed and stopped at any step: they go on bit for bit."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from blocks import scheduled_plan
from pipeline_lib.artifacts.block_tables import BlockTables
from pipeline_lib.artifacts.checkpoint import Checkpoint, StoppedError
from pipeline_lib.artifacts.state_archive import State
from pipeline_lib.estimation.statistics import FULL
from pipeline_lib.models.module import block as blocks_module
from pipeline_lib.models.module.block import chunk_of, module_block
from pipeline_lib.models.perceptron.replicas import MlpReplicas
from pipeline_lib.models.transformer.xlnet import xlnet_module
from pipeline_lib.seeding import seed_sequence
from pipeline_lib.study.block import Hardware
from pipeline_lib.study.learning_rate import LearningRate
from pipeline_lib.study.optimizers import PLAIN_SGD, Adam, AdamW, Optimizer
from pipeline_lib.study.settings import Clipping
from pipeline_lib.training.dropout_stack import DropoutReplicas
from pipeline_lib.training.epoch_plan import EpochData, EpochPlan
from pipeline_lib.training.epochs import epoch_block

pytestmark = pytest.mark.slow

N, BATCH, EPOCHS, REPLICAS, GROUP = 22, 3, 6, 5, 3  # groups of 3 and 2
PER_EPOCH = 8  # the last mini-batch has 1 example
STEPS = PER_EPOCH * EPOCHS
RECORDED = (2, 3, 12, 30)
EVALUATED = {"training": [EPOCHS], "validation": [2, 5]}
ORDERS = seed_sequence(1, "orders")
TABLES = ("statistics", "divergence", "metrics", "noise")
MOST = 12  # steps between two kills, and few more
MADE_OF = {"code": "abc"}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Operations as small as these take ten times as long on two."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def data() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((N + 4, 6)).astype(np.float32), rng.integers(3, size=N + 4)
    return {"training": (x[:N], y[:N]), "validation": (x[N:], y[N:])}


def mlp(
    state: Checkpoint | None = None,
    group: int = GROUP,
    too_fast_from: int = STEPS,
) -> BlockTables:
    generator = torch.Generator().manual_seed(0)
    shapes = {"W1": (7, 6), "b1": (7,), "W2": (3, 7), "b2": (3,)}
    weights = {
        name: 0.4 * torch.randn(*shape, generator=generator) for name, shape in shapes.items()
    }

    def rate(step: int) -> float:
        return 0.3 / (1 + step) if step < too_fast_from else 1e30

    return epoch_block(
        lambda r: MlpReplicas(weights, len(r), threads=2),
        EpochData.on("cpu", *data()["training"], data()),
        EpochPlan(rate, BATCH, EPOCHS, REPLICAS, ORDERS, RECORDED, EVALUATED, averaged=5),
        group,
        state,
    )


def plan_of_module(
    learning_rate: LearningRate,
    epochs: int,
    n_replicas: int,
    evaluated_epochs: dict[str, list[int]],
    record: int | Literal["every"] = 3,
) -> EpochPlan:
    return scheduled_plan(
        N,
        learning_rate,
        record,
        batch_size=BATCH,
        epochs=epochs,
        n_replicas=n_replicas,
        stream=ORDERS,
        evaluated_epochs=evaluated_epochs,
        chunk=chunk_of(BATCH),
    )


def own_module(
    optimizer: Optimizer, dropout: float, state: Checkpoint | None, group: int
) -> BlockTables:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Linear(6, 7), nn.Tanh(), nn.Dropout(dropout), nn.Linear(7, 3)]
    module = nn.Sequential(*layers)
    plan = plan_of_module(LearningRate("inverse_time", 0.1), EPOCHS, REPLICAS, EVALUATED)
    # What fits the memory is another matter.
    with mock.patch.object(blocks_module, "most_that_fit", return_value=group):
        return module_block(
            module,
            cross_entropy,
            data(),
            replace(plan, optimizer=optimizer, averaged=6),
            checkpoint=state,
        )


def sgd_module(state: Checkpoint | None = None, group: int = GROUP) -> BlockTables:
    return own_module(PLAIN_SGD, 0.0, state, group)


def adam_module(state: Checkpoint | None = None, group: int = GROUP) -> BlockTables:
    return own_module(Adam(), 0.4, state, group)


def xlnet(state: Checkpoint | None = None, group: int = GROUP) -> BlockTables:
    sizes = {"d_model": 8, "n_layer": 1, "n_head": 2, "d_inner": 8, "dropout": 0.3}
    module, dropout = xlnet_module(20, sizes), seed_sequence(1, "dropout")
    rng = np.random.default_rng(0)
    x, y = rng.integers(1, 20, (N + 4, 6)).astype(np.int32), rng.integers(2, size=N + 4)
    sets = {"training": (x[:N], y[:N]), "validation": (x[N:], y[N:])}
    rates = LearningRate("warmup_linear", 0.05, 2 / STEPS).values(STEPS)
    recorded = [step for step in range(STEPS) if step % PER_EPOCH != PER_EPOCH - 1]
    return epoch_block(
        lambda replicas: DropoutReplicas(module, cross_entropy, replicas, dropout),
        EpochData.on("cpu", *sets["training"], sets),
        EpochPlan(
            rates,
            BATCH,
            EPOCHS,
            REPLICAS,
            ORDERS,
            recorded,
            EVALUATED,
            optimizer=AdamW(weight_decay=0.1),
            clipping=Clipping(0.05, "tensor"),
        ),
        group,
        state,
    )


BLOCKS: dict[str, Callable[..., BlockTables]] = {
    "perceptron": mlp,
    "perceptron, diverging": partial(mlp, too_fast_from=20),
    "own module, SGD": sgd_module,
    "own module, Adam and dropout": adam_module,
    "XLNet": xlnet,
}
EVERY = pytest.mark.parametrize("kind", BLOCKS)


@pytest.fixture(scope="module")
def undisturbed() -> Callable[[str], BlockTables]:
    found: dict[str, BlockTables] = {}

    def of(kind: str) -> BlockTables:
        if kind not in found:
            found[kind] = BLOCKS[kind]()
        return found[kind]

    return of


def assert_same(found: BlockTables, expected: BlockTables) -> None:
    assert (expected.statistics["contribution_mean"] > 0).any()
    assert (len(expected.noise) > 0) == (FULL in set(expected.statistics["quantity"]))
    for name in TABLES:
        one, other = getattr(found, name), getattr(expected, name)
        pd.testing.assert_frame_equal(one, other, check_exact=True)


def steps_done(state: State | None) -> int:
    """The steps that a state need not make again, of all groups."""
    return 0 if state is None else STEPS * len(state["finished"]) + state["group"]["step"]


class Watching(Checkpoint):
    """Reads while another process writes."""

    def _remove_torn(self) -> None:
        pass


class Slow(Checkpoint):
    """Leaves time to be killed in, and waits for it once ``MOST`` steps more are saved."""

    waits = True

    def load(self) -> dict[str, Any] | None:
        state = super().load()
        self.enough = steps_done(state) + MOST
        return state

    def save_if_due(self, state: Callable[[], State]) -> bool:
        if self.waits:
            time.sleep(0.005)
        return super().save_if_due(state)

    def save(self, state: State) -> bool:
        is_saved = super().save(state)
        if self.waits and steps_done(state) >= self.enough:
            threading.Event().wait()
        return is_saved


def train(kind: str, folder: Path, is_last: bool) -> None:
    """What a child process does: the block, with many saves, and its tables."""
    torch.set_num_threads(1)
    # Between saves there are some steps, which a killed process makes again.
    with Slow(folder / "state.zip", MADE_OF, every_s=0.01) as state:
        state.waits = not is_last
        result = BLOCKS[kind](state)
        for name in TABLES:
            getattr(result, name).to_pickle(folder / name)


@EVERY
def test_a_killed_process_goes_on_bit_for_bit(
    kind: str,
    undisturbed: Callable[[str], BlockTables],
    tmp_path: Path,
    children: ForkServerContext,
) -> None:
    assert ("diverging" in kind) == (len(undisturbed(kind).divergence) > 0)
    path = tmp_path / "state.zip"
    rng = random.Random(kind)
    done = [0]
    for _ in range(4):
        child = children.Process(target=train, args=(kind, tmp_path, False))
        child.start()
        enough = done[-1] + rng.randint(1, MOST)
        while child.is_alive() and steps_done(Watching(path, MADE_OF).load()) < enough:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.03))
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        done.append(steps_done(Checkpoint(path, MADE_OF).load()))
    assert done == sorted(set(done)), "every process goes on where the one before was"
    child = children.Process(target=train, args=(kind, tmp_path, True))
    child.start()
    child.join()
    assert child.exitcode == 0
    found = BlockTables(*(pd.read_pickle(tmp_path / name) for name in TABLES))
    assert_same(found, undisturbed(kind))
    assert not path.exists()


class Signalled(Checkpoint):
    """Gets a signal when it is asked for so many times whether to save."""

    def __init__(self, path: Path, times: int, number: signal.Signals = signal.SIGTERM) -> None:
        super().__init__(path, MADE_OF, every_s=1e9)
        self.left = times
        self.number = number

    def save_if_due(self, state: Callable[[], State]) -> bool:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), self.number)
        return super().save_if_due(state)


def stopped(kind: str, path: Path, times: int, number: signal.Signals = signal.SIGTERM) -> State:
    """The state of a block that was stopped so many chances to save further on."""
    with (
        pytest.raises(StoppedError, match=f"stopped by {number.name}, state saved"),
        Signalled(path, times, number) as checkpoint,
    ):
        BLOCKS[kind](checkpoint)
    state = Checkpoint(path, MADE_OF).load()
    assert state is not None
    return state


@EVERY
def test_a_block_stopped_again_and_again_makes_every_step_once(
    kind: str, undisturbed: Callable[[str], BlockTables], tmp_path: Path
) -> None:
    """At all places of an epoch, beside recorded steps and between them, and in evaluations."""
    path = tmp_path / "state.zip"
    done = [0]
    while True:
        number = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)[len(done) % 3]
        try:
            with Signalled(path, 5, number) as checkpoint:
                resumed = BLOCKS[kind](checkpoint)
            break
        except StoppedError as error:
            assert f"stopped by {number.name}, state saved" in str(error)  # noqa: PT017
        done.append(steps_done(Checkpoint(path, MADE_OF).load()))
        # Four of the five chances may lie in an evaluation.
        assert done[-2] < done[-1] <= done[-2] + 5
    assert done[-1] > 2 * STEPS - 6
    assert_same(resumed, undisturbed(kind))
    assert not path.exists()


@EVERY
def test_a_stop_in_an_evaluation_leaves_it_to_be_made(
    kind: str, undisturbed: Callable[[str], BlockTables], tmp_path: Path
) -> None:
    path = tmp_path / "state.zip"
    # Of the first group: the steps of two epochs, then a part of the validation set's evaluation.
    state = stopped(kind, path, 2 * PER_EPOCH)
    assert (state["group"]["step"], state["group"]["to_evaluate"]) == (2 * PER_EPOCH, 2)
    assert "validation" not in set(state["group"]["metrics"]["split"])
    # Stopped there once more, it has made no step.
    state = stopped(kind, path, 1)
    assert (state["group"]["step"], state["group"]["to_evaluate"]) == (2 * PER_EPOCH, 2)
    with Checkpoint(path, MADE_OF, every_s=0) as checkpoint:  # saves at every chance
        assert_same(BLOCKS[kind](checkpoint), undisturbed(kind))


class Noisy(nn.Linear):
    """Random also when it is evaluated; torch.func cannot take its branch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = 1e-5 if x.sum() < 1e9 else 0.0
        return super().forward(x) + scale * torch.randn(())


def test_an_evaluation_begun_anew_draws_the_same(tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Noisy(6, 3)
    plan = plan_of_module(LearningRate("constant", 0.1), 3, 4, {"validation": [1, 3]})

    def block(state: Checkpoint | None = None) -> BlockTables:
        return module_block(module, cross_entropy, data(), plan, checkpoint=state)

    path = tmp_path / "state.zip"
    with pytest.raises(StoppedError), Signalled(path, PER_EPOCH + 2) as checkpoint:
        block(checkpoint)  # after three of the evaluation's four replicas
    state = Checkpoint(path, MADE_OF).load()
    assert state is not None
    assert state["group"]["to_evaluate"] == 1
    with Checkpoint(path, MADE_OF) as checkpoint:
        assert_same(block(checkpoint), block())


def test_groups_too_large_for_the_memory_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "state.zip"
    for then, now, told in ((REPLICAS, GROUP, True), (GROUP, REPLICAS, False), (3, 3, False)):
        with pytest.raises(StoppedError), Signalled(path, 2) as checkpoint:
            mlp(checkpoint, then)
        caplog.clear()
        with Checkpoint(path, MADE_OF) as checkpoint:
            mlp(checkpoint, now)
        warned = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
        found = f"{path}: groups of up to 5 replicas are kept, although only 3 at once fit"
        assert [message.startswith(found) for message in warned] == [True] * told


@pytest.mark.parametrize(
    ("kind", "parts"), [("perceptron", GROUP), ("own module, SGD", 1), ("XLNet", GROUP)]
)
def test_an_evaluation_can_be_left_after_each_of_its_parts(
    kind: str, parts: int, tmp_path: Path
) -> None:
    found = []
    for times in range(2 * PER_EPOCH, 2 * PER_EPOCH + 6):
        path = tmp_path / f"{times}.zip"
        found.append(stopped(kind, path, times)["group"]["to_evaluate"])
    assert found == [2] * parts + [None] * (6 - parts)


@EVERY
def test_a_resumed_block_keeps_its_groups(
    kind: str, undisturbed: Callable[[str], BlockTables], tmp_path: Path
) -> None:
    path = tmp_path / "state.zip"
    with pytest.raises(StoppedError), Signalled(path, STEPS + 3, signal.SIGTERM) as state:
        BLOCKS[kind](state)
    with Checkpoint(path, MADE_OF) as state:
        resumed = BLOCKS[kind](state, REPLICAS)  # as on a node with more memory
    assert_same(resumed, undisturbed(kind))


def test_to_ask_whether_a_save_is_due_hands_no_step_over_sooner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together: list[int] = []
    descend = MlpReplicas.descend_through

    def watch(self, batches, rates) -> None:
        together.append(len(batches))
        descend(self, batches, rates)

    monkeypatch.setattr(MlpReplicas, "descend_through", watch)
    mlp()
    expected = together.copy()
    assert max(expected) > 2
    together.clear()
    with Checkpoint(tmp_path / "state.zip", MADE_OF, every_s=1e9) as state:
        mlp(state)
    assert together == expected


def test_torch_keeps_its_random_state_when_a_block_resumes(tmp_path: Path) -> None:
    path = tmp_path / "state.zip"
    before = torch.random.get_rng_state()
    with pytest.raises(StoppedError), Signalled(path, 7, signal.SIGTERM) as state:
        adam_module(state)
    with Checkpoint(path, MADE_OF) as state:
        adam_module(state)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_random_layers_on_cuda_go_on(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(6, 7), nn.Dropout(0.4), nn.Linear(7, 3))
    plan = plan_of_module(LearningRate("constant", 0.1), 2, 4, {"validation": [2]}, "every")

    def block(state: Checkpoint | None = None) -> BlockTables:
        adam, on_cuda = Optimizer("adam"), Hardware("cuda")
        return module_block(module, cross_entropy, data(), plan, adam, on_cuda, state)

    path = tmp_path / "state.zip"
    with pytest.raises(StoppedError), Signalled(path, 5, signal.SIGTERM) as state:
        block(state)
    with Checkpoint(path, MADE_OF) as state:
        assert_same(block(state), block())
