"""The Slurm of start.sh as the tests see it: its jobs, and ways to break it."""

import os
import re
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psutil

SETTINGS = dict(
    line.split("=", 1)
    for line in (Path(__file__).parent / "cluster.conf").read_text().splitlines()
    if "=" in line and not line.startswith("#")
)
ROOT = Path(SETTINGS["ROOT"])
NODES = [node.split(":")[0] for node in SETTINGS["NODES"].strip('"').split()]
GPU_NODES = {
    node.split(":")[0] for node in SETTINGS["NODES"].strip('"').split() if not node.endswith(":0")
}


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Look five times a second; AssertionError if ``what`` has not happened in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.2)


def output_of(*command: str) -> str:
    # Named for daemons that are started so: leftovers.sh finds them by the folder.
    environment = os.environ | {"SLURM_CONF": str(ROOT / "slurm.conf")}
    return subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=300, env=environment
    ).stdout


def kill(process: psutil.Process) -> None:
    """Kill it, unless it has ended meanwhile."""
    with suppress(psutil.NoSuchProcess):
        process.kill()


@dataclass(frozen=True)
class Job:
    """A job as the controller describes it, finished or not."""

    fields: Mapping[str, str]

    @property
    def number(self) -> str:
        return self.fields["JobId"]

    @property
    def state(self) -> str:
        return self.fields["JobState"]

    @property
    def node(self) -> str:
        return self.fields["NodeList"]

    @property
    def minutes(self) -> int:
        """The time limit."""
        days, _, clock = self.fields["TimeLimit"].rpartition("-")
        hours, minutes, _ = map(int, clock.split(":"))
        return (int(days or 0) * 24 + hours) * 60 + minutes

    @property
    def gpus(self) -> int:
        """How many were granted, as in JOB_GRES=gpu:1."""
        granted = re.match(r"gpu:(\d+)", self.fields.get("JOB_GRES", ""))
        return int(granted.group(1)) if granted else 0


class VirtualCluster:
    """The cluster that runs on this machine; ``repair`` undoes whatever a test broke."""

    def jobs(self) -> list[Job]:
        """Every job since the last ``repair``, oldest first."""
        lines = output_of("scontrol", "show", "job", "--details", "--oneliner").splitlines()
        jobs = [
            Job(dict(word.split("=", 1) for word in line.split() if "=" in word))
            for line in lines
            if line.startswith("JobId=")
        ]
        return [job for job in jobs if int(job.number) > self._seen]

    def running(self) -> list[Job]:
        return [job for job in self.jobs() if job.state == "RUNNING"]

    def crash(self, node: str) -> None:
        """Kill a node's daemon and all that runs on it at once, as a power failure does."""
        numbers = output_of("squeue", "-h", "-w", node, "-t", "running", "-o", "%A").split()
        doomed = [self._daemon(f"slurmd-{node}")]
        for process in psutil.process_iter(["cmdline"]):
            # A step calls itself "slurmstepd: [17.batch]".
            line = " ".join(process.info["cmdline"] or [])
            if any(line.startswith(f"slurmstepd: [{number}.") for number in numbers):
                doomed.append(process)
                with suppress(psutil.NoSuchProcess):
                    doomed += process.children(recursive=True)
        assert len(doomed) > len(numbers), f"no step of {numbers} was found on {node}"
        for process in doomed:
            kill(process)

    def kill_controller(self, job: Job) -> None:
        """Once it has saved that ``job`` runs: else it would start it twice, and hold it then."""
        started = datetime.fromisoformat(job.fields["StartTime"]).timestamp()
        saved = ROOT / "controller/job_state"
        wait_until(
            lambda: saved.exists() and saved.stat().st_mtime > started + 1,
            300,
            "the controller saves its state",
        )
        kill(self._daemon("slurmctld"))

    def kill_idle_controller(self) -> None:
        """Of a cluster without jobs, about which it has nothing to save."""
        assert self.running() == []
        kill(self._daemon("slurmctld"))

    def start_controller(self) -> None:
        output_of("slurmctld")

    def repair(self) -> None:
        """End all jobs, start what is dead, wait until every node is idle."""
        if not self._alive("slurmctld"):
            self.start_controller()
        for node in NODES:
            if not self._alive(f"slurmd-{node}"):
                output_of("slurmd", "-N", node)
        output_of("scancel", "--quiet", "--user", str(os.getuid()))
        # A step whose end the controller missed reports it again after a minute.
        wait_until(lambda: self._node_states() == {"idle"}, 600, "every node idle")
        for process in psutil.process_iter(["environ"]):
            # Slurm tracks processes by their parents here; a Snakemake may outlive its step.
            if (process.info["environ"] or {}).get("SLURM_CLUSTER_NAME") == SETTINGS["NAME"]:
                kill(process)
        self._seen = max([self._seen, *(int(job.number) for job in self.jobs())])

    _seen = 0

    def _node_states(self) -> set[str]:
        return set(output_of("sinfo", "-h", "-N", "-o", "%T").split())

    def _alive(self, name: str) -> bool:
        """Whether the daemon of this pid file lives, and not another process of its number."""
        try:
            process = self._daemon(name)
            same = process.name() == name.split("-")[0]
            return same and process.status() != psutil.STATUS_ZOMBIE
        except (psutil.NoSuchProcess, FileNotFoundError, ValueError):
            return False

    def _daemon(self, name: str) -> psutil.Process:
        """The process of a pid file, such as slurmctld or slurmd-cpu1."""
        return psutil.Process(int((ROOT / f"{name}.pid").read_text()))
