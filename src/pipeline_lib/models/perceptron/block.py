"""One training block of the fully connected network on labelled images, in epochs."""

from collections.abc import Collection, Mapping
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline_lib.models.perceptron.replicas import MlpReplicas
from pipeline_lib.sampling.epochs import EpochSampler, LastBatch, recorded_steps
from pipeline_lib.training.checkpoint import Checkpoint
from pipeline_lib.training.groups import EpochBlockResult
from pipeline_lib.training.labelled import Examples
from pipeline_lib.training.memory import BlockSize, replicas_that_fit
from pipeline_lib.training.sgd_epochs import epoch_block

_CHUNK = 1000  # examples evaluated at once


def mlp_block(
    weights: Mapping[str, NDArray[np.float64]],
    sets: Mapping[str, Examples],
    learning_rate: float,
    batch_size: int,
    epochs: int,
    n_replicas: int,
    stream: np.random.SeedSequence,
    record: int | Literal["every"],
    evaluated_epochs: Mapping[str, Collection[int]],
    last_batch: LastBatch = "keep",
    device: str = "cpu",
    threads: int = 1,
    allow_tf32: bool = False,
    checkpoint: Checkpoint | None = None,
) -> EpochBlockResult:
    """Train ``n_replicas`` runs with a constant learning rate, as many at once as fit the memory.

    Args:
        weights: W1, b1, W2, b2, ... of all replicas.
        sets: inputs (n, p) and labels (n,) by split; ``training`` is trained on and, as all others,
            evaluated after the epochs in ``evaluated_epochs``. The inputs' precision is used.
        record: recorded steps a decade, or ``every`` (`sampling.epochs.recorded_steps`).
        stream: seeds the orders of the examples.
        threads: replicas trained at the same time on CPU. No value depends on it.
        checkpoint: as of `pipeline_lib.training.sgd_epochs.epoch_block`.

    Raises ConfigError if not even two replicas fit the memory.
    """
    x, y = sets["training"]
    start = {
        name: torch.as_tensor(weight.astype(x.dtype), device=device)
        for name, weight in weights.items()
    }
    layers = [x.shape[1], *(len(start[f"b{k}"]) for k in range(1, len(start) // 2 + 1))]
    size = BlockSize(
        layers,
        batch_size,
        len(x),
        sum(len(labels) for _, labels in sets.values()),
        _CHUNK,
        x.dtype.itemsize,
        threads,
    )
    sampler = EpochSampler(len(x), batch_size, n_replicas, stream, last_batch)
    steps = sampler.steps_per_epoch
    return epoch_block(
        lambda replicas: MlpReplicas(start, replicas, threads),
        x,
        y,
        sets,
        lambda step: learning_rate,
        batch_size,
        epochs,
        n_replicas,
        stream,
        recorded_steps(epochs * steps, record, steps, sampler.short_last),
        evaluated_epochs,
        last_batch,
        replicas_that_fit(size, n_replicas, device),
        device,
        _CHUNK,
        allow_tf32,
        checkpoint,
    )
