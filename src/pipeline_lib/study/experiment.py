"""One experiment: a model, how it is trained, how often, and what of it is recorded."""

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import KW_ONLY
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, InstanceOf

from pipeline_lib.errors import ConfigError
from pipeline_lib.imports import source_files
from pipeline_lib.sampling.epochs import steps_per_epoch
from pipeline_lib.sampling.names import Sampling
from pipeline_lib.study.learning_rate import LearningRate
from pipeline_lib.study.model import Model
from pipeline_lib.study.optimizers import PLAIN_SGD, AnyOptimizer
from pipeline_lib.study.section import AtLeastTwo, BatchSizes, Count, Name, section
from pipeline_lib.study.settings import Clipping, InitialWeights, Polynomial, RaoBlackwell

MOST_STEPS = 10_000_000


@section
class Experiment:
    """What every experiment has."""

    name: Name
    model: InstanceOf[Model]
    """The model and its data; the keys depend on its `kind`."""
    initial_weights: InitialWeights
    learning_rate: LearningRate
    batch_sizes: BatchSizes
    """Batch sizes to compare."""
    runs: AtLeastTwo
    """Independent runs for every batch size and every draw of initial weights."""
    runs_per_block: AtLeastTwo
    """Runs that one job trains; `runs` is a multiple of it."""
    _: KW_ONLY
    sampling: Sampling | None = None
    """How mini-batches are drawn: `fresh`, uniform without replacement at every step;
    `with_replacement`; `epochs`, each example once an epoch, in an order that each run draws anew
    for every epoch; `shuffled_once`, in the order of its first epoch; `online`, examples that were
    never seen before. Without it, the first that the kind of model can."""
    optimizer: AnyOptimizer = PLAIN_SGD
    """How a gradient becomes an update: an optimiser of `torch.optim` with its arguments. Without
    this section it is plain SGD."""
    clipping: Clipping | None = None
    """Whether gradients are clipped before each step. What is recorded then are the variances
    before and after."""

    @property
    def sampled(self) -> Sampling:
        """How mini-batches are drawn, if need be the kind's own way."""
        return self.sampling or self.model.samplings[0]

    @property
    def is_plain(self) -> bool:
        """Whether it is trained by plain SGD, ``w <- w - rate * gradient``."""
        return self.optimizer == PLAIN_SGD and self.clipping is None

    @property
    def is_averaged(self) -> bool:
        """Whether gradients of single examples are taken at recorded steps, in epochs."""
        return False

    @property
    def blocks(self) -> range:
        """Block indices, called ``seed`` in the paths."""
        return range(self.runs // self.runs_per_block)

    def own_files(self, folders: Iterable[Path]) -> list[Path]:
        """Files of the user's own that results depend on, found in ``folders``.

        Raises ConfigError if one is named that is nowhere.
        """
        folders = list(folders)
        try:
            files = self.model.own_files(folders)
        except ConfigError as error:
            told = str(error).removeprefix("config: ")
            raise ConfigError(f"config: experiments.{self.name}.{told}") from None
        if self.learning_rate.is_own:
            files = [*files, *source_files(self.learning_rate.schedule, folders)]
        return list(dict.fromkeys(files))

    def training(self) -> dict[str, Any]:
        """What a training block depends on beside its (init, b, seed), as plain JSON types.

        Batch sizes, the number of runs and what is done with the results afterwards are left out,
        so that changing them never invalidates a finished block.
        """
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        for unused in ("batch_sizes", "runs", "polynomial"):
            plain.pop(unused, None)
        del plain["initial_weights"]["count"]
        return plain | {"sampling": self.sampled}


@section
class IterationExperiment(Experiment):
    """An experiment of `iterations` steps, all recorded.

    Where mini-batches are drawn in epochs, these leave out what is no full mini-batch.
    """

    iterations: Annotated[Count, Field(le=MOST_STEPS)]
    """Steps of a run; gradients are recorded at steps 0 to `iterations` - 1."""
    polynomial: Polynomial | None = None

    def learning_rates(self) -> list[float]:
        """``alpha_t`` in float64 for t = 0 ... iterations - 1."""
        rates: list[float] = self.learning_rate.values(self.iterations).tolist()
        return rates

    def exact_learning_rates(self) -> list[str]:
        """``alpha_t`` as fractions, in writing."""
        return [str(rate) for rate in self.learning_rate.exact(self.iterations)]


@section
class EpochExperiment(Experiment):
    """An experiment of `epochs`: as many steps each as it takes to visit all examples."""

    epochs: Annotated[Count, Field(le=MOST_STEPS)]
    """Epochs of a run."""
    last_batch: Literal["keep", "drop"]
    """What becomes of the short mini-batch at the end of an epoch. Where mini-batches are drawn
    afresh none is short, and this decides whether there is one for the rest."""
    recorded_steps: Count | Literal["every"]
    """Steps that are recorded in each decade of iterations, or `every`."""
    evaluate_every: Count | Literal["never"]
    """Epochs from one evaluation of losses and errors to the next, or `never`."""
    distorted_every: Count | Literal["never"] | None = None
    """Epochs from one evaluation of the distorted images to the next, or `never`."""
    rao_blackwell: RaoBlackwell | None = None

    @property
    def is_averaged(self) -> bool:
        return self.rao_blackwell is not None

    def averaged_examples(self, batch_size: int, n: int) -> int:
        """Over how many of n examples the variance is averaged at recorded steps, at most."""
        if self.rao_blackwell is None:
            return 0
        most = self.rao_blackwell.most(batch_size)
        return n if most is None else min(most, n)

    def steps(self, n: int, batch_size: int) -> int:
        """Steps of a run that is trained on ``n`` examples."""
        return self.epochs * steps_per_epoch(n, batch_size, self.last_batch)

    def evaluated_epochs(self) -> dict[str, list[int]]:
        """By split, after how many epochs it is evaluated; the last epoch is always there."""

        def every(step: int | Literal["never"]) -> list[int]:
            return (
                [] if step == "never" else sorted({*range(0, self.epochs + 1, step), self.epochs})
            )

        both = every(self.evaluate_every)
        if self.distorted_every is None:
            return {"training": both, "validation": both}
        # A gap needs the training error at the same epochs.
        distorted = every(self.distorted_every)
        return {
            "training": sorted({*both, *distorted}),
            "validation": both,
            "distorted": distorted,
        }
