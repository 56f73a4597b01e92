"""What `--profile slurm` asks for, read from dry runs: no cluster is needed."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from snakemake.resources import GroupResources, Resources

from checkout import copy_of, snakemake
from pipeline_lib.models import MODELS
from pipeline_lib.study.config import load_study
from pipeline_lib.study.cost import asked_for

# A study of blocks on processors and one whose blocks get a GPU.
ON_CPU, ON_GPU = "admission", "mnist"
TARGETS = [f"results/paper/variance/{name}.parquet" for name in (ON_CPU, ON_GPU)]

Asked = dict[tuple[str, int], dict[str, str]]  # resources by (experiment, b)


@pytest.fixture
def fresh(repository, tmp_path) -> Path:
    return copy_of(repository, tmp_path / "checkout")


def edit_profile(folder: Path, old: str, new: str) -> None:
    profile = folder / "slurm/profile.yaml"
    text = profile.read_text()
    assert text.count(old) == 1, old
    profile.write_text(text.replace(old, new))


def asked(folder: Path, **compute: object) -> Asked:
    """What training blocks of the paper's scale ask for; ``compute`` changes the configuration."""
    (folder / "mine.yaml").write_text(json.dumps({"compute": compute}))
    options = ("--profile", "slurm", "--dry-run", "--configfile", "mine.yaml")
    done = snakemake(folder, *options, "--config", "scale=paper", "--", *TARGETS)
    assert done.returncode == 0, done.stderr
    found = {}
    for block in re.split(r"\n\s*rule (?=train_)", done.stdout + done.stderr)[1:]:
        experiment, b = re.search(r"wildcards: experiment=(\w+), .*b=(\d+),", block).groups()
        listed = re.search(r"resources: (.*)", block).group(1)
        found[experiment, int(b)] = dict(item.split("=", 1) for item in listed.split(", "))
    assert {experiment for experiment, _ in found} == {ON_CPU, ON_GPU}
    return found


def minutes(folder: Path, device: str) -> dict[tuple[str, int], str]:
    """The time limits of the cost model, by (experiment, b)."""
    config = yaml.safe_load((folder / "config.yaml").read_text()) | {"scale": "paper"}
    study = load_study(config, MODELS)
    return {
        (name, b): str(asked_for(study.experiments[name], b, 1, device)["runtime"])
        for name in (ON_CPU, ON_GPU)
        for b in study.experiments[name].batch_sizes
    }


@pytest.mark.parametrize(
    ("granted", "device", "expected"),
    [
        (True, "auto", "cuda"),
        (True, "cuda", "cuda"),
        (True, "cpu", "cpu"),
        (False, "auto", "cpu"),
        (False, "cuda", "cuda"),
    ],
)
def test_blocks_that_get_a_gpu_ask_for_the_time_of_one(fresh, granted, device, expected):
    if not granted:
        edit_profile(fresh, "    gpu: 1\n", "")
    found = asked(fresh, device=device)
    limits = minutes(fresh, expected)
    for (experiment, b), resources in found.items():
        assert ("gpu" in resources) == (granted and experiment == ON_GPU)
        if experiment == ON_GPU:
            assert resources["runtime"] == limits[experiment, b]
    # The two differ by far, so that the choice matters: hours and weeks.
    assert int(minutes(fresh, "cpu")[ON_GPU, 64]) > 100 * int(minutes(fresh, "cuda")[ON_GPU, 64])


@pytest.mark.parametrize("gres", ["gpu:1", "gpu:a100:1"])
def test_a_gpu_that_is_asked_for_as_gres_counts_as_one(fresh, gres):
    edit_profile(fresh, "    gpu: 1\n", f"    gres: {gres}\n")
    limits = minutes(fresh, "cuda")
    for (experiment, b), resources in asked(fresh).items():
        assert resources.get("gres") == (gres if experiment == ON_GPU else None)
        if experiment == ON_GPU:
            assert resources["runtime"] == limits[experiment, b]


def test_a_gpu_of_the_networks_changes_nothing_for_other_blocks(fresh):
    limits = minutes(fresh, "cpu")
    for (experiment, b), resources in asked(fresh).items():
        if experiment == ON_CPU:
            assert resources["runtime"] == limits[experiment, b]


def test_a_block_asks_for_the_processors_of_its_threads(fresh):
    """However few the machine has on which Snakemake runs; here it is given two."""
    found = asked(fresh, threads=6)
    assert {resources["cpus_per_task"] for resources in found.values()} == {"6"}


def test_blocks_that_share_an_allocation_ask_for_the_processors_of_one(fresh):
    found = asked(fresh, threads=6)
    members = [
        {name: int(resources[name]) for name in ("mem_mb", "runtime", "cpus_per_task", "in_turn")}
        for (experiment, _), resources in found.items()
        if experiment == ON_CPU
    ]
    profile = (fresh / "slurm/profile.yaml").read_text()
    assert "\nresources:\n  in_turn: 1\n" in profile
    shared = GroupResources.basic_layered(
        [[SimpleNamespace(resources=member, pipe_group=None) for member in members]],
        constraints=Resources.from_mapping({"in_turn": 1}),
        run_local=False,
    )
    assert len(members) == 4
    assert shared["cpus_per_task"] == 6
    assert shared["mem_mb"] == max(member["mem_mb"] for member in members)
    assert shared["runtime"] == sum(member["runtime"] for member in members)


@pytest.mark.parametrize("name", ["all", "2024-117", "research"])
def test_the_three_lines_are_taken_as_they_are_written(fresh, name):
    """Snakemake evaluates values of a profile: `all` is a function of Python, 2024-117 is 1907."""
    for line in ("account", "partition", "gpu_partition"):
        edit_profile(fresh, f'\n  {line}: ""', f"\n  {line}: {name}")
    for resources in asked(fresh).values():
        assert resources["slurm_account"] == name
        assert resources["slurm_partition"] == name


def test_gpu_jobs_go_to_their_partition_and_empty_lines_leave_the_choice_to_slurm(fresh):
    edit_profile(fresh, '\n  gpu_partition: ""', "\n  gpu_partition: open")
    for (experiment, _), resources in asked(fresh).items():
        assert resources.get("slurm_partition") == ("open" if experiment == ON_GPU else None)
        assert "slurm_account" not in resources
