"""Ctrl-C while a block trains: its state is saved, and the same command goes on from there."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from checkout import copy_of

BLOCK = "teacher_student/init_0/b_4/seed_0.parquet"
SCALE = {"teacher_student": {"iterations": 10**5}}  # a quarter of an hour
CHANGES = {
    "scales": {"smoke": SCALE},
    "compute": {"device": "cpu", "checkpoint_every_s": 0.1},
}


@contextmanager
def making(target: Path, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Snakemake in a process group of its own, as a terminal has it."""
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--config", "scale=smoke"]
    process = subprocess.Popen(
        [*command, "--configfile", "changes.yaml", "--", str(target.relative_to(folder))],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Behind `&` in a script SIGINT is ignored, and a child would inherit it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def text_of(log: Path) -> str:
    """Nothing where Snakemake has just removed the log of the job before."""
    try:
        return log.read_text()
    except FileNotFoundError:
        return ""


def test_ctrl_c_saves_the_block_that_trains(repository, tmp_path) -> None:
    folder = copy_of(repository, tmp_path / "checkout")
    (folder / "changes.yaml").write_text(json.dumps(CHANGES))
    target = folder / f"results/smoke/runs/statistics/{BLOCK}"
    state = folder / "results/smoke/checkpoints/teacher_student.init=0.b=4.seed=0.zip"
    log = folder / "logs/smoke/runs/teacher_student.init=0.b=4.seed=0.log"
    for began in (state.exists, lambda: "going on from the state" in text_of(log)):
        with making(target, folder) as process:
            wait_until(began, process)
            os.killpg(process.pid, signal.SIGINT)
            _, told = process.communicate(timeout=3600)
        assert process.returncode != 0
        assert "Traceback" not in told
        text = text_of(log)
        assert f"{state.relative_to(folder)}: stopped by SIGINT, state saved; run again" in text
        assert "Traceback" not in text
        assert state.exists()
        assert not target.exists()
    # Another configuration: told before a job starts, and mended by what the line says.
    rate = {"learning_rate": {"initial": 0.05}}
    changed = CHANGES | {"scales": {"smoke": {"teacher_student": SCALE["teacher_student"] | rate}}}
    (folder / "changes.yaml").write_text(json.dumps(changed))
    log.unlink()
    with making(target, folder) as process:
        _, told = process.communicate()
    (line,) = [line for line in told.splitlines() if line.startswith("error: ")]
    assert f"{state.relative_to(folder)} is the state of a run of other" in line
    assert "snakemake --cores 1 clear_checkpoints" in line
    assert not log.exists()
    clearing = [sys.executable, "-m", "snakemake", "--cores", "1", "clear_checkpoints"]
    options = ["--configfile", "changes.yaml", "--config", "scale=smoke"]
    unconfigured = state.with_name("mine.init=0.b=4.seed=0.zip")
    unconfigured.touch()
    subprocess.run([*clearing, *options], cwd=folder, check=True, capture_output=True)
    assert not state.exists()
    assert unconfigured.exists()
    with making(target, folder) as process:
        wait_until(lambda: "Traceback" not in text_of(log) and state.exists(), process)
