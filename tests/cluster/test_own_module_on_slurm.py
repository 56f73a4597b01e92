"""An experiment of one's own through Slurm, from its own folder, as docs/own_experiment.md says."""

import shutil
from pathlib import Path

import pytest
from study_checkout import QUICK_LOOKS, Checkout, differences

from checkout import copy_of, snakemake_from

NAME = "digits_residual_adam"


def run(checkout: Path, folder: Path, *options: str) -> dict[str, object]:
    """Its artefacts; the command is that of the example's README."""
    example = checkout.parent / "example"
    shutil.copytree(example, folder)
    # On CPU: no program can compute on the cluster's GPUs.
    changed = ["scale=smoke", f"only=[{NAME}]", "compute={device: cpu}"]
    done = snakemake_from(checkout, folder, *options, "--config", *changed)
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
