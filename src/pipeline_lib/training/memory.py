"""How much memory is free, and how many replicas fit into it at once."""

import logging
from collections.abc import Callable
from pathlib import Path

from pipeline_lib.errors import ConfigError

log = logging.getLogger(__name__)

NUMBERS_AT_ONCE = 2**26
"""Numbers of a gradient whose moments are taken at once where they need temporaries."""

# What errors of memory say that have no type of their own, such as those of cuBLAS.
_USED_UP = ("out of memory", "can't allocate memory", "ALLOC_FAILED")

_CGROUPS = Path("/sys/fs/cgroup")


def free_memory(device: str = "cpu") -> int:
    """Bytes that can still be taken on ``device``.

    On CPU what the system calls available, capped by what the limits of the process's control
    groups leave; on a CUDA device what its driver calls free.
    """
    if device != "cpu":
        import torch

        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    import psutil

    return min([int(psutil.virtual_memory().available), *_left_by_control_groups()])


def moment_bytes(numbers: int, itemsize: int, device: str) -> int:
    """Bytes of the temporaries of moments of a tensor of so many numbers, all replicas together.

    On CPU there are none. Elsewhere there are squares, and before they are added up torch makes
    them float64.
    """
    return 0 if device == "cpu" else min(numbers, NUMBERS_AT_ONCE) * (itemsize + 8)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that memory is used up, of the host or of a device."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    said = str(error)
    return isinstance(error, RuntimeError) and any(words in said for words in _USED_UP)


def give_memory_back(device: str) -> None:
    """Free what nobody refers to any more, also what torch keeps of it for later."""
    import gc

    gc.collect()
    if device != "cpu":
        import torch

        torch.cuda.empty_cache()


def most_that_fit(
    size: Callable[[int], int],
    n_replicas: int,
    device: str,
    what: str,
    available: int | None = None,
    share: float = 0.8,
) -> int:
    """The most replicas, up to ``n_replicas``, that fit ``share`` of the available bytes at once.

    ``size`` gives the bytes of that many replicas and ``what`` names the block. ``available`` is
    `free_memory` if None. Writes one line to the log. Raises ConfigError if not even 2 fit, for
    which there is no variance, or 3 of an odd number: groups of 2 would leave one replica alone
    (`pipeline_lib.estimation.pooling.group_sizes`).
    """
    fewest, name = (3, "three") if n_replicas % 2 else (2, "two")
    free = free_memory(device) if available is None else available
    low, high = 0, n_replicas  # low fits or is 0
    while low < high:
        middle = (low + high + 1) // 2
        if size(middle) <= share * free:
            low = middle
        else:
            high = middle - 1
    if low < fewest:
        raise ConfigError(
            f"{what}: {name} replicas take {_mib(size(fewest))} MiB, "
            f"{device} has {_mib(free)} MiB free, of which {share:.0%} are allowed"
        )
    log.info(
        "%s: %d of %d replicas at once take %d MiB of %d MiB free on %s",
        what,
        low,
        n_replicas,
        _mib(size(low)),
        _mib(free),
        device,
    )
    return low


def _mib(size: int) -> int:
    return -(-size // 2**20)


def _left_by_control_groups(
    root: Path = _CGROUPS, membership: Path = Path("/proc/self/cgroup")
) -> list[int]:
    """Bytes that each memory limit on the way to this process's control group leaves.

    Version 2 lists the process as ``0::/path``, version 1 as ``n:memory:/path``. Pages of files
    that can be dropped do not count as used. Limits that cannot be read are left out.
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return []
    left = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            base, names = root, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            base = root / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        # In a container the path may be that of the host: the root holds its limit then.
        folder = base / path.lstrip("/")
        for level in [folder, *folder.parents]:
            if level.is_relative_to(base):
                left += _left_in(level, *names)
    return left


def _left_in(folder: Path, limit: str, usage: str, droppable: str) -> list[int]:
    try:
        allowed = (folder / limit).read_text().strip()
        used = int((folder / usage).read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return []
    if not allowed.isdigit():  # "max"
        return []
    return [max(0, int(allowed) - used + int(stat.get(droppable, 0)))]
