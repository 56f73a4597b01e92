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
from pipeline_lib.sampling.names import DRAWN_GIVEN_PAST, FINITE, Sampling
from pipeline_lib.study.model import Model
from pipeline_lib.study.optimizers import PLAIN_SGD, AnyOptimizer, Sgd
from pipeline_lib.study.section import AtLeastTwo, BatchSizes, Count, Name, section
from pipeline_lib.study.settings import (
    Clipping,
    InitialWeights,
    LearningRate,
    Polynomial,
    RaoBlackwell,
)

MOST_STEPS = 10_000_000
MOST_BLOCKS = 100_000
"""Training jobs of one experiment: Snakemake plans some hundred a second."""


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


# Why a way of drawing mini-batches does not go with a kind of model.
_REASON = {
    "online": ", whose examples are a finite set",
    **dict.fromkeys(FINITE, ", whose examples are never seen twice"),
}


def experiment_class(model: type[Model]) -> type[IterationExperiment] | type[EpochExperiment]:
    """The class of experiments with a model of this kind."""
    return EpochExperiment if model.in_epochs else IterationExperiment


def allowed_keys(model: type[Model]) -> tuple[str, ...]:
    """Keys that experiments with this kind of model may have, beside those of every experiment."""
    chosen = {*model.may_have, *model.must_have}
    return tuple(
        field.name
        for field in _special_fields(experiment_class(model))
        if field.default is dataclasses.MISSING or field.name in chosen
    )


def required_keys(model: type[Model]) -> tuple[str, ...]:
    """Those of `allowed_keys` that cannot be left out."""
    return tuple(
        field.name
        for field in _special_fields(experiment_class(model))
        if field.default is dataclasses.MISSING or field.name in model.must_have
    )


def common_keys() -> tuple[str, ...]:
    """Keys of every experiment, whatever its kind of model; its name is not among its keys."""
    return tuple(field.name for field in dataclasses.fields(Experiment) if field.name != "name")


def required_common_keys() -> list[str]:
    """Those of `common_keys` that cannot be left out."""
    defaults = {field.name: field.default for field in dataclasses.fields(Experiment)}
    return [key for key in common_keys() if defaults[key] is dataclasses.MISSING]


def special_keys() -> set[str]:
    """All keys that depend on the kind of model."""
    classes = (IterationExperiment, EpochExperiment)
    return {field.name for cls in classes for field in _special_fields(cls)}


def _special_fields(cls: type[Experiment]) -> list[dataclasses.Field[Any]]:
    common = {"name", *common_keys()}
    return [field for field in dataclasses.fields(cls) if field.name not in common]


def check_experiment(where: str, experiment: Experiment) -> None:
    """ConfigError for what each value allows but all of them together do not."""
    model = experiment.model
    kind = f"a model of kind {model.kind}"
    scale = experiment.initial_weights.scale
    if model.needs_scale and scale is None:
        raise ConfigError(f"{where}.initial_weights.scale: missing; {kind} needs it")
    if not model.needs_scale and scale is not None:
        raise ConfigError(
            f"{where}.initial_weights.scale: {scale} is not for {kind}, which draws its weights "
            "itself; allowed: count, seed"
        )
    _check_updates(where, experiment, kind)
    if experiment.runs % experiment.runs_per_block:
        raise ConfigError(
            f"{where}.runs: {experiment.runs} is not whole blocks; "
            f"allowed: multiples of runs_per_block = {experiment.runs_per_block}"
        )
    draws, sizes = experiment.initial_weights.count, len(experiment.batch_sizes)
    jobs = draws * sizes * len(experiment.blocks)
    if jobs > MOST_BLOCKS:
        raise ConfigError(
            f"{where}.runs_per_block: {experiment.runs_per_block} makes {jobs:,} training jobs "
            f"({draws:,} initial weights, {sizes} batch sizes, {len(experiment.blocks):,} blocks "
            f"of runs); allowed: at most {MOST_BLOCKS:,} jobs"
        )
    if isinstance(experiment, IterationExperiment) and experiment.polynomial is not None:
        _check_polynomial(where, experiment, experiment.polynomial)
    if isinstance(experiment, EpochExperiment):
        _check_averaged(where, experiment)
    model.check(where, experiment)


def check_known(experiment: Experiment, n: int | None = None) -> None:
    """ConfigError for what ``n`` training examples, if they are known, do not allow.

    That is batch sizes above them and rates that cannot be for so many steps. A schedule of the
    user's own is called; this is for the process that plans the study.
    """
    where = f"config: experiments.{experiment.name}"
    if n is not None:
        check_batch_sizes(where, experiment.batch_sizes, n, "training examples of the dataset")
    for steps in _known_steps(experiment, n):
        experiment.learning_rate.warmup_steps(f"{where}.learning_rate.warmup", steps)
        if experiment.learning_rate.is_own:
            experiment.learning_rate.try_own(f"{where}.learning_rate.schedule", steps)


def _known_steps(experiment: Experiment, n: int | None = None) -> list[int]:
    """Steps of a run, by batch size in epochs; none where the data decide and are not known yet."""
    if isinstance(experiment, IterationExperiment):
        return [experiment.iterations]
    assert isinstance(experiment, EpochExperiment)
    n = experiment.model.known_examples() if n is None else n
    return [] if n is None else [experiment.steps(n, b) for b in experiment.batch_sizes if b <= n]


def _check_updates(where: str, experiment: Experiment, kind: str) -> None:
    model, optimizer, sampling = experiment.model, experiment.optimizer, experiment.sampled
    if sampling not in model.samplings:
        raise ConfigError(
            f"{where}.sampling: {sampling} is not for {kind}{_REASON.get(sampling, '')}; "
            f"allowed: {', '.join(model.samplings)}"
        )
    mistake = experiment.learning_rate.mistake()
    if mistake is not None:
        key, text = mistake
        raise ConfigError(f"{where}.learning_rate.{key}: {text}")
    for steps in _known_steps(experiment):
        experiment.learning_rate.warmup_steps(f"{where}.learning_rate.warmup", steps)
    if optimizer != PLAIN_SGD and optimizer.kind not in model.optimizers:
        raise ConfigError(
            f"{where}.optimizer: {optimizer.kind} is not for {kind}; "
            f"allowed: {', '.join(model.optimizers) or 'plain SGD, which is sgd alone'}"
        )
    if (
        isinstance(optimizer, Sgd)
        and optimizer.nesterov
        and (optimizer.momentum == 0 or optimizer.dampening != 0)
    ):
        raise ConfigError(
            f"{where}.optimizer.nesterov: true with momentum {optimizer.momentum} and "
            f"dampening {optimizer.dampening}; allowed: with a momentum and no dampening"
        )
    if experiment.clipping is not None and not model.clips:
        raise ConfigError(f"{where}.clipping: not for {kind}, which does not clip; allowed: none")


def _check_polynomial(where: str, experiment: IterationExperiment, fit: Polynomial) -> None:
    reason = experiment.model.uncovered(experiment)
    if reason is None and experiment.sampled != "fresh":
        reason = f"fits are in c_b, and mini-batches are drawn {experiment.sampled}"
    if reason is not None:
        raise ConfigError(
            f"{where}.polynomial: {reason}; allowed: none, or plain SGD on mini-batches drawn fresh"
        )
    try:
        experiment.learning_rate.exact(1)
    except ValueError as error:
        raise ConfigError(
            f"{where}.polynomial: {error}; allowed: none, or the schedules constant, inverse_time "
            "and step"
        ) from None
    last = fit.steps[-1]
    if last >= experiment.iterations:
        raise ConfigError(
            f"{where}.polynomial.steps: {last} is not a recorded step; "
            f"allowed: 0 to iterations - 1 = {experiment.iterations - 1}"
        )
    if experiment.runs - len(experiment.blocks) < 2:  # degrees of freedom, see `inference`
        raise ConfigError(
            f"{where}.runs: {experiment.runs} have no standard error, by which a fit weighs its "
            "points; allowed: at least 3 with polynomial"
        )
    needed = fit.degree + 2
    if len(experiment.batch_sizes) < needed:
        raise ConfigError(
            f"{where}.polynomial.degree: {fit.degree} needs at least {needed} "
            f"batch sizes to fit and to judge the fit, got {len(experiment.batch_sizes)}"
        )


def _check_averaged(where: str, experiment: EpochExperiment) -> None:
    """ConfigError if mini-batches are no draws, or larger than the examples averaged over."""
    averaged, largest = experiment.rao_blackwell, experiment.batch_sizes[-1]
    if averaged is None:
        return
    if experiment.sampled not in DRAWN_GIVEN_PAST:
        raise ConfigError(
            f"{where}.rao_blackwell: sampling {experiment.sampled} draws no mini-batch after its "
            f"first epoch; allowed with: {', '.join(DRAWN_GIVEN_PAST)}"
        )
    most = averaged.most(largest)
    if most is not None and most < largest:
        raise ConfigError(
            f"{where}.rao_blackwell.examples: {most} is below the largest batch size; "
            f"allowed: all, or at least {largest}"
        )


def check_batch_sizes(where: str, batch_sizes: tuple[int, ...], most: int, of_what: str) -> None:
    """ConfigError if the largest batch size is above ``most``; ``of_what`` names these examples."""
    if batch_sizes[-1] > most:
        raise ConfigError(
            f"{where}.batch_sizes: {batch_sizes[-1]} is above the {most} {of_what}; "
            f"allowed: 1 to {most}"
        )
