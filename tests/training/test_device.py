"""On what a job trains: what its kind takes, what it was given, and what torch says of it."""

import sys

import pytest
import torch

from pipeline_lib.errors import ConfigError
from pipeline_lib.models import MODELS
from pipeline_lib.training import device
from pipeline_lib.training.device import (
    asks_for_gpu,
    check_device,
    granted_gpu,
    named_cards,
    resolve_device,
)

OLD_DRIVER = "RuntimeError: The NVIDIA driver on your system is too old (found version 11040)."


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Sets whether there is a driver, what torch says of a GPU, and the job of Slurm."""

    def be(driver: bool = True, reason: str | None = None, slurm: bool = False) -> None:
        file = tmp_path / "nvidiactl"
        file.touch() if driver else file.unlink(missing_ok=True)
        monkeypatch.setattr(device, "_DRIVERS", (file,))
        monkeypatch.setattr(device, "_why_not_usable", lambda: reason)
        monkeypatch.delenv("SLURM_JOB_ID", raising=False)
        if slurm:
            monkeypatch.setenv("SLURM_JOB_ID", "7")

    return be


@pytest.mark.parametrize("granted", [None, "gpu=1"])
def test_a_gpu_that_torch_can_use_is_used(machine, granted):
    machine()
    assert resolve_device("auto", granted) == resolve_device("cuda", granted) == "cuda"
    assert resolve_device("cpu", granted) == "cpu"


@pytest.mark.parametrize("driver", [True, False])
def test_a_job_that_was_given_a_gpu_never_trains_on_cpu_instead(machine, driver):
    """With or without a device file: that torch cannot use it is one line with torch's reason."""
    machine(driver, OLD_DRIVER)
    with pytest.raises(ConfigError) as refused:
        resolve_device("auto", "SLURM_JOB_GPUS=3")
    assert str(refused.value) == (
        "config: compute.device: 'auto' and the job was given a GPU (SLURM_JOB_GPUS=3), but torch "
        f"cannot use one here: {OLD_DRIVER}; allowed here: cpu"
    )


@pytest.mark.parametrize("driver", [True, False])
def test_cuda_asks_torch_and_not_for_a_device_file(machine, driver):
    machine(driver)
    assert resolve_device("cuda") == "cuda"
    machine(driver, OLD_DRIVER)
    with pytest.raises(ConfigError, match=r"device: 'cuda', but .* too old .* here: auto, cpu$"):
        resolve_device("cuda")


def test_auto_without_a_grant_says_why_it_takes_the_cpu(machine, caplog):
    machine(reason=OLD_DRIVER)
    assert resolve_device("auto") == "cpu"
    assert OLD_DRIVER in caplog.text


def test_auto_does_not_import_torch_where_there_is_no_driver(machine, monkeypatch):
    machine(driver=False)
    monkeypatch.setattr(device, "_why_not_usable", lambda: pytest.fail("torch was asked"))
    assert resolve_device("auto") == "cpu"


def test_a_job_of_slurm_takes_no_gpu_that_it_was_not_given(machine):
    """It asked for the time of processors."""
    machine(slurm=True)
    assert resolve_device("auto") == "cpu"
    assert resolve_device("auto", "gpu=1") == "cuda"


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch can use a CUDA device")
def test_torchs_own_reason_is_told():
    reason = r"cannot use one here: (RuntimeError|AssertionError): \w+"
    with pytest.raises(ConfigError, match=reason):
        resolve_device("cuda")
    with pytest.raises(ConfigError, match=rf"given a GPU \(gpu=1\), but torch {reason}"):
        check_device("auto", "gpu=1")
    check_device("auto")
    check_device("cpu", "gpu=1")


def test_what_a_check_says_is_that_of_another_process(monkeypatch, tmp_path):
    (tmp_path / "python").write_text('#!/bin/sh\necho "what it said: $3 $4"; exit 1\n')
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(ConfigError, match=r"^what it said: cuda gpu=1$"):
        check_device("cuda", "gpu=1")


def test_nothing_is_checked_without_torch(monkeypatch):
    """Snakemake may run in an environment without it, and jobs in others."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    monkeypatch.setattr(device.importlib.util, "find_spec", lambda name: None)
    check_device("cuda", "gpu=1")


@pytest.mark.parametrize(
    ("resource", "value", "expected"),
    [
        ("gpu", 1, True),
        ("gpu", "2", True),
        ("gpu", 0, False),
        ("gpu", None, False),
        ("gres", "gpu:1", True),
        ("gres", "'gpu:1'", True),
        ("gres", "gpu:a100:2", True),
        ("gres", "lustre:1,gpu:1", True),
        ("gres", "gpu", True),
        ("gres", "gpu:0", False),
        ("gres", "lustre:1", False),
        ("gpu_card", 1, False),
        ("mem_mb", 1, False),
    ],
)
def test_resources_that_are_a_gpu(resource, value, expected):
    assert asks_for_gpu(resource, value) == expected
    assert (granted_gpu({resource: value}, {}) is not None) == expected


@pytest.mark.parametrize(
    ("value", "cards"),
    [
        ("0", ["0"]),
        ("3,1", ["3", "1"]),
        ("MIG-1/2/0", ["MIG-1/2/0"]),
        ("", []),
        ("-1", []),
        ("1,-1,2", ["1"]),
        ("NoDevFiles", []),
    ],
)
@pytest.mark.parametrize("name", ["CUDA_VISIBLE_DEVICES", "SLURM_JOB_GPUS"])
def test_variables_that_name_a_gpu(name, value, cards):
    assert named_cards(value) == cards
    assert granted_gpu({}, {name: value}) == (f"{name}={value}" if cards else None)


@pytest.mark.parametrize("kind", MODELS)
def test_under_auto_the_kind_decides(kind):
    model = object.__new__(MODELS[kind])
    is_linear = kind in ("linear_regression", "linear_network")
    assert model.device_wanted("auto") == ("cpu" if is_linear else "auto")
    for told in ("cpu", "cuda"):
        assert model.device_wanted(told) == told
