"""GPUs of the machine on which Snakemake runs. They are named by a variable: none is needed."""

import json
import logging
import re
import runpy
from types import SimpleNamespace

import pytest
import torch
import yaml
from snakemake.iocontainers import ResourceList, Wildcards

from checkout import copy_of, snakemake

ON_CPU, ON_GPU = "admission", "mnist"
without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="torch can use a CUDA device")
TARGETS = [f"results/smoke/variance/{name}.parquet" for name in (ON_CPU, ON_GPU)]


@pytest.fixture
def fresh(repository, tmp_path):
    return copy_of(repository, tmp_path / "checkout")


def run(folder, *options, **compute):
    (folder / "mine.yaml").write_text(json.dumps({"compute": compute}))
    arguments = ("--configfile", "mine.yaml", "--config", "scale=smoke", "--", *TARGETS)
    return snakemake(folder, *options, *arguments)


@pytest.mark.parametrize(
    ("cards", "device", "expected"),
    [
        ("0,1", "auto", {ON_CPU: "0", ON_GPU: "1"}),
        ("0,1", "cuda", {ON_CPU: "1", ON_GPU: "1"}),
        ("0,1", "cpu", {ON_CPU: "0", ON_GPU: "0"}),
        ("", "auto", {ON_CPU: "0", ON_GPU: "0"}),
    ],
)
def test_a_job_holds_a_card_if_its_kind_takes_one(fresh, monkeypatch, cards, device, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", cards)
    done = run(fresh, "--dry-run", device=device)
    assert done.returncode == 0, done.stderr
    found = {}
    for block in re.split(r"\n\s*rule (?=train_)", done.stdout + done.stderr)[1:]:
        name = re.search(r"wildcards: experiment=(\w+),", block).group(1)
        found.setdefault(name, set()).add(re.search(r"gpu_card=(\d)", block).group(1))
    assert found == {name: {count} for name, count in expected.items()}


@without_gpu
def test_an_unusable_gpu_that_was_given_ends_in_one_line_before_a_job_starts(fresh, monkeypatch):
    """And as many jobs as there are cards would have run at once."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    done = run(fresh)
    assert done.returncode != 0
    assert re.search(r"Provided resources: .*gpu_card\D+2\b", done.stderr)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    (error,) = errors
    assert "given a GPU (CUDA_VISIBLE_DEVICES=0,1), but torch cannot use one here: " in error
    assert not list((fresh / "results").rglob("*.parquet"))


@without_gpu
def test_a_gpu_that_a_rule_grants_is_checked_before_a_job_starts(fresh, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    done = run(fresh, "--set-resources", "train_network:gpu=1")
    assert done.returncode != 0
    assert (
        "error: config: compute.device: 'auto' and the job was given a GPU (gpu=1)" in done.stderr
    )


@without_gpu
def test_a_job_that_was_given_a_gpu_does_not_train_on_cpu(repository, tmp_path, monkeypatch):
    """What `workflow/scripts/train_block.py` does with what Snakemake hands it."""
    monkeypatch.setattr(logging.root, "handlers", [])  # the job has its own
    for name in ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_GPUS", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    config = yaml.safe_load((repository / "config.yaml").read_text()) | {"scale": "smoke"}
    job = SimpleNamespace(
        config=config,
        log=[tmp_path / "job.log"],
        wildcards=Wildcards(fromdict={"experiment": "mnist", "init": "0", "b": "64", "seed": "0"}),
        input=SimpleNamespace(weights="w", sources=["data", "distorted"], own=[]),
        output={},
        params=SimpleNamespace(checkpoint=tmp_path / "state.zip", code="c"),
        resources=ResourceList(fromdict={"mem_mb": 1000, "gpu": 1}),
        threads=1,
    )
    script = str(repository / "workflow/scripts/train_block.py")
    with pytest.raises(SystemExit):
        runpy.run_path(script, {"snakemake": job})
    assert "device: 'auto' and the job was given a GPU (gpu=1), but" in only_line(job.log[0])
    job.resources = ResourceList(fromdict={"mem_mb": 1000})
    with pytest.raises(SystemExit):  # on CPU it gets as far as its data
        runpy.run_path(script, {"snakemake": job})
    assert "error: data: no such file" in only_line(job.log[0])


def only_line(log):
    (line,) = log.read_text().splitlines()
    return line
