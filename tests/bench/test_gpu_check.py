"""`make gpu-check` where there is no GPU, and where packages that it does not need are missing."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gpu_check
import pytest
from gpu_correctness import Skipped, needs_gpu

from pipeline_lib.study import rates
from pipeline_lib.study.cost import GPU, Speed
from pipeline_lib.study.rates import gpu_speed

MISSING = ("jsonschema", "flint", "snakemake", "selenium", "duckdb", "polars")
# Runs the program as a machine without these packages does.
WITHOUT = """
import runpy, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {missing}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
sys.argv = {arguments}
sys.path.insert(0, {folder})
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = repository / "bench/gpu_check.py"
    code = WITHOUT.format(
        missing=set(MISSING), arguments=[str(program), *arguments], folder=repr(str(program.parent))
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_without_a_gpu_it_says_so_and_runs_what_a_cpu_can(repository: Path) -> None:
    done = run(repository)
    assert done.returncode == 0, done.stdout + done.stderr
    first, *lines = done.stdout.splitlines()
    assert first.startswith("no GPU: the parts that a CPU can run are run (")
    made = [line for line in lines if line.startswith(("ok", "skipped", "FAILED"))]
    assert len(made) == len(gpu_check.checks)
    ran = [line for line in made if line.startswith("ok")]
    assert len(ran) == 6
    assert all(line.endswith("needs a GPU") for line in made if line not in ran)
    rows = [line for line in lines if line.startswith("| ")]
    assert len({row.count("|") for row in rows}) == 1
    assert sum("gpu: ClassVar[Speed] = Speed(" in line for line in lines) == 2


def wrong(device: str) -> Iterator[str]:
    """What is wrong."""
    yield "a line"
    raise AssertionError("is wrong\nin two lines")


def right(device: str) -> Iterator[str]:
    """What is right."""
    yield f"on {device}"


def not_here(device: str) -> Iterator[str]:
    """What cannot be looked at."""
    needs_gpu(device)
    yield "not reached"


def test_how_a_check_ended_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    ended = [gpu_check.passed(check, "cpu") for check in (right, wrong, not_here)]
    assert ended == [True, False, True]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ok       What is right (")
    assert lines[1:] == [
        "           on cpu",
        "FAILED   What is wrong: AssertionError: is wrong",
        "skipped  What cannot be looked at: needs a GPU",
    ]
    with pytest.raises(Skipped):
        needs_gpu("cpu")


@pytest.mark.parametrize(("checks", "status"), [([right, wrong], 1), ([right, not_here], 0)])
def test_the_status_says_whether_something_is_wrong(
    checks: list[object], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_check, "checks", checks)
    monkeypatch.setattr(sys, "argv", ["gpu_check.py", "--device", "cpu", "--parts", "A"])
    assert gpu_check.main() == status


@pytest.mark.slow
def test_what_a_gpu_was_measured_to_do_is_left_for_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speed = Speed(3e13, 1e-3, "group")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(rates, "RATES", gpu_check.RATES)
    monkeypatch.setattr(gpu_check, "report", lambda device, blocks: ("", {"perceptron": [speed]}))
    monkeypatch.setattr(gpu_check, "device_name", lambda device: "a card")
    monkeypatch.setattr(sys, "argv", ["gpu_check.py", "--device", "cuda", "--parts", "B"])
    assert gpu_check.main() == 0
    assert gpu_speed("perceptron", GPU) == speed
    (tmp_path / "gpu_rates.json").unlink()
    monkeypatch.setattr(sys, "argv", ["gpu_check.py", "--device", "cpu", "--parts", "B"])
    assert gpu_check.main() == 0
    assert not (tmp_path / "gpu_rates.json").exists()  # a rehearsal says nothing of GPUs
    monkeypatch.setattr(gpu_check, "checks", [wrong])
    monkeypatch.setattr(sys, "argv", ["gpu_check.py", "--device", "cuda", "--parts", "AB"])
    assert gpu_check.main() == 1
    assert not (tmp_path / "gpu_rates.json").exists()  # nor does a card that trains wrongly
