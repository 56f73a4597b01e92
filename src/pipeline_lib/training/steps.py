"""How a block is trained whose mini-batches are drawn afresh at each of its steps."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.study.block import Block
from pipeline_lib.study.experiment import IterationExperiment


@dataclass(frozen=True)
class StepPlan:
    """``n_replicas`` runs of plain SGD, one step for each of ``learning_rates`` (T,).

    ``stream`` seeds the mini-batches of ``batch_size`` examples.
    """

    learning_rates: NDArray[np.float64]
    batch_size: int
    n_replicas: int
    stream: np.random.SeedSequence

    @classmethod
    def of(cls, block: Block) -> Self:
        """The plan of a configured block."""
        experiment = block.experiment
        assert isinstance(experiment, IterationExperiment)
        rates = experiment.learning_rate.values(experiment.iterations)
        return cls(rates, block.batch_size, block.n_replicas, block.stream())
