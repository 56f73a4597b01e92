"""Checkpoints: what is saved comes back, whole or not at all."""

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_array_equal

from pipeline_lib.artifacts.checkpoint import Checkpoint, StoppedError, StopRequested
from pipeline_lib.errors import ArtifactError

MADE_OF = {"configuration": "1", "code: blocks.py": "2", "code: training.py": "3"}


def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "step": np.array([1, 2], dtype=np.int32),
            "epoch": pd.array([pd.NA, 3], dtype="Int32"),
            "split": ["train", "validation"],
            "loss": [np.nan, 0.1 + 0.2],
        }
    )


def test_every_kind_of_value_comes_back(tmp_path: Path) -> None:
    state = {
        "step": 3,
        "rate": 0.1 + 0.2,
        "lost": float("inf"),
        "name": "ünder / \"quotes\"",
        "nothing": None,
        "yes": True,
        "list": ["array", 0, {"nested": [np.arange(3)]}],
        "words": np.array([[2**64 - 1, 0]], dtype=np.uint64),
        "flags": np.array([True, False]),
        "number": np.array(1e-320),
        "empty": np.empty((0, 3), dtype=np.float32),
        "weights": {"a/b": torch.randn(4, 5).T, "half": torch.tensor(1.5, dtype=torch.float16)},
        "table": table(),
    }  # fmt: skip
    checkpoint = Checkpoint(tmp_path / "run.checkpoint", MADE_OF)
    checkpoint.save(state)
    found = checkpoint.load()
    assert found is not None
    assert list(found) == list(state)
    for name in ("step", "rate", "lost", "name", "nothing", "yes"):
        assert found[name] == state[name]
        assert type(found[name]) is type(state[name])
    for name in ("words", "flags", "number", "empty"):
        assert_array_equal(found[name], state[name], strict=True)
        assert isinstance(found[name], np.ndarray)
    assert found["list"][:2] == ["array", 0]
    assert_array_equal(found["list"][2]["nested"][0], [0, 1, 2])
    for name, weight in state["weights"].items():
        assert torch.equal(found["weights"][name], weight)
        assert found["weights"][name].dtype == weight.dtype
    pd.testing.assert_frame_equal(found["table"], table(), check_exact=True)
    found["words"][0, 0] = 1  # a generator's state is advanced in place


@pytest.mark.parametrize("value", [object(), {1: 2}, np.array([object()]), {"a": {1, 2}}])
def test_what_cannot_be_kept_is_refused_and_the_older_state_stays(
    value: object, tmp_path: Path
) -> None:
    checkpoint = Checkpoint(tmp_path / "run.checkpoint", MADE_OF)
    checkpoint.save({"step": 1})
    with pytest.raises((TypeError, ValueError)):
        checkpoint.save({"step": 2, "value": value})
    assert checkpoint.load() == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["run.checkpoint"]


def test_only_the_newest_state_is_kept_and_success_removes_it(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "run.checkpoint"
    with Checkpoint(path, MADE_OF, every_s=0) as checkpoint:
        assert checkpoint.load() is None
        for step in range(3):
            checkpoint.save_if_due(lambda step=step: {"step": step})
        torn = path.parent / f".{path.name}.x1y2z3a4"  # of a process killed while writing
        torn.write_bytes(b"PK")
        assert checkpoint.load() == {"step": 2}
        assert list(path.parent.iterdir()) == [path]
    assert list(path.parent.iterdir()) == []


def test_an_error_keeps_the_state(tmp_path: Path) -> None:
    path = tmp_path / "run.checkpoint"
    checkpoint = Checkpoint(path, MADE_OF)
    checkpoint.save({"step": 4})
    with pytest.raises(KeyError), checkpoint:
        raise KeyError
    assert Checkpoint(path, MADE_OF).load() == {"step": 4}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"configuration": "0"}, "other configuration"),
        ({"code: training.py": "0"}, r"other code \(training.py\)"),
        ({"code: blocks.py": "0", "configuration": "0", "code: training.py": "0"},
         r"other code \(blocks.py, training.py\), other configuration"),
        ({"code: more.py": "0"}, r"other code \(more.py\)"),
        ({"data": "0", "data: table": "0"}, r"other data \(table\)"),
        ({f"code: {k}.py": "0" for k in range(7)},
         r"other code \(0.py, 1.py, 2.py, 3.py, 4.py and 2 more\)"),
    ],
)  # fmt: skip
def test_a_state_of_another_run_is_refused_by_what_differs(
    change: dict[str, str], told: str, tmp_path: Path
) -> None:
    path = tmp_path / "run.checkpoint"
    for saved, here in ((MADE_OF, MADE_OF | change), (MADE_OF | change, MADE_OF)):
        Checkpoint(path, saved).save({"step": 1})
        message = f"run.checkpoint: is the state of a run of {told}; remove it to start anew$"
        with pytest.raises(ArtifactError, match=message):
            Checkpoint(path, here).load()
        assert path.exists()


@pytest.mark.parametrize("kind", ["cut", "flipped", "other", "empty"])
def test_a_damaged_file_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "run.checkpoint"
    Checkpoint(path, MADE_OF).save({"weights": np.arange(1000.0)})
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[whole.index(np.arange(1000.0).tobytes()) + 4000] ^= 1
    damaged = {"cut": whole[:-50], "flipped": bytes(flipped), "other": b"text" * 9, "empty": b""}
    path.write_bytes(damaged[kind])
    with pytest.raises(ArtifactError, match="not a whole checkpoint"):
        Checkpoint(path, MADE_OF).load()


def test_no_flipped_bit_is_taken_for_a_state_or_crashes(tmp_path: Path) -> None:
    """Above all of the archive's own list of contents, at the end."""
    path = tmp_path / "run.checkpoint"
    state = {"weights": np.arange(3.0), "step": 1, "table": table()}
    Checkpoint(path, MADE_OF).save(state)
    whole = path.read_bytes()
    refused = 0
    for place in {*range(0, len(whole), 23), *range(len(whole) - 400, len(whole))}:
        for bit in (0, 3, 6):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << bit
            path.write_bytes(damaged)
            try:
                found = Checkpoint(path, MADE_OF).load()
            except ArtifactError as error:
                assert "not a whole checkpoint" in str(error)  # noqa: PT017
                refused += 1
                continue
            assert found is not None
            assert found["step"] == 1
            assert_array_equal(found["weights"], state["weights"], strict=True)
            pd.testing.assert_frame_equal(found["table"], table(), check_exact=True)
    assert refused > 300


def test_a_file_that_cannot_be_read_is_not_called_damaged(tmp_path: Path) -> None:
    path = tmp_path / "run.checkpoint"
    path.mkdir()
    with pytest.raises(ArtifactError, match=r"cannot be read \(Is a directory\)$"):
        Checkpoint(path, MADE_OF).load()


@contextmanager
def full_disk() -> Iterator[None]:
    """No file grows beyond 100 kB; a log of the tests does not either, so only within a test."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_costs_the_save_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = [0.0]
    monkeypatch.setattr("pipeline_lib.artifacts.checkpoint.time.monotonic", lambda: clock[0])
    path = tmp_path / "run.checkpoint"
    asked: list[float] = []

    def large() -> dict[str, np.ndarray]:
        asked.append(clock[0])
        return {"weights": np.zeros(100_000)}

    with full_disk(), Checkpoint(path, MADE_OF, 10) as checkpoint:
        assert checkpoint.save({"step": 1})
        for clock[0] in range(25):
            checkpoint.save_if_due(large)
        assert asked == [10, 20], "a save that failed is not tried again at once"
        assert caplog.messages == [f"{path}: state not saved (File too large)"] * 2
        assert not checkpoint.save(large())
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(StoppedError, match="by SIGTERM, state not saved; run again to go on"):
            checkpoint.save_if_due(large)
        assert checkpoint.load() == {"step": 1}
        assert list(tmp_path.iterdir()) == [path]


def test_saves_are_apart_by_the_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("pipeline_lib.artifacts.checkpoint.time.monotonic", lambda: clock[0])
    saved: list[int] = []
    with Checkpoint(tmp_path / "run.checkpoint", MADE_OF, every_s=10) as checkpoint:
        for second in range(35):
            clock[0] = second
            checkpoint.save_if_due(lambda second=second: saved.append(second) or {})
    assert saved == [10, 20, 30]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_raises_a_flag_only_while_asked(number: signal.Signals) -> None:
    heard: list[int] = []
    before = signal.signal(number, lambda n, frame: heard.append(n))
    try:
        with StopRequested() as stop:
            assert not stop
            os.kill(os.getpid(), number)
            assert stop
            assert stop.name == number.name
        assert heard == []
        os.kill(os.getpid(), number)
        assert heard == [number]
    finally:
        signal.signal(number, before)


def test_ctrl_c_again_interrupts_at_once() -> None:
    with StopRequested() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.name == "SIGINT"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_sigint_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopRequested() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert not stop
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
