"""The device that a block is trained on: decided by its kind and by what its job was given."""

import importlib.util
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline_lib.errors import ConfigError
from pipeline_lib.imports import one_line

log = logging.getLogger(__name__)

# Where a driver is loaded, on Linux itself and below Windows.
_DRIVERS = (Path("/dev/nvidiactl"), Path("/dev/dxg"))


def granted_gpu(resources: Mapping[str, Any], environ: Mapping[str, str]) -> str | None:
    """What gives a job a GPU, such as ``SLURM_JOB_GPUS=0``; None if nothing does.

    ``resources`` are those of its rule: ``gpu`` with a number, or ``gres`` as Slurm writes it.
    """
    for name, value in resources.items():
        if asks_for_gpu(name, value):
            return f"{name}={value}"
    for name in ("SLURM_JOB_GPUS", "CUDA_VISIBLE_DEVICES"):
        if named_cards(environ.get(name, "")):
            return f"{name}={environ[name]}"
    return None


def asks_for_gpu(resource: str, value: object) -> bool:
    """Whether a resource of a rule is a GPU: ``gpu: 1``, ``gres: gpu:1``, ``gres: gpu:a100:1``."""
    if resource == "gres":
        kinds = [part.strip().split(":") for part in str(value).strip("'\"").split(",")]
        return any(kind[0] == "gpu" and kind[-1] != "0" for kind in kinds)
    return resource == "gpu" and str(value) not in ("0", "None", "")


def named_cards(value: str) -> list[str]:
    """The cards that a value of ``CUDA_VISIBLE_DEVICES`` names; it ends at the first negative one.

    Slurm writes ``NoDevFiles`` where a job gets none.
    """
    cards: list[str] = []
    for card in (part.strip() for part in value.split(",")):
        if not card or card.startswith("-") or card == "NoDevFiles":
            break
        cards.append(card)
    return cards


def resolve_device(wanted: str, granted: str | None = None) -> str:
    """``auto`` becomes ``cuda`` where the job has a GPU, else ``cpu``.

    Args:
        wanted: `pipeline_lib.study.model.Model.device_wanted`.
        granted: what gives the job a GPU (`granted_gpu`). Then ``auto`` is ``cuda``, so that no job
            computes on a CPU in the time of a GPU. Otherwise it takes a GPU that torch can use; in
            a job of Slurm, which would have granted it, it takes none.

    Torch is asked on ``auto`` only where a driver is loaded: importing it would cost every job a
    second. Raises ConfigError, with torch's reason, if a GPU was asked for or granted and cannot be
    used.
    """
    if wanted == "cpu":
        return wanted
    if wanted == "auto" and granted is None:
        if "SLURM_JOB_ID" in os.environ or not any(driver.exists() for driver in _DRIVERS):
            return "cpu"
        reason = _why_not_usable()
        if reason is not None:
            log.warning("trained on CPU: there is a driver of GPUs, but torch says %s", reason)
        return "cpu" if reason else "cuda"
    reason = _why_not_usable()
    if reason is None:
        return "cuda"
    given = f" and the job was given a GPU ({granted})" if granted else ""
    raise ConfigError(
        f"config: compute.device: {wanted!r}{given}, but torch cannot use one here: {reason}; "
        f"allowed here: {'cpu' if granted else 'auto, cpu'}"
    )


def check_device(wanted: str, granted: str | None = None) -> None:
    """What `resolve_device` raises, without a trace in this process.

    Torch is asked in another one: whoever asks keeps some memory of the card until it ends. Nothing
    is told where there is no torch: jobs then have an environment of their own, and ask there.
    """
    if wanted == "cpu" or (wanted == "auto" and granted is None):
        return
    if importlib.util.find_spec("torch") is None:
        return
    program = "import sys; from pipeline_lib.training import device; device.told(*sys.argv[1:])"
    arguments = [wanted] if granted is None else [wanted, granted]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise ConfigError(done.stdout.strip() or done.stderr.strip().split("\n")[-1])


def told(wanted: str, granted: str | None = None) -> None:
    """Print what `resolve_device` raises, and end the process with status 1."""
    try:
        resolve_device(wanted, granted)
    except ConfigError as error:
        print(error)
        sys.exit(1)


def device_name(device: str) -> str:
    """The name of the card behind a CUDA ``device``, such as ``NVIDIA H100 80GB HBM3``."""
    import torch

    return torch.cuda.get_device_name(device)


def _why_not_usable() -> str | None:
    """What torch says when it computes on a GPU, such as of an old driver; None if it can."""
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old drivers and cards; the error says it, too
            torch.ones(1, device="cuda").add_(1).cpu()
    except Exception as error:  # torch raises its own and built-in kinds
        return one_line(error)
    return None
