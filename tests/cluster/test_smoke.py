"""The smoke study through Slurm: GPU jobs on several nodes, the same values as without Slurm."""

import shutil

import pytest
from study_checkout import QUICK_LOOKS, Checkout, differences
from virtual_cluster import GPU_NODES

MNIST = "results/smoke/data/mnist_distorted.parquet"
# One study of each kind of model, and a figure.
TARGETS = (
    "fig1a",
    "results/smoke/variance/teacher_student.parquet",
    "results/smoke/variance/mnist.parquet",
)


@pytest.fixture
def smoke(virtual_cluster, repository, tmp_path, data_dir) -> Checkout:
    """A checkout with MNIST, which comes from the internet or a registry."""
    checkout = Checkout.of(repository, tmp_path / "prepared", {}, data_dir)
    if checkout.run(MNIST) != 0:
        assert "no usable copy" in checkout.output, checkout.output
        pytest.skip("MNIST is in no data folder, and neither internet nor registry is reached")
    return checkout


def with_partitions(checkout: Checkout) -> Checkout:
    profile = checkout.folder / "slurm/profile.yaml"
    text = profile.read_text()
    for line, name in (("partition", "batch"), ("gpu_partition", "gpu")):
        assert text.count(f'\n  {line}: ""') == 1
        text = text.replace(f'\n  {line}: ""', f"\n  {line}: {name}")
    profile.write_text(text)
    return checkout


def test_smoke_through_slurm_gives_the_values_of_a_run_without_it(cluster, smoke, tmp_path):
    checkout = with_partitions(smoke.copied(tmp_path / "slurm"))
    options = ("--profile", "slurm", *QUICK_LOOKS)
    assert checkout.run(*TARGETS, options=options) == 0, checkout.output
    assert smoke.run(*TARGETS) == 0, smoke.output
    assert differences(checkout.artefacts(), smoke.artefacts()) == []

    jobs = cluster.jobs()
    assert {job.state for job in jobs} == {"COMPLETED"}
    with_gpu = [job for job in jobs if job.gpus]
    networks = [job for job in jobs if "train_network" in job.fields["Comment"]]
    assert [job.number for job in with_gpu] == [job.number for job in networks]
    assert {job.gpus for job in with_gpu} == {1}
    assert {job.fields["Partition"] for job in with_gpu} == {"gpu"}
    others = [job for job in jobs if not job.gpus]
    assert {job.fields["Partition"] for job in others} == {"batch"}
    assert {job.node for job in with_gpu} == GPU_NODES
    assert len(GPU_NODES) >= 2
    # Four blocks of linear regression share one allocation, in turn.
    (shared,) = [job for job in jobs if "blocks" in job.fields["Comment"]]
    assert shared.fields["NumCPUs"] == "1"
    shutil.rmtree(checkout.folder)


def test_a_job_that_is_given_a_gpu_which_it_cannot_use_says_why(cluster, smoke, tmp_path):
    """It does not train on CPU in the time of a GPU. Those of this cluster are fake."""
    checkout = with_partitions(smoke.copied(tmp_path / "slurm"))
    options = ("--profile", "slurm", "--retries", "0", *QUICK_LOOKS)
    mine = checkout.folder / "mine.yaml"
    mine.write_text(mine.read_text().replace('"device": "cpu"', '"device": "auto"'))
    assert checkout.run(TARGETS[-1], options=options) != 0
    said = "error: config: compute.device: 'auto' and the job was given a GPU (gpu=1), but torch"
    assert said in checkout.output
    jobs = cluster.jobs()
    assert {job.state for job in jobs if job.gpus} == {"FAILED"}
    shutil.rmtree(checkout.folder)
