"""Training blocks as the tests of several subjects make them."""

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline_lib.artifacts.block_tables import BlockTables
from pipeline_lib.artifacts.checkpoint import Checkpoint
from pipeline_lib.models.linear_regression.block import regression_block, torch_run
from pipeline_lib.models.linear_regression.design import RegressionDesign
from pipeline_lib.sampling.epochs import EpochSampler
from pipeline_lib.study.block import Hardware
from pipeline_lib.study.learning_rate import LearningRate
from pipeline_lib.training.epoch_plan import EpochPlan
from pipeline_lib.training.resumable import train_run
from pipeline_lib.training.steps import StepPlan

Floats = NDArray[np.float64]


def regression(
    problem: tuple[Floats, Floats, Floats],
    plan: StepPlan,
    backend: str = "numba",
    threads: int = 1,
    checkpoint: Checkpoint | None = None,
) -> BlockTables:
    """A block of linear regression by ``backend``, which is ``numba`` or ``torch``.

    ``problem`` is features, target and initial weights. Torch trains on the CUDA device if there is
    one; without it on the CPU, where `regression_block` takes the kernel.
    """
    if backend == "numba":
        return regression_block(*problem, plan, Hardware(threads=threads), checkpoint)
    if torch.cuda.is_available():
        return regression_block(*problem, plan, Hardware("cuda"), checkpoint)
    x, y, w0 = problem
    run = torch_run(RegressionDesign.of(x, y), w0, plan, "cpu")
    return train_run(run, plan, checkpoint)


def scheduled_plan(
    n: int, learning_rate: LearningRate, record: int | Literal["every"], **settings: Any
) -> EpochPlan:
    """A plan for n examples, its rates and recorded steps given as in a configuration.

    ``settings`` are the other fields of `EpochPlan`.
    """
    b, replicas, stream = (settings[name] for name in ("batch_size", "n_replicas", "stream"))
    sampler = EpochSampler(n, b, replicas, stream, settings.get("last_batch", "keep"))
    epochs = settings["epochs"]
    return EpochPlan(
        learning_rates=learning_rate.values(epochs * sampler.steps_per_epoch),
        recorded=sampler.recorded_steps(epochs, record),
        **settings,
    )
