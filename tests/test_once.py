"""Work that workers share is done once, and its failure is told to each."""

from pathlib import Path

import pytest

from once import once


def test_work_is_done_once(tmp_path: Path) -> None:
    done: list[int] = []
    for worker in range(3):
        once(tmp_path, "work", lambda worker=worker: done.append(worker))  # type: ignore[misc]
    assert done == [0]


def test_every_worker_is_told_why_it_failed(tmp_path: Path) -> None:
    def fail() -> None:
        raise AssertionError("no such rule")

    with pytest.raises(AssertionError, match="no such rule"):
        once(tmp_path, "work", fail)
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"(?s)work failed in another worker.*no such rule"):
            once(tmp_path, "work", fail)
