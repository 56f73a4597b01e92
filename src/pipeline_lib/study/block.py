"""One training block: the runs that one job trains."""

from dataclasses import dataclass

import numpy as np

from pipeline_lib.artifacts.digest import digest
from pipeline_lib.seeding import seed_sequence
from pipeline_lib.study.experiment import Experiment


@dataclass(frozen=True)
class Hardware:
    """What a block is trained on: the device, threads on CPU, the precision on a GPU.

    ``allow_tf32`` is for all products, ``tf32_in_evaluations`` for those that no gradient sees.
    """

    device: str = "cpu"
    threads: int = 1
    allow_tf32: bool = False
    tf32_in_evaluations: bool = False


CPU = Hardware()


@dataclass(frozen=True)
class Block:
    """``runs_per_block`` runs of one experiment from one draw of initial weights at one b.

    ``seed`` is the number of the block among those of its (init, b), and ``study_seed`` the seed
    that all random streams of the study are derived from.
    """

    experiment: Experiment
    init: int
    batch_size: int
    seed: int
    study_seed: int
    hardware: Hardware = CPU

    @property
    def n_replicas(self) -> int:
        """Runs of the block."""
        return self.experiment.runs_per_block

    @property
    def key(self) -> dict[str, int]:
        """The place of the block within its experiment, by the names that paths use."""
        return {"init": self.init, "b": self.batch_size, "seed": self.seed}

    @property
    def digest(self) -> str:
        """What the block is trained with, as a fingerprint that aggregation checks."""
        return block_digest(self.experiment, self.study_seed)

    def stream(self, purpose: str = "batches") -> np.random.SeedSequence:
        """The random stream of the mini-batches, or that of another ``purpose``."""
        return seed_sequence(self.study_seed, purpose, self.experiment.name, *self.key.values())


def block_digest(experiment: Experiment, study_seed: int) -> str:
    """`Block.digest` of all blocks of an experiment."""
    return digest({"training": experiment.training(), "seed": study_seed})
