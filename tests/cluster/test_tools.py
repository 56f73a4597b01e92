"""What the tests look for and kill, on any machine: no cluster is needed."""

import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import virtual_cluster as tools
from virtual_cluster import VirtualCluster, kill, wait_until

LEFTOVERS = Path(__file__).parent / "leftovers.sh"


def leftovers(folder: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(LEFTOVERS), folder], capture_output=True, text=True, check=False)


@pytest.fixture
def folder(tmp_path) -> str:
    """A folder that no other process names."""
    folder = tmp_path / uuid.uuid4().hex
    folder.mkdir()
    return str(folder)


@pytest.fixture(params=["command line", "environment", "open file"])
def daemon(request, folder) -> Iterator[subprocess.Popen[bytes]]:
    """A process that carries the folder in one of three ways."""
    line, environment = ["sleep", "3600"], dict(os.environ)
    if request.param == "command line":
        line = ["sh", "-c", "sleep 3600; true", f"{folder}/slurm.conf"]
    elif request.param == "environment":
        environment["SLURM_CONF"] = f"{folder}/slurm.conf"
    else:
        line = ["sh", "-c", "exec sleep 3600 >daemon.log"]
        environment.pop("PWD", None)  # so that the folder is in no variable
    with subprocess.Popen(line, env=environment, cwd=folder) as process:
        if request.param == "open file":
            wait_until(Path(folder, "daemon.log").exists, 300, "the file is open")
        yield process
        for child in psutil.Process(process.pid).children():
            kill(child)
        process.kill()


def test_a_process_of_the_cluster_is_named(daemon, folder):
    found = leftovers(folder)
    assert found.returncode == 1, found.stderr
    assert str(daemon.pid) in [line.split()[0] for line in found.stdout.splitlines()]


def test_processes_of_others_are_not_named(folder):
    """Whatever their name: another Slurm or another database is none of the cluster's."""
    with subprocess.Popen(["sh", "-c", "sleep 3600; true", "slurmctld", "mariadbd"]) as process:
        found = leftovers(folder)
        for child in psutil.Process(process.pid).children():
            kill(child)
        process.kill()
    assert (found.returncode, found.stdout) == (0, "")


def test_a_process_that_took_over_a_daemons_number_is_not_the_daemon(tmp_path, monkeypatch):
    monkeypatch.setattr(tools, "ROOT", tmp_path)
    (tmp_path / "slurmctld.pid").write_text(f"{os.getpid()}\n")
    assert not VirtualCluster()._alive("slurmctld")
    assert not VirtualCluster()._alive("slurmd-cpu1")  # no such file


def test_killing_a_process_that_has_ended_is_no_error():
    with subprocess.Popen(["true"]) as process:
        ended = psutil.Process(process.pid)
    kill(ended)
