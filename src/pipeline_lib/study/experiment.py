"""One experiment: a model, how it is trained, how often, and what of it is recorded."""

import dataclasses
import json
from typing import Any, Literal

from pydantic import InstanceOf

from pipeline_lib.errors import ConfigError
from pipeline_lib.study.model import Model
from pipeline_lib.study.section import AtLeastTwo, BatchSizes, Count, Name, section
from pipeline_lib.study.settings import InitialWeights, LearningRate, Optimizer, Polynomial


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

    @property
    def blocks(self) -> range:
        """Block indices, called ``seed`` in the paths."""
        return range(self.runs // self.runs_per_block)

    def training(self) -> dict[str, Any]:
        """What a training block depends on beside its (init, b, seed), as plain JSON types.

        Batch sizes, the number of runs and what is done with the results afterwards are left out,
        so that changing them never invalidates a finished block.
        """
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        for unused in ("batch_sizes", "runs", "polynomial"):
            plain.pop(unused, None)
        del plain["initial_weights"]["count"]
        return plain


@section
class IterationExperiment(Experiment):
    """An experiment of mini-batches drawn afresh at each of `iterations` steps, all recorded."""

    iterations: Count
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
    """An experiment that visits all examples in each epoch, every run in orders of its own."""

    epochs: Count
    """Epochs of a run."""
    last_batch: Literal["keep", "drop"]
    """What becomes of the short mini-batch at the end of an epoch."""
    recorded_steps: Count | Literal["every"]
    """Steps that are recorded in each decade of iterations, or `every`."""
    evaluate_every: Count
    """Epochs from one evaluation of losses and errors to the next."""
    distorted_every: Count | None = None
    """Epochs from one evaluation of the distorted images to the next."""
    optimizer: Optimizer | None = None

    def evaluated_epochs(self) -> dict[str, list[int]]:
        """By split, after how many epochs it is evaluated; the last epoch is always there."""

        def every(step: int) -> list[int]:
            return sorted({*range(0, self.epochs + 1, step), self.epochs})

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


def experiment_class(model: type[Model]) -> type[IterationExperiment] | type[EpochExperiment]:
    """The class of experiments with a model of this kind."""
    return EpochExperiment if model.in_epochs else IterationExperiment


def allowed_keys(model: type[Model]) -> tuple[str, ...]:
    """Keys that experiments with this kind of model may have, beside those of every experiment."""
    chosen = {*model.may_have, *model.must_have} | ({"optimizer"} if model.optimizers else set())
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
    if isinstance(experiment, IterationExperiment) and experiment.polynomial is not None:
        _check_polynomial(where, experiment, experiment.polynomial)
    model.check(where, experiment)


def _check_updates(where: str, experiment: Experiment, kind: str) -> None:
    model, rate = experiment.model, experiment.learning_rate
    if rate.schedule not in model.schedules:
        raise ConfigError(
            f"{where}.learning_rate.schedule: {rate.schedule} is not for {kind}; "
            f"allowed: {', '.join(model.schedules)}"
        )
    if rate.warmup and rate.schedule != "warmup_linear":
        raise ConfigError(
            f"{where}.learning_rate.warmup: {rate.warmup} is not for the schedule "
            f"{rate.schedule}; allowed: none, or the schedule warmup_linear"
        )
    optimizer = experiment.optimizer if isinstance(experiment, EpochExperiment) else None
    if optimizer is None:
        if model.needs_optimizer:
            raise ConfigError(f"{where}.optimizer: missing; {kind} needs it")
        return
    if optimizer.kind not in model.optimizers:
        raise ConfigError(
            f"{where}.optimizer.kind: {optimizer.kind} is not for {kind}; "
            f"allowed: {', '.join(model.optimizers)}"
        )
    if optimizer.kind == "adamw" and optimizer.clip_norm is None:
        raise ConfigError(f"{where}.optimizer.clip_norm: missing; adamw needs it")
    if optimizer.kind != "adamw" and (optimizer.clip_norm is not None or optimizer.weight_decay):
        raise ConfigError(
            f"{where}.optimizer: {optimizer.kind} neither clips nor decays; allowed: kind, epsilon"
        )


def _check_polynomial(where: str, experiment: IterationExperiment, fit: Polynomial) -> None:
    last = fit.steps[-1]
    if last >= experiment.iterations:
        raise ConfigError(
            f"{where}.polynomial.steps: {last} is not a recorded step; "
            f"allowed: 0 to iterations - 1 = {experiment.iterations - 1}"
        )
    needed = fit.degree + 2
    if len(experiment.batch_sizes) < needed:
        raise ConfigError(
            f"{where}.polynomial.degree: {fit.degree} needs at least {needed} "
            f"batch sizes to fit and to judge the fit, got {len(experiment.batch_sizes)}"
        )


def check_batch_sizes(where: str, batch_sizes: tuple[int, ...], most: int, of_what: str) -> None:
    """ConfigError if the largest batch size is above ``most``; ``of_what`` names these examples."""
    if batch_sizes[-1] > most:
        raise ConfigError(
            f"{where}.batch_sizes: {batch_sizes[-1]} is above the {most} {of_what}; "
            f"allowed: 1 to {most}"
        )
