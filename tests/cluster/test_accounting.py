"""On a cluster that keeps accounts: the profile's account is charged, and outages may be longer."""

import os

import pytest
from study_checkout import QUICK_LOOKS, TARGET, differences
from virtual_cluster import SETTINGS, output_of, wait_until


@pytest.fixture
def accounting(virtual_cluster) -> None:
    if "accounting_storage/slurmdbd" not in output_of("scontrol", "show", "config"):
        if os.environ.get("TEST_CLUSTER_STARTED") == "accounting":
            pytest.fail("this cluster was started with accounting and keeps no accounts")
        pytest.skip("this cluster keeps no accounts; `make test-cluster` starts one that does next")


def test_with_accounts_the_controller_may_be_away_for_longer(
    accounting, cluster, checkout, undisturbed
):
    """Until Snakemake has looked and Slurm's commands have given up, which takes ten seconds."""
    profile = checkout.folder / "slurm/profile.yaml"
    text = profile.read_text()
    assert 'account: ""' in text
    profile.write_text(text.replace('account: ""', f"account: {SETTINGS['ACCOUNT']}"))

    process = checkout.start(TARGET, options=("--profile", "slurm", *QUICK_LOOKS))
    wait_until(lambda: len(checkout.states) == 1, 300, "the first block trains")
    (job,) = cluster.running()
    cluster.kill_controller(job)
    wait_until(lambda: "Falling back to 'sacct'" in checkout.output, 120, "a look gives up")
    cluster.start_controller()
    assert checkout.finish(process, seconds=480) == 0, checkout.output
    assert differences(checkout.artefacts(), undisturbed) == []

    numbers = ",".join(job.number for job in cluster.jobs())
    listed = output_of("sacct", "-X", "-n", "-P", "--format=Account,State", "-j", numbers).split()
    charged, states = zip(*(line.split("|") for line in listed), strict=True)
    assert set(charged) == {SETTINGS["ACCOUNT"]}
    # A job whose second block was to begin in the outage has failed and was submitted again.
    assert states in [("COMPLETED",), ("FAILED", "COMPLETED")]
