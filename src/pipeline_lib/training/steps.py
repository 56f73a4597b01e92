"""How a block is trained for a number of steps, all of which are recorded."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.sampling.names import Sampling
from pipeline_lib.study.block import Block
from pipeline_lib.study.experiment import IterationExperiment
from pipeline_lib.study.optimizers import PLAIN_SGD, Optimizer
from pipeline_lib.study.settings import Clipping


@dataclass(frozen=True)
class StepPlan:
    """``n_replicas`` runs, one step for each of ``learning_rates`` (T,).

    ``stream`` seeds the mini-batches of ``batch_size`` examples, drawn by ``sampling``;
    ``optimizer`` and ``clipping`` say what becomes of a gradient, plain SGD if nothing is said.
    """

    learning_rates: NDArray[np.float64]
    batch_size: int
    n_replicas: int
    stream: np.random.SeedSequence
    sampling: Sampling = "fresh"
    optimizer: Optimizer = PLAIN_SGD
    clipping: Clipping | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it is trained by plain SGD."""
        return self.optimizer == PLAIN_SGD and self.clipping is None

    @classmethod
    def of(cls, block: Block) -> Self:
        """The plan of a configured block."""
        experiment = block.experiment
        assert isinstance(experiment, IterationExperiment)
        rates = experiment.learning_rate.values(experiment.iterations)
        return cls(
            rates,
            block.batch_size,
            block.n_replicas,
            block.stream(),
            experiment.sampled,
            experiment.optimizer,
            experiment.clipping,
        )
