"""How much memory a training block takes, and how many replicas fit at once."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from pipeline_lib.errors import ConfigError

log = logging.getLogger(__name__)

_CGROUPS = Path("/sys/fs/cgroup")
_INDEX = 8  # bytes of an int64


@dataclass(frozen=True)
class BlockSize:
    """What decides the memory of a block; `layers` lists inputs, hidden widths and outputs.

    ``n_examples`` is the training set, ``n_evaluated`` all examples of the evaluation sets
    together, ``chunk`` how many of them are evaluated at once and ``itemsize`` the bytes of one
    weight. ``threads`` matters on CPU only.
    """

    layers: Sequence[int]
    batch_size: int
    n_examples: int
    n_evaluated: int = 0
    chunk: int = 1000
    itemsize: int = 4
    threads: int = 1


def block_bytes(block: BlockSize, n_replicas: int, device: str = "cpu") -> int:
    """Peak bytes of training ``n_replicas`` at once, beyond Python and its libraries.

    The examples, and for each replica its weights, its gradients and its order of the examples. On
    CPU activations are those of one replica a thread. On a CUDA device they are those of all
    replicas, and the moments of gradients take temporaries of the largest layer.
    """
    widths = list(block.layers[1:])
    layers = [inputs * outputs + outputs for inputs, outputs in pairwise(block.layers)]
    # Inputs, z_k and d_k; in an evaluation z_k, and twice the outputs for the loss.
    step = block.batch_size * (block.layers[0] + 2 * sum(widths))
    evaluation = block.chunk * (sum(widths) + 2 * widths[-1]) if block.n_evaluated else 0
    examples = (block.n_examples + block.n_evaluated) * (block.layers[0] * block.itemsize + _INDEX)
    on_cpu = device == "cpu"
    at_once = min(block.threads, n_replicas) if on_cpu else n_replicas
    temporaries = 0 if on_cpu else 3 * max(layers)
    numbers = n_replicas * (2 * sum(layers) + temporaries) + at_once * (step + evaluation)
    orders = n_replicas * block.n_examples * _INDEX
    return examples + numbers * block.itemsize + orders


def activation_bytes(d_model: int, n_layer: int, n_head: int, d_inner: int, tokens: int) -> int:
    """About what a review's activations take in XLNet until its gradient is known, in float32.

    The counts of numbers a token and layer are what the paper's network was seen to take, 0.11 GiB
    a review. One replica has activations at a time.
    """
    a_token = 3 * d_inner + 10 * n_head * tokens + 25 * d_model
    return 4 * n_layer * tokens * a_token


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


def replicas_that_fit(
    block: BlockSize,
    n_replicas: int,
    device: str = "cpu",
    available: int | None = None,
    share: float = 0.8,
) -> int:
    """`most_that_fit` for a block of perceptrons."""

    def size(replicas: int) -> int:
        return block_bytes(block, replicas, device)

    return most_that_fit(size, n_replicas, device, f"b = {block.batch_size}", available, share)


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
