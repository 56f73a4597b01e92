"""Blocks of linear regression and of the two-layer network, killed and stopped, bit for bit."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from blocks import regression
from pipeline_lib.artifacts import checkpoint
from pipeline_lib.artifacts.block_tables import BlockTables
from pipeline_lib.artifacts.checkpoint import Checkpoint, StoppedError, block_checkpoint
from pipeline_lib.artifacts.state_archive import State
from pipeline_lib.errors import ArtifactError
from pipeline_lib.models.linear_network import block as blocks_two_layer
from pipeline_lib.models.linear_network.block import Grouping, Network, linear_network_block
from pipeline_lib.models.linear_network.student import Student
from pipeline_lib.models.linear_regression import block as blocks
from pipeline_lib.seeding import seed_sequence
from pipeline_lib.study.block import Hardware
from pipeline_lib.training import resumable
from pipeline_lib.training.loop import Recording
from pipeline_lib.training.steps import StepPlan

pytestmark = pytest.mark.slow

STEPS, REPLICAS, GROUP = 250, 50, 13  # groups of 13, 13, 12 and 12; control variates need 48
STEPS_AT_ONCE = 5  # that a record holds
MADE_OF = {"code": "abc"}
HOUR = 3600  # less than 10^7 steps take
TABLES = ("statistics", "divergence", "noise")


def one_layer(
    backend: str, state: Checkpoint | None = None, threads: int = 1, rate: float = 0.1
) -> BlockTables:
    rng = np.random.default_rng(0)
    problem = rng.standard_normal((21, 4)), rng.standard_normal(21), rng.standard_normal(4)
    plan = StepPlan(np.full(STEPS, rate), 15, REPLICAS, seed_sequence(0, "batches"))
    return regression(problem, plan, backend, threads, state)


def two_layer(
    dtype: str,
    state: Checkpoint | None = None,
    threads: int = 1,
    steps: int = STEPS,
    rate: float = 0.05,
    layers: tuple[int, int, int] = (5, 8, 2),
) -> BlockTables:
    rng = np.random.default_rng(0)
    p, p1, p2 = layers
    w1, w2, teacher = (0.3 * rng.standard_normal(shape) for shape in ((p1, p), (p2, p1), (p2, p)))
    plan = StepPlan(np.full(steps, rate), 8, REPLICAS, seed_sequence(0, "batches"))
    student, grouping = Student((w1, w2), teacher), Grouping(GROUP, dtype)
    return linear_network_block(student, plan, grouping, Hardware(threads=threads), state)


BLOCKS: dict[str, Callable[..., BlockTables]] = {
    "regression, compiled": partial(one_layer, "numba"),
    "regression, torch": partial(one_layer, "torch"),
    "regression, diverging": partial(one_layer, "numba", rate=8.0),
    "two layers, compiled": partial(two_layer, "float32"),
    "two layers, torch": partial(two_layer, "float64"),
    "two layers, diverging": partial(two_layer, "float32", rate=0.8),
}
EVERY = pytest.mark.parametrize("kind", BLOCKS)


def in_small_pieces(patch: pytest.MonkeyPatch, kind: str) -> None:
    """Many records, and so many moments to save at; torch instead of the kernel by name."""
    patch.setattr(blocks, "CHUNK_BYTES", STEPS_AT_ONCE * 16 * REPLICAS * 4)
    patch.setattr(blocks_two_layer, "_STEPS_PER_RECORD", STEPS_AT_ONCE)
    patch.setattr(resumable, "_POLL_S", 0.001)
    records = Recording(STEPS_AT_ONCE)
    patch.setattr("pipeline_lib.training.loop.train.__defaults__", (records, 0, None))
    patch.setattr("pipeline_lib.training.loop.TorchRun.__init__.__defaults__", (records, None))
    if kind == "two layers, torch":
        patch.setattr(blocks_two_layer, "has_kernel", lambda tensor: False)


@pytest.fixture
def undisturbed(kind: str, monkeypatch: pytest.MonkeyPatch) -> BlockTables:
    in_small_pieces(monkeypatch, kind)
    return BLOCKS[kind]()


def assert_same(found: BlockTables, expected: BlockTables) -> None:
    for name in TABLES:
        one, other = getattr(found, name), getattr(expected, name)
        pd.testing.assert_frame_equal(one, other, check_exact=True)


def steps_done(state: State | None) -> int:
    """The steps that a state need not make again, of all groups."""
    if state is None:
        return 0
    running = state["running"].values() if "running" in state else [state]
    return sum(of["step"] for of in running) + STEPS * len(state.get("finished", ()))


class Watching(Checkpoint):
    """Reads while another process writes."""

    def _remove_torn(self) -> None:
        pass


class Slow(Checkpoint):
    """Leaves time to be killed in, and waits for it once some steps more are saved."""

    waits = True

    def load(self) -> dict[str, Any] | None:
        state = super().load()
        self.enough = steps_done(state) + 2 * STEPS_AT_ONCE
        return state

    def save(self, state: State) -> bool:
        if self.waits:
            time.sleep(0.02)
        is_saved = super().save(state)
        if self.waits and steps_done(state) > self.enough:
            threading.Event().wait()
        return is_saved


def train(kind: str, folder: Path, threads: int, is_last: bool) -> None:
    """What a child process does: the block, with a save at every chance, and its tables."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        in_small_pieces(patch, kind)
        with Slow(folder / "state.zip", MADE_OF, every_s=0) as state:
            state.waits = not is_last
            result = BLOCKS[kind](state, threads)
            for name in TABLES:
                getattr(result, name).to_pickle(folder / name)


@EVERY
def test_a_killed_process_goes_on_bit_for_bit(
    kind: str, undisturbed: BlockTables, tmp_path: Path, children: ForkServerContext
) -> None:
    assert ("diverging" in kind) == (len(undisturbed.divergence) > 0)
    path = tmp_path / "state.zip"
    rng = random.Random(kind)
    done = [0]
    for threads in (1, 2, 3, 1, 2):  # another number of them after each kill
        last = len(done) == 5
        child = children.Process(target=train, args=(kind, tmp_path, threads, last))
        child.start()
        if last:
            child.join()
            assert child.exitcode == 0
            break
        while child.is_alive() and steps_done(Watching(path, MADE_OF).load()) == done[-1]:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.05))
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        done.append(steps_done(Checkpoint(path, MADE_OF).load()))
    assert done == sorted(set(done)), "every process goes on where the one before was"
    found = BlockTables(**{name: pd.read_pickle(tmp_path / name) for name in TABLES})
    assert_same(found, undisturbed)
    assert not path.exists()


class Signalled(Checkpoint):
    """Gets SIGTERM once there is something to save."""

    def save_if_due(self, state: Callable[[], State]) -> bool:
        if steps_done(state()) > 3 * STEPS_AT_ONCE:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().save_if_due(state)


@EVERY
def test_sigterm_saves_and_stops(kind: str, undisturbed: BlockTables, tmp_path: Path) -> None:
    path = tmp_path / "state.zip"
    with (
        pytest.raises(StoppedError, match="stopped by SIGTERM, state saved; run again to go on"),
        Signalled(path, MADE_OF, every_s=1e9) as state,
    ):
        BLOCKS[kind](state, threads=2)
    with pytest.raises(ArtifactError, match="is the state of a run of other code; remove it"):
        BLOCKS[kind](Checkpoint(path, {"code": "def"}))
    total = STEPS * (4 if "layers" in kind else 1)
    assert 0 < steps_done(Checkpoint(path, MADE_OF).load()) < total
    with Checkpoint(path, MADE_OF) as state:
        assert_same(BLOCKS[kind](state, threads=1), undisturbed)
    assert not path.exists()


def test_running_groups_end_within_a_record(tmp_path: Path) -> None:
    path = tmp_path / "state.zip"
    with pytest.raises(StoppedError), Signalled(path, MADE_OF) as state:
        two_layer("float32", state, threads=2, steps=10**7)
    # The signal comes within the first records. On a busy machine it may find more of them made,
    # but by no means a tenth of a group.
    state_left = Checkpoint(path, MADE_OF).load()
    assert not state_left.get("finished")
    assert 0 < steps_done(state_left) < 10**6


def test_a_group_that_fails_ends_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    make = blocks_two_layer._group

    def failing(network: Network, plan: StepPlan, controlled: bool) -> resumable.Run:
        if plan.stream.spawn_key[-1] == 1:
            raise MemoryError
        return make(network, plan, controlled)

    monkeypatch.setattr(blocks_two_layer, "_group", failing)
    start = time.monotonic()
    with pytest.raises(MemoryError):
        two_layer("float32", threads=2, steps=10**7)
    assert time.monotonic() - start < HOUR


def test_processors_at_hand_do_not_change_the_reduced_network() -> None:
    before = torch.get_num_threads()
    try:
        tables = []
        for k in (1, 2):
            torch.set_num_threads(k)
            tables.append(two_layer("float64", steps=2, layers=(192, 512, 64)))
    finally:
        torch.set_num_threads(before)
    assert_same(*tables)


def test_without_a_checkpoint_nothing_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resumable.SummarisedRun, "state", None)
    monkeypatch.setattr(resumable.SummarisedRun, "snapshot", None)
    one_layer("numba")
    two_layer("float32")


def test_a_state_belongs_to_its_values_and_to_the_contents_of_its_files(tmp_path: Path) -> None:
    path, weights, code = tmp_path / "state.zip", tmp_path / "weights", tmp_path / "code.py"
    values = {"configuration": [1, {"rate": 0.1}], "backend": "cpu"}
    weights.write_bytes(b"1")
    code.write_bytes(b"2")

    def block(code: Path = code, **changes: Any) -> Checkpoint:
        files = {"weights": [weights], "code": [str(code)]}
        return block_checkpoint(path, values | changes, files, 30)

    block().save({"step": 1})
    assert block().load() == {"step": 1}
    assert (block().path, block().every_s) == (path, 30)
    with pytest.raises(ArtifactError, match="of a run of other configuration; remove"):
        block(configuration=[1, {"rate": 0.2}]).load()
    with pytest.raises(ArtifactError, match="of a run of other backend; remove"):
        block(backend="cuda").load()
    code.write_bytes(b"3")
    with pytest.raises(ArtifactError, match=r"of a run of other code \(code.py\); remove"):
        block().load()
    code.write_bytes(b"2")
    (tmp_path / "elsewhere").mkdir()
    moved = code.rename(tmp_path / "elsewhere" / "code.py")
    assert block(moved).load() == {"step": 1}
    with pytest.raises(FileNotFoundError):
        block()


@pytest.mark.parametrize("other", [Checkpoint.load, Checkpoint.remove])
def test_another_process_does_no_more_harm_than_to_one_save(
    other: Callable[[Checkpoint], object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / "state.zip"
    write = checkpoint.write_state

    def write_while_another_starts(*arguments: Any) -> None:
        write(*arguments)
        other(Checkpoint(path, MADE_OF))  # takes the file being written for torn

    with Checkpoint(path, MADE_OF, every_s=0) as state:
        state.save({"step": 1})
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, "write_state", write_while_another_starts)
            state.save_if_due(lambda: {"step": 2})
            assert "state not saved" in caplog.text
            os.kill(os.getpid(), signal.SIGTERM)
            with pytest.raises(StoppedError, match="stopped by SIGTERM, state not saved"):
                state.save_if_due(lambda: {"step": 2})
            assert state.load() == ({"step": 1} if other is Checkpoint.load else None)
        with pytest.raises(StoppedError, match="state saved"):
            state.save_if_due(lambda: {"step": 3})
        assert state.load() == {"step": 3}
        assert list(tmp_path.iterdir()) == [path]
