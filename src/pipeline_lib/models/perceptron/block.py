"""One training block of the fully connected network on labelled images, in epochs."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline_lib.artifacts.block_tables import BlockTables
from pipeline_lib.artifacts.checkpoint import Checkpoint
from pipeline_lib.models.perceptron.memory import EXAMPLES_AT_ONCE, BlockSize, replicas_that_fit
from pipeline_lib.models.perceptron.replicas import MlpReplicas
from pipeline_lib.study.block import CPU, Hardware
from pipeline_lib.training.epoch_plan import EpochData, EpochPlan
from pipeline_lib.training.epochs import epoch_block
from pipeline_lib.training.labelled import Examples


def perceptron_block(
    weights: Mapping[str, NDArray[np.float64]],
    sets: Mapping[str, Examples],
    plan: EpochPlan,
    hardware: Hardware = CPU,
    checkpoint: Checkpoint | None = None,
) -> BlockTables:
    """Train the runs of ``plan``, as many at once as fit the memory.

    Args:
        weights: W1, b1, W2, b2, ... of all replicas.
        sets: inputs (n, p) and labels (n,) by split; ``training`` is trained on and, as all others,
            evaluated after the epochs that ``plan`` names. The inputs' precision is used.
        hardware: on CPU so many replicas are trained at the same time; no value depends on it.
        checkpoint: as of `pipeline_lib.training.epochs.epoch_block`.

    Raises ConfigError if not even two replicas fit the memory.
    """
    x, y = sets["training"]
    device, threads = hardware.device, hardware.threads
    start = {
        name: torch.as_tensor(weight.astype(x.dtype), device=device)
        for name, weight in weights.items()
    }
    layers = [x.shape[1], *(len(start[f"b{k}"]) for k in range(1, len(start) // 2 + 1))]
    size = BlockSize(
        layers,
        plan.batch_size,
        len(x),
        sum(len(labels) for _, labels in sets.values()),
        plan.chunk,
        x.dtype.itemsize,
        threads,
        plan.optimizer,
        min(plan.averaged, EXAMPLES_AT_ONCE),
    )
    return epoch_block(
        lambda replicas: MlpReplicas(start, len(replicas), threads),
        EpochData.on(device, x, y, sets),
        plan,
        replicas_that_fit(size, plan.n_replicas, device),
        checkpoint,
    )
