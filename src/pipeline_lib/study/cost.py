"""What a training block costs before it runs: arithmetic, memory, time and storage.

Operations are floating-point operations (a multiply-add counts 2) of all replicas of a block, with
its evaluations and recorded statistics. Each kind of model counts its own
(`pipeline_lib.study.model.Model.cost`), without importing torch: jobs are planned while the
workflow is read. Counts of the models' products are held against the models by the tests.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pipeline_lib.errors import ConfigError

if TYPE_CHECKING:  # the kinds of models count with what is below
    from pipeline_lib.sampling.epochs import EpochSampler
    from pipeline_lib.study.experiment import EpochExperiment, Experiment
    from pipeline_lib.study.model import Model

# Operations for each number of a recorded gradient: two passes of moments, the check, the update.
STATISTICS = 10
# Operations of an update of one weight that is more than plain SGD, with its clipping.
UPDATE = 15
# Files as `artifacts.files.write_table` leaves them, measured on blocks of each kind: bytes of an
# empty table with its provenance, and of a row.
_FILES = {
    "statistics": (5600, 58),
    "divergence": (1300, 8),
    "noise": (8400, 66),
    "metrics": (2300, 11),
}
# The same in a checkpoint, which has another encoding.
_SAVED_TABLES = {"statistics": (12000, 58), "noise": (6600, 70), "metrics": (3100, 8)}
ROW_IN_MEMORY = 150  # bytes of a row of statistics as a frame
ITEMSIZE = {"float32": 4, "float64": 8}


@dataclass(frozen=True)
class BlockCost:
    """One training block, which trains its ``replicas`` in ``groups``, one after the other.

    ``steps`` are those of one replica, ``operations`` and bytes those of the whole block. On CPU
    ``parts`` of it can run side by side. ``bytes_resident`` is memory of the host beyond Python and
    its libraries where the block is trained on CPU, and ``bytes_beside_gpu`` where it is trained
    on a GPU. ``bytes_written`` is what it leaves on disk, and ``bytes_checkpoint`` what it keeps
    there while it trains.
    """

    steps: int
    replicas: int
    groups: int
    parts: int
    operations: float
    bytes_resident: int
    bytes_written: int
    bytes_checkpoint: int
    bytes_beside_gpu: int = 0


@dataclass(frozen=True)
class Speed:
    """Operations a second, and what each step costs beside them.

    A CPU core pays ``seconds_per_step`` for each replica. A GPU pays it for each group of replicas,
    or, if they take turns (``turn``), for each replica too.
    """

    operations_per_second: float
    seconds_per_step: float
    pays_for_each: Literal["replica", "group", "turn"] = "replica"


# An assumption, not a measurement: float32 without TF32 on a GPU of a data centre, and a hundred
# kernel launches a step of 10 microseconds each. `pipeline_lib.study.rates` reads measured ones.
GPU = Speed(10e12, 1e-3, "group")

# The margin over the estimate at the first attempt; it doubles with every further attempt.
MARGIN = 2
MIN_RUNTIME = 10  # minutes, at the first attempt
IMPORTS_MB = 700  # the interpreter with torch, numba and pandas; 750 to 790 with a small block
CUDA_MB = 1500  # of the host, for CUDA's libraries and what it mirrors there
MIN_MB = 1000 + IMPORTS_MB  # at the first attempt
# Asked for by a block whose kind has no estimate.
UNKNOWN = {"runtime": 120, "mem_mb": 6000}


def file_bytes(kind: str, rows: int) -> int:
    """Bytes of an artefact of this ``kind`` with so many rows, on disk."""
    empty, row = _FILES[kind]
    return empty + rows * row


def saved_table_bytes(kind: str, rows: int) -> int:
    """Bytes of the same in a checkpoint."""
    empty, row = _SAVED_TABLES[kind]
    return empty + rows * row


def recorded_and_averaged(
    experiment: "EpochExperiment", sampler: "EpochSampler"
) -> tuple[int, int]:
    """How many steps are recorded, and over how many examples a replica averages at them in all."""
    most = experiment.averaged_examples(sampler.batch_size, sampler.n)
    steps = sampler.recorded_steps(experiment.epochs, experiment.recorded_steps, most > 0)
    left = (sampler.examples_left(int(step) % sampler.steps_per_epoch) for step in steps)
    return len(steps), sum(min(most, m) for m in left)


def block_cost(experiment: "Experiment", b: int, threads: int = 1) -> BlockCost | None:
    """The cost of one block of ``experiment`` at batch size ``b``, None if it is not known.

    ``threads`` matters for memory only. Raises ConfigError if the batch size cannot be.
    """
    if b < 1:
        raise ConfigError(f"batch size {b}: allowed are whole numbers from 1")
    if threads < 1:
        raise ValueError(f"a block needs at least 1 thread, got {threads}")
    return experiment.model.cost(experiment, b, threads)


def seconds(cost: BlockCost, speed: Speed, threads: int = 1) -> float:
    """Estimated time of a block, without a margin; its parts are spread over ``threads``."""
    in_turn = cost.groups if speed.pays_for_each == "group" else cost.replicas
    work = cost.operations / speed.operations_per_second
    share = -(-cost.parts // threads) / cost.parts
    return share * (work + cost.steps * in_turn * speed.seconds_per_step)


def resources(cost: BlockCost, speed: Speed, attempt: int = 1, threads: int = 1) -> dict[str, int]:
    """What to ask a queue for: ``runtime`` in minutes and ``mem_mb`` in MB of 10^6 bytes.

    The estimates times `MARGIN`, but at least `MIN_RUNTIME` and `MIN_MB`; all of it doubles with
    every attempt after the first. Raises ValueError if ``attempt`` is below 1.
    """
    if attempt < 1:
        raise ValueError(f"attempts are counted from 1, got {attempt}")
    minutes = MARGIN * seconds(cost, speed, threads) / 60
    if speed.pays_for_each != "replica":
        megabytes = MARGIN * (IMPORTS_MB + CUDA_MB + cost.bytes_beside_gpu / 1e6)
    else:
        megabytes = MARGIN * (IMPORTS_MB + cost.bytes_resident / 1e6)
    again = 2 ** (attempt - 1)
    return {
        "runtime": again * max(MIN_RUNTIME, math.ceil(minutes)),
        "mem_mb": again * max(MIN_MB, math.ceil(megabytes)),
    }


def gpu_of(model: "Model") -> Speed:
    """The speed of a GPU for a kind of model, as measured, else as the kind assumes."""
    from pipeline_lib.study.rates import gpu_speed

    return gpu_speed(model.kind, model.gpu)


def asked_for(
    experiment: "Experiment", b: int, attempt: int, device: str = "auto", threads: int = 1
) -> dict[str, int]:
    """`resources` of a block. Its memory is that of the host, whatever the device.

    On ``auto`` those of CPU cores are asked for, since no GPU is certain; a caller that knows of
    one passes ``cuda``.
    """
    cost, model = block_cost(experiment, b, threads), experiment.model
    if cost is None or model.cpu_core is None:
        return {name: int(value * 2 ** (attempt - 1)) for name, value in UNKNOWN.items()}
    if device == "cuda":
        return resources(cost, gpu_of(model), attempt)
    return resources(cost, model.cpu_core, attempt, threads)
