"""The commands of `slurm/patient`, before made-up ones of Slurm; no cluster is needed."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

DISABLED = "echo 'Slurm accounting storage is disabled' >&2; exit 1"
AWAY = "echo 'Slurmctld(primary) at head is DOWN'"
BACK = "echo 'Slurmctld(primary) at head is UP'"
STATES = ("sacct", "-X", "--format=JobIdRaw,State", "--name", "run-1")


class Slurm:
    """A folder of commands that note how they were called."""

    def __init__(self, folder: Path, patient: Path) -> None:
        self.folder = folder
        self.environment = os.environ | {
            "PATH": os.pathsep.join([str(patient), str(folder), os.environ["PATH"]])
        }
        self.define("squeue", "echo '7|RUNNING'")
        self.define("scontrol", BACK)

    def define(self, name: str, body: str) -> None:
        path = self.folder / name
        path.write_text(f'#!/bin/bash\necho "{name} $*" >>"{self.folder}/calls"\n{body}\n')
        path.chmod(0o755)

    def run(self, *command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()


@pytest.fixture
def slurm(repository, tmp_path) -> Slurm:
    folder = tmp_path / "slurm commands"
    folder.mkdir()
    return Slurm(folder, repository / "slurm/patient")


def test_without_accounting_the_states_of_a_run_are_those_of_squeue(slurm):
    slurm.define("sacct", DISABLED)
    done = slurm.run(*STATES)
    assert (done.returncode, done.stdout, done.stderr) == (0, "7|RUNNING\n", "")
    assert slurm.calls[-1] == "squeue --format=%i|%T --states=all --noheader --name run-1"


def test_a_failure_of_squeue_is_one_of_the_look(slurm):
    """So that the plugin looks again."""
    slurm.define("sacct", DISABLED)
    slurm.define("squeue", "echo 'Unable to contact slurm controller' >&2; exit 1")
    done = slurm.run(*STATES)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Unable to contact" in done.stderr


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("echo '7|COMPLETED'", (0, "7|COMPLETED\n", "")),
        ("echo half; echo 'slurmdbd: refused' >&2; exit 3", (3, "half\n", "slurmdbd: refused\n")),
    ],
)
def test_an_answer_of_accounting_is_passed_on(slurm, body, expected):
    slurm.define("sacct", body)
    done = slurm.run(*STATES)
    assert (done.returncode, done.stdout, done.stderr) == expected
    assert not any(call.startswith("squeue") for call in slurm.calls)


def test_what_is_not_about_a_run_is_left_to_sacct(slurm):
    slurm.define("sacct", DISABLED)
    done = slurm.run("sacct", "-j", "7")
    assert done.returncode == 1
    assert "disabled" in done.stderr


@pytest.mark.parametrize("name", ["sbatch", "srun", "sinfo"])
def test_a_command_waits_until_the_controller_answers(slurm, name):
    """With its arguments and its standard input as they were given."""
    asked = slurm.folder / "asked"
    slurm.define("scontrol", f'[ -e "{asked}" ] && {BACK} || {AWAY}\n: >"{asked}"; cat')
    slurm.define(name, 'printf "%s|" "$@"; cat; exit 5')
    done = slurm.run(name, "--wrap", "two words", "", stdin="#!/bin/sh\ntrue\n")
    assert (done.returncode, done.stdout) == (5, "--wrap|two words||#!/bin/sh\ntrue\n")
    assert done.stderr == f"{name}: waiting for Slurm's controller, at most 1800 s\n"
    assert [call.split()[0] for call in slurm.calls] == ["scontrol", "scontrol", name]


def test_a_command_gives_up_in_one_line(slurm):
    slurm.define("scontrol", AWAY)
    slurm.define("sbatch", "echo 7")
    slurm.environment["PATIENCE_S"] = "0"
    done = slurm.run("sbatch")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error: sbatch: Slurm's controller has not answered for 0 s (scontrol ping: "
        "Slurmctld(primary) at head is DOWN); PATIENCE_S is the time to wait\n"
    )
    assert slurm.calls == ["scontrol ping"]


def test_the_commands_of_another_checkout_are_passed_over(slurm, repository, tmp_path):
    """Or each would call the other for ever."""
    other = tmp_path / "other checkout"
    shutil.copytree(repository / "slurm/patient", other, symlinks=True)
    slurm.define("sbatch", "echo 7")
    first, *rest = slurm.environment["PATH"].split(os.pathsep)
    slurm.environment["PATH"] = os.pathsep.join([first, str(other), *rest])
    done = slurm.run("timeout", "10", "sbatch")
    assert (done.returncode, done.stdout, done.stderr) == (0, "7\n", "")
    assert slurm.calls == ["scontrol ping", "sbatch "]


def test_without_scontrol_nothing_is_waited_for(slurm):
    (slurm.folder / "scontrol").unlink()
    slurm.define("sbatch", "echo 7")
    for name in ("bash", "basename"):
        (slurm.folder / name).symlink_to(str(shutil.which(name)))
    patient = slurm.environment["PATH"].split(os.pathsep)[0]
    slurm.environment["PATH"] = os.pathsep.join([patient, str(slurm.folder)])
    done = slurm.run("sbatch")
    assert (done.returncode, done.stdout) == (127, "")
    assert done.stderr == "error: sbatch: scontrol is not on PATH\n"


def test_a_command_that_slurm_does_not_have_is_named(slurm):
    for name in ("bash", "basename"):
        (slurm.folder / name).symlink_to(str(shutil.which(name)))
    patient = slurm.environment["PATH"].split(os.pathsep)[0]
    slurm.environment["PATH"] = os.pathsep.join([patient, str(slurm.folder)])
    done = slurm.run("sbatch")
    assert done.returncode == 127
    assert done.stderr == "error: sbatch: Slurm has no such command on PATH\n"
