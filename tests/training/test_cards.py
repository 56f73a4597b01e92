"""GPU jobs side by side, each on a card of its own. No card is needed: they are names."""

import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from pipeline_lib.training import cards
from pipeline_lib.training.cards import cards_here, own_card

# Takes a card, says which, and holds it until it is killed or told to end.
HOLDER = """
import os, sys
from pathlib import Path
from pipeline_lib.training.cards import own_card
with own_card("cuda", folder=Path(sys.argv[1])):
    print(os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
    sys.stdin.readline()
"""


def test_cards_are_those_of_the_variable_or_of_device_files(tmp_path: Path) -> None:
    assert cards_here({}, tmp_path) == []
    for name in ("nvidia0", "nvidia3", "nvidiactl", "nvidia-uvm", "nvidia-modeset"):
        (tmp_path / name).touch()
    assert cards_here({}, tmp_path) == ["0", "1"]  # cards are numbered by what is visible
    assert cards_here({"CUDA_VISIBLE_DEVICES": "5"}, tmp_path) == ["5"]
    assert cards_here({"CUDA_VISIBLE_DEVICES": ""}, tmp_path) == []


def test_below_windows_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "dxg").touch()
    assert cards_here({}, tmp_path) == ["0"]


def test_each_job_has_a_card_of_its_own_and_gives_it_back(tmp_path: Path) -> None:
    environs = [{"CUDA_VISIBLE_DEVICES": "4,MIG-1/2/0,7"} for _ in range(3)]
    with ExitStack() as jobs:
        for environ in environs:
            jobs.enter_context(own_card("cuda", environ, tmp_path))
        assert [e["CUDA_VISIBLE_DEVICES"] for e in environs] == ["4", "MIG-1/2/0", "7"]
    assert all(e == {"CUDA_VISIBLE_DEVICES": "4,MIG-1/2/0,7"} for e in environs)
    with own_card("auto", environs[0], tmp_path):
        assert environs[0]["CUDA_VISIBLE_DEVICES"] == "4"


def test_jobs_within_an_allocation_of_several_cards_share_them(tmp_path: Path) -> None:
    environs = [{"CUDA_VISIBLE_DEVICES": "0,1", "SLURM_JOB_ID": "1"} for _ in range(2)]
    with own_card("cuda", environs[0], tmp_path), own_card("cuda", environs[1], tmp_path):
        assert [e["CUDA_VISIBLE_DEVICES"] for e in environs] == ["0", "1"]


def test_a_job_waits_while_all_cards_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = threading.Event()
    monkeypatch.setattr(cards.time, "sleep", lambda seconds: looked.set())
    taken, got = [], threading.Event()

    def last() -> None:
        environ = {"CUDA_VISIBLE_DEVICES": "0,1"}
        with own_card("cuda", environ, tmp_path):
            taken.append(environ["CUDA_VISIBLE_DEVICES"])
            got.set()

    first, second = ({"CUDA_VISIBLE_DEVICES": "0,1"} for _ in range(2))
    with own_card("cuda", first, tmp_path):
        with own_card("cuda", second, tmp_path):
            waiting = threading.Thread(target=last)
            waiting.start()
            assert looked.wait(60)
            assert not got.is_set()
        assert got.wait(60)
        assert taken == ["1"]
    waiting.join(60)


def test_the_card_of_a_killed_job_is_free(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    environ = {"CUDA_VISIBLE_DEVICES": "0,1"}
    with subprocess.Popen(
        command,
        env={"PYTHONPATH": str(Path(cards.__file__).parents[2]), **environ},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as job:
        assert job.stdout is not None
        assert job.stdout.readline() == "0\n"
        with own_card("cuda", environ, tmp_path):
            assert environ["CUDA_VISIBLE_DEVICES"] == "1"
        job.kill()
        job.wait()
    with own_card("cuda", environ, tmp_path):
        assert environ["CUDA_VISIBLE_DEVICES"] == "0"


@pytest.mark.parametrize(
    ("device", "environ"),
    [
        ("cpu", {"CUDA_VISIBLE_DEVICES": "0"}),
        ("cuda", {"CUDA_VISIBLE_DEVICES": "0", "SLURM_JOB_ID": "1"}),
        ("cuda", {"CUDA_VISIBLE_DEVICES": ""}),
    ],
)
def test_nothing_is_taken_where_nothing_is_to_be_shared(
    device: str, environ: dict[str, str], tmp_path: Path
) -> None:
    before = dict(environ)
    with own_card(device, environ, tmp_path / "locks"):
        assert environ == before
    assert not (tmp_path / "locks").exists()
