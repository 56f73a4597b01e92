"""A running cluster, and checkouts to run the study in."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from typing import NoReturn

import pytest
from study_checkout import SMOKE, TARGET, Checkout
from virtual_cluster import SETTINGS, VirtualCluster


def _unavailable(reason: str) -> NoReturn:
    """Skip, or fail where `make test-cluster` has started the cluster and says so."""
    if os.environ.get("TEST_CLUSTER_STARTED"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def virtual_cluster() -> VirtualCluster:
    """The cluster of start.sh; tests that need it are skipped elsewhere, but not by its target.

    They kill nodes and the controller, so that a cluster of any other name is left alone. They also
    take turns: `make test` must not run them beside a `make test-cluster`.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:
        _unavailable("tests of a Slurm run one after the other; `make test-cluster` runs them")
    if shutil.which("slurmctld") is None:
        _unavailable("slurmctld is not installed; tests/cluster/install.sh installs it")
    if os.getuid() != 0:
        _unavailable("the test cluster needs root")
    shown = subprocess.run(
        ["scontrol", "show", "config"], capture_output=True, text=True, check=False, timeout=300
    ).stdout
    names = [line.split("=")[1].strip() for line in shown.splitlines() if "ClusterName" in line]
    if names != [SETTINGS["NAME"]]:
        _unavailable("the test cluster does not run; `make test-cluster` starts and stops it")
    return VirtualCluster()


@pytest.fixture
def cluster(virtual_cluster) -> Iterator[VirtualCluster]:
    virtual_cluster.repair()
    yield virtual_cluster
    virtual_cluster.repair()


@pytest.fixture(scope="session")
def prepared(virtual_cluster, repository, tmp_path_factory, data_dir) -> Checkout:
    """A checkout with data and initial weights, all that comes before the training jobs."""
    folder = tmp_path_factory.mktemp("study") / "prepared"
    checkout = Checkout.of(repository, folder, SMOKE, data_dir)
    weights = "results/smoke/weights/experiment=admission/init=0.safetensors"
    assert checkout.run(weights) == 0, checkout.output
    shutil.rmtree(folder / "logs")
    return checkout


@pytest.fixture(scope="session")
def undisturbed(prepared) -> dict[str, object]:
    """The artefacts of a run without Slurm and without faults."""
    checkout = prepared.copied(prepared.folder.parent / "checkout")
    assert checkout.run(TARGET) == 0, checkout.output
    artefacts = checkout.artefacts()
    shutil.rmtree(checkout.folder)
    return artefacts


@pytest.fixture
def checkout(prepared, undisturbed) -> Iterator[Checkout]:
    """A prepared checkout of the test's own; always in one place, where kernels are compiled."""
    checkout = prepared.copied(prepared.folder.parent / "checkout")
    yield checkout
    shutil.rmtree(checkout.folder, ignore_errors=True)
