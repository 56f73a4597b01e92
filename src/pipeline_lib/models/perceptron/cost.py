"""What a block of fully connected networks costs."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from pipeline_lib.models.perceptron.memory import EXAMPLES_AT_ONCE, BlockSize, block_bytes
from pipeline_lib.models.perceptron.settings import IMAGES, Perceptron
from pipeline_lib.sampling.epochs import EpochSampler
from pipeline_lib.study.cost import (
    ITEMSIZE,
    ROW_IN_MEMORY,
    STATISTICS,
    UPDATE,
    BlockCost,
    file_bytes,
    recorded_and_averaged,
    saved_table_bytes,
)
from pipeline_lib.study.experiment import EpochExperiment, Experiment

CHUNK = 1000
"""Examples evaluated at once."""
_IMAGE_BYTES = 784


def multiply_adds(layers: Sequence[int], batch_size: int) -> int:
    """Multiply-adds of one step of one network, as `MlpReplicas` makes it."""
    sizes = _layer_sizes(layers)
    return batch_size * (3 * sum(sizes) - sizes[0])


def evaluation_multiply_adds(layers: Sequence[int], n_examples: int) -> int:
    """Multiply-adds of one forward pass of one network over ``n_examples``."""
    return n_examples * sum(_layer_sizes(layers))


def block_cost(model: Perceptron, experiment: Experiment, b: int, threads: int) -> BlockCost:
    """The cost of one block; ConfigError if ``b`` is above the examples."""
    assert isinstance(experiment, EpochExperiment)
    replicas, layers, n = experiment.runs_per_block, model.layers, model.training_examples
    sampler = EpochSampler(
        n,
        b,
        replicas,
        np.random.SeedSequence(0),
        experiment.last_batch,
        sampling=experiment.sampled,
    )
    steps = experiment.epochs * sampler.steps_per_epoch
    used = experiment.epochs * int(sampler.batch_sizes_of_epoch.sum())
    recorded, averaged = recorded_and_averaged(experiment, sampler)
    examples = {
        "training": n,
        "validation": model.validation_examples,
        "distorted": model.validation_examples,
    }
    times = {split: len(epochs) for split, epochs in experiment.evaluated_epochs().items()}
    parameters = sum(_layer_sizes(layers)) + sum(layers[1:])
    evaluated = sum(times[split] * examples[split] for split in times)
    # Replicas share their initial weights, which are evaluated once.
    shared = sum(examples[split] for split in times if times[split])
    operations = 2 * evaluation_multiply_adds(layers, shared) + replicas * (
        2 * multiply_adds(layers, used + averaged)
        + 2 * evaluation_multiply_adds(layers, evaluated - shared)
        + recorded * parameters * STATISTICS
        + (0 if experiment.is_plain else steps * parameters * UPDATE)
    )
    itemsize, optimizer = ITEMSIZE[model.dtype], experiment.optimizer
    size = BlockSize(
        layers,
        b,
        n,
        sum(examples.values()),
        CHUNK,
        itemsize,
        threads,
        optimizer,
        min(experiment.averaged_examples(b, n), EXAMPLES_AT_ONCE),
    )
    # Averaging gives the stochastic gradient a second estimator and adds the full one.
    quantities = 1 + (experiment.clipping is not None) + 2 * (averaged > 0)
    tensors = 2 * (len(layers) - 1) + 1  # weights, biases, all together
    rows, of_noise = quantities * recorded * tensors, (averaged > 0) * recorded * tensors
    # The table of all images is read whole: from the file, as objects, joined.
    images = sum(IMAGES.values()) + IMAGES["validation"]
    tables = 3 * images * _IMAGE_BYTES + 3 * rows * ROW_IN_MEMORY
    metrics = replicas * sum(times.values())
    written = (
        file_bytes("statistics", rows)
        + file_bytes("divergence", 0)
        + file_bytes("noise", of_noise)
        + file_bytes("metrics", metrics)
    )
    saved = saved_table_bytes("statistics", rows) + saved_table_bytes("metrics", metrics)
    saved += saved_table_bytes("noise", of_noise) if of_noise else 0
    checkpoint = replicas * (1 + optimizer.kept) * parameters * itemsize + saved
    # Beside a GPU: the examples, orders of this epoch and the next, the state of a stopped block.
    numbers = sum(examples.values()) * layers[0] * itemsize + 2 * replicas * n * 8
    return BlockCost(
        steps,
        replicas,
        groups=1,
        parts=replicas,
        operations=float(operations),
        bytes_resident=block_bytes(size, replicas) + tables,
        bytes_written=written,
        bytes_checkpoint=checkpoint,
        bytes_beside_gpu=tables + numbers + checkpoint,
    )


def _layer_sizes(layers: Sequence[int]) -> list[int]:
    return [inputs * outputs for inputs, outputs in pairwise(layers)]
