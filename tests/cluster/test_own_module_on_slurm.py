"""An experiment of one's own through Slurm, from its own folder, as docs/own_experiment.md says."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from study_checkout import QUICK_LOOKS, Checkout, differences

from checkout import copy_of

NAME = "digits_residual_adam"


def run(checkout: Path, folder: Path, *options: str) -> dict[str, object]:
    """Its artefacts; the command is that of the example's README."""
    example = checkout.parent / "example"
    shutil.copytree(example, folder)
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *options]
    command += ["--snakefile", str(checkout / "Snakefile"), "--configfile", "config.yaml"]
    # On CPU: no program can compute on the cluster's GPUs.
    changed = ["scale=smoke", f"only=[{NAME}]", "compute={device: cpu}"]
    done = subprocess.run(
        [*command, "--config", *changed],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=3600,  # so that nothing hangs; a busy machine may be slow
    )
    assert done.returncode == 0, done.stderr
    return Checkout(folder, None).artefacts()


def test_an_experiment_of_ones_own_gives_the_values_of_a_run_without_slurm(
    cluster, repository, tmp_path
):
    pytest.importorskip("sklearn")
    checkout = copy_of(repository, tmp_path / "checkout")
    shutil.copytree(
        repository / "examples/digits",
        tmp_path / "example",
        ignore=shutil.ignore_patterns(".*", "results", "logs"),
    )
    found = run(checkout, tmp_path / "slurm", "--profile", str(checkout / "slurm"), *QUICK_LOOKS)
    assert differences(found, run(checkout, tmp_path / "local")) == []
    assert f"variance/{NAME}.parquet" in found
    jobs = cluster.jobs()
    assert {job.state for job in jobs} == {"COMPLETED"}
    # The user's code is tried, initial weights are drawn, then a block for each batch size.
    assert [job.gpus for job in jobs] == [0, 0, 1, 1]
