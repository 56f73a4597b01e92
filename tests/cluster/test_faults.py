"""What goes wrong on clusters, done to a real Slurm: nothing is lost and nothing is wrong.

Every test disturbs a run of the study, lets it end or runs the same command again, and compares
all artefacts with those of an undisturbed run without Slurm, value by value.
"""

import os
import re
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from study_checkout import QUICK_LOOKS, TARGET, Checkout, differences
from virtual_cluster import Job, VirtualCluster, output_of, wait_until

SLURM = ("--profile", "slurm", *QUICK_LOOKS)
NOTHING = "Nothing to be done"
# Longer than Slurm's commands and the plugin's single looks try.
AWAY_S = 75


def start_and_wait_for_training(
    checkout: Checkout, cluster: VirtualCluster, options: tuple[str, ...] = SLURM
) -> tuple[subprocess.Popen[str], Job]:
    """Snakemake and its job, which holds both blocks, once the first has saved a state."""
    process = checkout.start(TARGET, options=options)
    wait_until(lambda: len(checkout.states) == 1, 300, "the first block trains")
    (job,) = cluster.running()
    return process, job


def listening_block(checkout: Checkout) -> psutil.Process | None:
    """The process of its training block that catches signals: it does so while it trains."""
    for process in psutil.process_iter(["cmdline"]):
        # A copy of the rule's script, as .snakemake/scripts/tmp1234.train_block.py.
        script = (process.info["cmdline"] or [""])[-1]
        if not (script.startswith(f"{checkout.folder}/") and script.endswith(".train_block.py")):
            continue
        with suppress(FileNotFoundError, ProcessLookupError):
            status = Path(f"/proc/{process.pid}/status").read_text()
            (caught,) = re.findall(r"^SigCgt:\s*(\w+)$", status, re.MULTILINE)
            # Python by itself does not catch SIGUSR1.
            if int(caught, 16) >> (signal.SIGUSR1 - 1) & 1:
                return process
    return None


def assert_undisturbed(checkout: Checkout, undisturbed: dict[str, object]) -> None:
    """The same command finds nothing to do, and every artefact is as it should be."""
    assert checkout.run(TARGET, options=SLURM) == 0, checkout.output
    assert NOTHING in checkout.output
    assert differences(checkout.artefacts(), undisturbed) == []


def assert_went_on(checkout: Checkout) -> None:
    """A block began with the state that its stopped predecessor had saved."""
    logs = [log.read_text() for log in checkout.block_logs]
    assert any("going on from the state that a stopped run left" in log for log in logs), logs


def test_a_cancelled_job_is_submitted_again_and_goes_on(cluster, checkout, undisturbed):
    # No state is saved but when the signal comes.
    checkout.save_states_every(3600)
    process = checkout.start(TARGET, options=SLURM)
    wait_until(
        lambda: listening_block(checkout) is not None, 300, "the first block listens to signals"
    )
    block = listening_block(checkout)
    assert block is not None
    begun = block.cpu_times().user
    wait_until(lambda: block.cpu_times().user > begun + 0.5, 300, "it trains")
    assert checkout.states == []
    (job,) = cluster.running()
    output_of("scancel", job.number)
    assert checkout.finish(process) == 0, checkout.output
    assert [job.state for job in cluster.jobs()] == ["CANCELLED", "COMPLETED"]
    assert_went_on(checkout)
    assert_undisturbed(checkout, undisturbed)


def test_a_job_over_its_time_gets_twice_the_time(cluster, checkout, undisturbed):
    process, job = start_and_wait_for_training(checkout, cluster)
    # Limits are whole minutes; the end of this one is moved to now instead of waiting for it.
    output_of("scontrol", "update", f"JobId={job.number}", "EndTime=now")
    assert checkout.finish(process) == 0, checkout.output
    first, second = cluster.jobs()
    # Slurm looks twice a minute for jobs to stop; before that it refuses to start the second block.
    assert first.state in ("TIMEOUT", "FAILED")
    assert second.state == "COMPLETED"
    assert second.minutes == 2 * job.minutes
    assert_undisturbed(checkout, undisturbed)


def test_a_job_over_its_memory_gets_more(cluster, checkout, undisturbed):
    # This option takes the place of all of the profile's `set-resources`.
    little = "train_block:mem_mb=240 * 16 ** (attempt - 1)"
    options = (*SLURM, "--set-resources", "train_block:in_turn=1", little)
    assert checkout.run(TARGET, options=options) == 0, checkout.output
    first, second = cluster.jobs()
    assert (first.state, second.state) == ("FAILED", "COMPLETED")
    assert "exceeded memory limit" in checkout.output
    assert_undisturbed(checkout, undisturbed)


def test_a_job_whose_node_dies_runs_again_on_another(cluster, checkout, undisturbed):
    process, job = start_and_wait_for_training(checkout, cluster)
    cluster.crash(job.node)
    assert checkout.finish(process) == 0, checkout.output
    (again,) = cluster.jobs()
    assert again.fields["Restarts"] == "1"
    assert again.state == "COMPLETED"
    assert again.node != job.node
    assert_went_on(checkout)
    assert_undisturbed(checkout, undisturbed)


@pytest.fixture
def patient(checkout, monkeypatch) -> None:
    """The commands of `slurm/patient` before those of Slurm."""
    folder = checkout.folder / "slurm/patient"
    monkeypatch.setenv("PATH", os.pathsep.join([str(folder), os.environ["PATH"]]))


def test_the_controller_is_killed_and_started_again(cluster, checkout, patient, undisturbed):
    """While the plugin looks at its jobs. A busy machine may take long to start it."""
    process, job = start_and_wait_for_training(checkout, cluster)
    snakemake = psutil.Process(process.pid)

    def asks_for_states() -> bool:
        return any(child.name() in ("scontrol", "squeue") for child in snakemake.children())

    cluster.kill_controller(job)
    wait_until(asks_for_states, 300, "a look at the jobs without a controller")
    time.sleep(3)
    cluster.start_controller()
    assert checkout.finish(process) == 0, checkout.output
    # The job's next block may begin meanwhile. An `srun` that finds the controller in the moment
    # before it is killed gives up, so that the job fails and is submitted again.
    states = [job.state for job in cluster.jobs()]
    assert states in (["COMPLETED"], ["FAILED", "COMPLETED"])
    assert_undisturbed(checkout, undisturbed)


def test_a_controller_is_away_for_minutes_while_a_job_trains(
    cluster, checkout, patient, undisturbed
):
    """From before a look at the jobs; the job's next block begins meanwhile, and waits."""
    process, job = start_and_wait_for_training(checkout, cluster)
    cluster.kill_controller(job)
    wait_until(lambda: "Falling back to 'sacct'" in checkout.output, 120, "a look gives up")
    time.sleep(AWAY_S)
    cluster.start_controller()
    assert checkout.finish(process) == 0, checkout.output
    assert [job.state for job in cluster.jobs()] == ["COMPLETED"]
    assert_undisturbed(checkout, undisturbed)


def test_a_controller_is_away_for_minutes_when_a_job_is_submitted(
    cluster, checkout, patient, undisturbed
):
    cluster.kill_idle_controller()
    process = checkout.start(TARGET, options=SLURM)
    wait_until(lambda: "SLURM run ID" in checkout.output, 300, "Snakemake submits a job")
    time.sleep(AWAY_S)
    assert process.poll() is None, checkout.output
    cluster.start_controller()
    assert checkout.finish(process) == 0, checkout.output
    assert [job.state for job in cluster.jobs()] == ["COMPLETED"]
    assert_undisturbed(checkout, undisturbed)


@pytest.mark.parametrize("orphan", ["cancelled", "left_running"])
def test_snakemake_is_killed_and_started_again(cluster, checkout, undisturbed, orphan):
    """With the job that is left behind ended, or beside the new one and writing the same files."""
    process, job = start_and_wait_for_training(checkout, cluster)
    process.send_signal(signal.SIGKILL)
    checkout.finish(process)
    # Slurm's job outlives it. The name of a run's jobs is the first thing that the plugin prints.
    assert [job.number] == [job.number for job in cluster.running()]
    (name,) = re.findall(r"SLURM run ID: (\S+)", checkout.output)
    assert name == job.fields["JobName"]
    if orphan == "cancelled":
        output_of("scancel", "--name", name)
    else:
        # It must not end too early: it goes on when the second job has started beside it.
        output_of("scontrol", "suspend", job.number)
    assert checkout.run(TARGET, options=SLURM) != 0
    assert "--unlock" in checkout.output
    assert checkout.run(TARGET, options=("--unlock",)) == 0, checkout.output
    process = checkout.start(TARGET, options=SLURM)
    if orphan == "left_running":
        wait_until(lambda: len(cluster.running()) == 1, 300, "a second job")
        output_of("scontrol", "resume", job.number)
    assert checkout.finish(process) == 0, checkout.output
    if orphan == "cancelled":
        assert_went_on(checkout)
    first, second = cluster.jobs()
    assert first.state == {"cancelled": "CANCELLED", "left_running": "COMPLETED"}[orphan]
    assert second.state == "COMPLETED"
    assert_undisturbed(checkout, undisturbed)


def test_a_full_disk_leaves_no_part_of_a_file(cluster, checkout, undisturbed):
    runs = checkout.results / "runs"
    runs.mkdir()
    # Room for the folders and the smallest tables, not for the statistics of a block.
    output_of("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(runs))
    try:
        assert checkout.run(TARGET, options=(*SLURM, "--retries", "0")) != 0
        assert "No space left on device" in "".join(log.read_text() for log in checkout.block_logs)
        left = [path.name for path in runs.rglob("*") if path.is_file()]
    finally:
        # Lazily: a process that still looks at it would keep it mounted.
        output_of("umount", "--lazy", str(runs))
    assert left == []
    assert not (checkout.folder / TARGET).exists()
    assert checkout.run(TARGET, options=SLURM) == 0, checkout.output
    assert_undisturbed(checkout, undisturbed)
