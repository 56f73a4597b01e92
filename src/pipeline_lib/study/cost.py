"""What a training block costs before it runs: arithmetic, memory, time and storage.

Operations are floating-point operations (a multiply-add counts 2) of all replicas of a block, with
its evaluations and recorded statistics. Nothing here imports torch: jobs are planned while the
workflow is read. Counts of the models' products are held against the models by the tests.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from pipeline_lib.data.admissions import FEATURES
from pipeline_lib.errors import ConfigError
from pipeline_lib.sampling.epochs import EpochSampler, recorded_steps
from pipeline_lib.study.config import DATASET_ROWS, MNIST_IMAGES
from pipeline_lib.study.settings import (
    EpochExperiment,
    Experiment,
    IterationExperiment,
    LinearRegression,
    Mlp,
    TwoLayer,
    Xlnet,
)
from pipeline_lib.training.memory import BlockSize, activation_bytes, block_bytes

# Operations for each number of a recorded gradient: two passes of moments, the check, the update.
_STATISTICS = 10
_ADAMW = 15  # operations of an update of one parameter, its clipping included
# Files as `artifacts.write_table` leaves them, measured on blocks of each kind: bytes of an empty
# table with its provenance, and of a row.
_FILES = {"statistics": (5600, 58), "divergence": (1300, 8), "metrics": (2300, 11)}
# The same in a checkpoint, which has another encoding.
_SAVED_TABLES = {"statistics": (12000, 58), "metrics": (3100, 8)}
_ROW_IN_MEMORY = 150  # bytes of a row of statistics as a frame
_CHUNK_BYTES = 16 * 2**20  # gradients of linear regression that are summarised together
_ITEMSIZE = {"float32": 4, "float64": 8}
_EVALUATED_AT_ONCE = 1000
_IMAGE_BYTES = 784


@dataclass(frozen=True)
class BlockCost:
    """One training block, which trains its ``replicas`` in ``groups``, one after the other.

    ``steps`` are those of one replica, ``operations`` and bytes those of the whole block. On CPU
    ``parts`` of it can run side by side. ``bytes_resident`` is memory of the host beyond Python and
    its libraries, ``bytes_written`` what the block leaves on disk, and ``bytes_checkpoint`` what
    it keeps there while it trains.
    """

    steps: int
    replicas: int
    groups: int
    parts: int
    operations: float
    bytes_resident: int
    bytes_written: int
    bytes_checkpoint: int


@dataclass(frozen=True)
class Speed:
    """Operations a second, and what each step costs beside them.

    A CPU core pays ``seconds_per_step`` for each replica, a GPU for each group of replicas.
    """

    operations_per_second: float
    seconds_per_step: float
    pays_for_each: Literal["replica", "group"]


# One CPU core: about half of what a core of an AMD EPYC server gave at the paper's shapes in short
# runs, operations counted as here: 2.6 to 5.7, 76 to 80, 66 to 100 and 70 GFLOP/s of processor
# time, the lowest at small batch sizes. A step is given twice what it took in networks of a few
# units.
CPU_CORE: Mapping[str, Speed] = {
    "linear_regression": Speed(1.3e9, 0.0, "replica"),
    "two_layer": Speed(35e9, 1e-5, "replica"),
    "mlp": Speed(30e9, 1e-4, "replica"),
    "xlnet": Speed(30e9, 0.01, "replica"),
}
# An assumption, not a measurement: float32 without TF32 on a GPU of a data centre, and a hundred
# kernel launches a step of 10 microseconds each.
GPU = Speed(10e12, 1e-3, "group")

# The margin over the estimate at the first attempt; it doubles with every further attempt.
MARGIN = 2
MIN_RUNTIME = 10  # minutes, at the first attempt
IMPORTS_MB = 700  # the interpreter with torch, numba and pandas; 750 to 790 with a small block
MIN_MB = 1000 + IMPORTS_MB  # at the first attempt
# Asked for by a block of the user's own module, which has no estimate.
UNKNOWN = {"runtime": 120, "mem_mb": 6000}


def block_cost(experiment: Experiment, b: int, threads: int = 1) -> BlockCost:
    """The cost of one block of ``experiment`` at batch size ``b``.

    ``threads`` matters for memory only. Raises ConfigError if the batch size or the kind of model
    cannot be.
    """
    kind = experiment.model.kind
    if b < 1:
        raise ConfigError(f"batch size {b}: allowed are whole numbers from 1")
    if kind not in _COSTS:
        raise ConfigError(
            f"no cost is known for models of kind {kind}; allowed: {', '.join(_COSTS)}"
        )
    if threads < 1:
        raise ValueError(f"a block needs at least 1 thread, got {threads}")
    return _COSTS[kind](experiment, b, threads)


def mlp_multiply_adds(layers: Sequence[int], batch_size: int) -> int:
    """Multiply-adds of one step of one perceptron: `models.perceptron.replicas.multiply_adds`."""
    sizes = _layer_sizes(layers)
    return batch_size * (3 * sum(sizes) - sizes[0])


def evaluation_multiply_adds(layers: Sequence[int], n_examples: int) -> int:
    """Multiply-adds of one forward pass of one perceptron over ``n_examples``."""
    return n_examples * sum(_layer_sizes(layers))


def two_layer_multiply_adds(layers: Sequence[int], batch_size: int) -> int:
    """Multiply-adds of one step of one two-layer network with p, p1, p2 = ``layers``.

    Hidden units are reduced to p + p2, and of the two forms of a mini-batch the cheaper is taken:
    `pipeline_lib.models.linear_network.two_layer.multiplications` gives each term.
    """
    p, p1, p2 = layers
    hidden = min(p1, p + p2)
    inputs = batch_size * (p * (p2 + 2 * hidden) + hidden * (p + p2))
    moment = p * p * (min(batch_size, p) + p2 + hidden) + p2 * hidden * p
    return 3 * p2 * hidden * p + min(inputs, moment)


def _layer_sizes(layers: Sequence[int]) -> list[int]:
    return [inputs * outputs for inputs, outputs in pairwise(layers)]


def _linear_regression(experiment: Experiment, b: int, threads: int) -> BlockCost:
    model = experiment.model
    assert isinstance(model, LinearRegression)
    assert isinstance(experiment, IterationExperiment)
    replicas, steps = experiment.runs_per_block, experiment.iterations
    n = DATASET_ROWS[model.dataset]
    if b > n:
        raise ConfigError(f"batch size {b}: allowed are 1 to {n}, the examples")
    p = (len(FEATURES) if model.features == "all" else len(model.features)) + 1
    # The examples drawn or, beyond n/2, left out; the full gradient and the conditional variance
    # through p by p matrices; two gradients summarised.
    step = 4 * p * min(b, n - b) + 2 * p * p + 2 * p * (p + 1) + 2 * p * _STATISTICS
    rows = 3 * steps
    # Gradients of a chunk, those of the last one, deviations and contributions.
    chunk = 6 * max(min(_CHUNK_BYTES, steps * replicas * 2 * 8 * p), replicas * 2 * 8 * p)
    state = replicas * (4 * n + 8 * p + 32)  # shuffles, weights, generators
    resident = chunk + state + 3 * rows * _ROW_IN_MEMORY
    written = _file("statistics", rows) + _file("divergence", 0)
    checkpoint = state + _saved_table("statistics", rows)
    operations = float(replicas * steps * step)
    return BlockCost(steps, replicas, 1, replicas, operations, resident, written, checkpoint)


def _two_layer(experiment: Experiment, b: int, threads: int) -> BlockCost:
    model = experiment.model
    assert isinstance(model, TwoLayer)
    assert isinstance(experiment, IterationExperiment)
    replicas, steps = experiment.runs_per_block, experiment.iterations
    p, p1, p2 = model.layers
    parameters = min(p1, p + p2) * (p + p2)
    # Two gradients, stochastic and of the population, are summarised.
    step = 2 * two_layer_multiply_adds(model.layers, b) + 2 * parameters * _STATISTICS
    groups = -(-replicas // model.replicas_at_once)
    at_once = min(threads, groups) * min(model.replicas_at_once, replicas)
    # Weights and both pairs of gradients; the mini-batch, its moment and the factor of the moment.
    numbers = at_once * (3 * parameters + p * (b + 3 * p))
    rows = 9 * steps  # W1, W2 and all: two estimators of one gradient, one of the other
    # Every group's table stays until they are pooled, which stacks them.
    tables = (2 * groups + 3) * rows * _ROW_IN_MEMORY
    resident = numbers * _ITEMSIZE[model.dtype] + tables
    written = _file("statistics", rows) + _file("divergence", 0)
    saved = groups * _saved_table("statistics", rows)
    checkpoint = at_once * parameters * _ITEMSIZE[model.dtype] + saved
    operations = float(replicas * steps * step)
    return BlockCost(steps, replicas, groups, groups, operations, resident, written, checkpoint)


def _mlp(experiment: Experiment, b: int, threads: int) -> BlockCost:
    model = experiment.model
    assert isinstance(model, Mlp)
    assert isinstance(experiment, EpochExperiment)
    replicas, layers, n = experiment.runs_per_block, model.layers, model.training_examples
    sampler = EpochSampler(n, b, replicas, np.random.SeedSequence(0), experiment.last_batch)
    steps = experiment.epochs * sampler.steps_per_epoch
    recorded = len(
        recorded_steps(
            steps, experiment.recorded_steps, sampler.steps_per_epoch, sampler.short_last
        )
    )
    examples = {
        "training": n,
        "validation": model.validation_examples,
        "distorted": model.validation_examples,
    }
    times = {split: len(epochs) for split, epochs in experiment.evaluated_epochs().items()}
    parameters = sum(_layer_sizes(layers)) + sum(layers[1:])
    used = experiment.epochs * int(sampler.batch_sizes_of_epoch.sum())
    evaluated = sum(times[split] * examples[split] for split in times)
    operations = replicas * (
        2 * mlp_multiply_adds(layers, used)
        + 2 * evaluation_multiply_adds(layers, evaluated)
        + recorded * parameters * _STATISTICS
    )
    size = BlockSize(
        layers,
        b,
        n,
        sum(examples.values()),
        _EVALUATED_AT_ONCE,
        _ITEMSIZE[model.dtype],
        threads,
    )
    rows = recorded * (2 * (len(layers) - 1) + 1)  # weights, biases and all together
    # The table of all images is read whole: from the file, as objects, joined.
    images = sum(MNIST_IMAGES.values()) + MNIST_IMAGES["validation"]
    resident = block_bytes(size, replicas) + 3 * images * _IMAGE_BYTES + 3 * rows * _ROW_IN_MEMORY
    metrics = replicas * sum(times.values())
    written = _file("statistics", rows) + _file("divergence", 0) + _file("metrics", metrics)
    saved = _saved_table("statistics", rows) + _saved_table("metrics", metrics)
    checkpoint = replicas * parameters * _ITEMSIZE[model.dtype] + saved
    return BlockCost(steps, replicas, 1, replicas, float(operations), resident, written, checkpoint)


def _file(kind: str, rows: int) -> int:
    empty, row = _FILES[kind]
    return empty + rows * row


def _saved_table(kind: str, rows: int) -> int:
    empty, row = _SAVED_TABLES[kind]
    return empty + rows * row


def xlnet_parameters(model: Xlnet) -> dict[str, int]:
    """Parameters of the classifier: ``embedding``, ``products`` (matrices) and ``rest``."""
    d, inner = model.d_model, model.d_inner
    matrices = model.n_layer * (5 * d * d + 2 * d * inner) + d * d + 2 * d
    # Of a layer: biases of attention and its segments, two norms, biases; then the summary's bias,
    # the scores' and the embedding of masks.
    rest = model.n_layer * (5 * d + 4 * d + inner + d) + d + 2 + d
    return {"embedding": model.vocabulary * d, "products": matrices, "rest": rest}


def xlnet_multiply_adds(model: Xlnet, n_examples: int) -> int:
    """Multiply-adds of a forward pass over reviews: matrices, and attention to all tokens."""
    d, tokens = model.d_model, model.tokens
    # Scores of contents and of twice as many relative positions, and the weighted values.
    attention = 4 * model.n_layer * tokens * d
    return n_examples * tokens * (xlnet_parameters(model)["products"] + attention)


def _xlnet(experiment: Experiment, b: int, threads: int) -> BlockCost:
    model = experiment.model
    assert isinstance(model, Xlnet)
    assert isinstance(experiment, EpochExperiment)
    replicas, n = experiment.runs_per_block, model.training_examples
    sampler = EpochSampler(n, b, replicas, np.random.SeedSequence(0), experiment.last_batch)
    steps = experiment.epochs * sampler.steps_per_epoch
    recorded = len(
        recorded_steps(
            steps, experiment.recorded_steps, sampler.steps_per_epoch, sampler.short_last
        )
    )
    parameters = sum(xlnet_parameters(model).values())
    used = experiment.epochs * int(sampler.batch_sizes_of_epoch.sum())
    evaluations = len(experiment.evaluated_epochs()["training"])
    evaluated = evaluations * (n + model.validation_examples)
    operations = replicas * (
        2 * xlnet_multiply_adds(model, 3 * used + evaluated)
        + steps * parameters * _ADAMW
        + recorded * 2 * parameters * _STATISTICS  # before and after clipping
    )
    resident = 16 * replicas * parameters + b * activation_bytes(
        model.d_model, model.n_layer, model.n_head, model.d_inner, model.tokens
    )
    rows = 2 * recorded
    # Evaluations, and the mini-batches' own means.
    metrics = replicas * (2 * evaluations + experiment.epochs)
    written = _file("statistics", rows) + _file("divergence", 0) + _file("metrics", metrics)
    checkpoint = 12 * replicas * parameters
    return BlockCost(steps, replicas, 1, 1, float(operations), resident, written, checkpoint)


# One function a kind of model; a new kind is added here, with its speed in `CPU_CORE`.
_COSTS: Mapping[str, Callable[[Experiment, int, int], BlockCost]] = {
    "linear_regression": _linear_regression,
    "two_layer": _two_layer,
    "mlp": _mlp,
    "xlnet": _xlnet,
}


def seconds(cost: BlockCost, speed: Speed, threads: int = 1) -> float:
    """Estimated time of a block, without a margin; its parts are spread over ``threads``."""
    in_turn = cost.replicas if speed.pays_for_each == "replica" else cost.groups
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
    megabytes = MARGIN * (IMPORTS_MB + cost.bytes_resident / 1e6)
    again = 2 ** (attempt - 1)
    return {
        "runtime": again * max(MIN_RUNTIME, int(np.ceil(minutes))),
        "mem_mb": again * max(MIN_MB, int(np.ceil(megabytes))),
    }


def is_known(experiment: Experiment) -> bool:
    """Whether there is an estimate for the kind of model of ``experiment``."""
    return experiment.model.kind in _COSTS


def mem_mb(experiment: Experiment, b: int, attempt: int, threads: int = 1) -> int:
    """MB to ask for: `resources` of a block."""
    if not is_known(experiment):
        return int(UNKNOWN["mem_mb"] * 2 ** (attempt - 1))
    # Memory is that of the host, whatever the device.
    return resources(block_cost(experiment, b, threads), GPU, attempt)["mem_mb"]


def runtime(
    experiment: Experiment, b: int, attempt: int, device: str = "auto", threads: int = 1
) -> int:
    """Minutes to ask for: `resources` of a block.

    On ``auto`` the time of CPU cores is asked for, since no GPU is certain; a caller that knows of
    one passes ``cuda``.
    """
    if not is_known(experiment):
        return int(UNKNOWN["runtime"] * 2 ** (attempt - 1))
    cost = block_cost(experiment, b, threads)
    if device == "cuda":
        return resources(cost, GPU, attempt)["runtime"]
    return resources(cost, CPU_CORE[experiment.model.kind], attempt, threads)["runtime"]
