"""Checkpoints: what is saved comes back, whole or not at all."""

import os
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_array_equal

from pipeline_lib.checkpoint import Checkpoint, StopRequested
from pipeline_lib.errors import ArtifactError


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
    checkpoint = Checkpoint(tmp_path / "run.checkpoint", "abc")
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
    checkpoint = Checkpoint(tmp_path / "run.checkpoint", "abc")
    checkpoint.save({"step": 1})
    with pytest.raises((TypeError, ValueError)):
        checkpoint.save({"step": 2, "value": value})
    assert checkpoint.load() == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["run.checkpoint"]


def test_only_the_newest_state_is_kept_and_success_removes_it(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "run.checkpoint"
    with Checkpoint(path, "abc", every_s=0) as checkpoint:
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
    checkpoint = Checkpoint(path, "abc")
    checkpoint.save({"step": 4})
    with pytest.raises(KeyError), checkpoint:
        raise KeyError
    assert Checkpoint(path, "abc").load() == {"step": 4}


def test_a_state_of_another_configuration_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.checkpoint"
    Checkpoint(path, "abc").save({"step": 1})
    with pytest.raises(ArtifactError, match="digest abc, this run has def; remove") as caught:
        Checkpoint(path, "def").load()
    assert "\n" not in str(caught.value)
    assert path.exists()


@pytest.mark.parametrize("kind", ["cut", "flipped", "other", "empty"])
def test_a_damaged_file_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "run.checkpoint"
    Checkpoint(path, "abc").save({"weights": np.arange(1000.0)})
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[whole.index(np.arange(1000.0).tobytes()) + 4000] ^= 1
    damaged = {"cut": whole[:-50], "flipped": bytes(flipped), "other": b"text" * 9, "empty": b""}
    path.write_bytes(damaged[kind])
    with pytest.raises(ArtifactError, match="not a whole checkpoint"):
        Checkpoint(path, "abc").load()


def test_saves_are_apart_by_the_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("pipeline_lib.checkpoint.time.monotonic", lambda: clock[0])
    saved: list[int] = []
    with Checkpoint(tmp_path / "run.checkpoint", "abc", every_s=10) as checkpoint:
        for second in range(35):
            clock[0] = second
            checkpoint.save_if_due(lambda second=second: saved.append(second) or {})
    assert saved == [10, 20, 30]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
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
