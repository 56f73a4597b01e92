"""The configuration, checked once and frozen. The only reader of the raw dictionaries."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pipeline_lib.errors import ConfigError
from pipeline_lib.imports import check_reference
from pipeline_lib.study.schema_errors import check_schema
from pipeline_lib.study.settings import (
    Compute,
    Distortion,
    EpochExperiment,
    Experiment,
    FitSettings,
    HeavyTails,
    InitialWeights,
    IterationExperiment,
    LearningRate,
    LinearRegression,
    Mlp,
    Model,
    Optimizer,
    OwnModule,
    Study,
    TwoLayer,
    Xlnet,
)

# Examples that each data set holds at its canonical source; a smaller stand-in is noticed when the
# data is there, and batch sizes that it cannot serve are then left out with a note.
DATASET_ROWS = {"admissions": 500}
_IN_EPOCHS = ("epochs", "last_batch", "recorded_steps", "evaluate_every")
# How long an experiment is and what it records: keys that a kind of model needs, and may have.
_KEYS_OF_KIND: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "linear_regression": (("iterations",), ("polynomial",)),
    "two_layer": (("iterations",), ()),
    "mlp": ((*_IN_EPOCHS, "distorted_every"), ()),
    "xlnet": ((*_IN_EPOCHS, "optimizer"), ()),
    "module": (_IN_EPOCHS, ("optimizer",)),
}
_OPTIMIZERS = {"xlnet": ("adamw",), "module": ("sgd", "adam")}
# Schedules that a kind of model can be trained with, where not all of the plain ones.
_SCHEDULES: dict[str, tuple[str, ...]] = {
    "mlp": ("constant",),
    "xlnet": ("warmup_linear",),
}
MNIST_IMAGES = {"training": 60_000, "validation": 10_000}


def digest(values: Mapping[str, Any]) -> str:
    """A short fingerprint of plain JSON values, the same on every machine."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def load_study(raw: Mapping[str, Any], schema: Path) -> Study:
    """Check ``raw`` against the JSON schema and freeze it.

    Raises:
        ConfigError: One line that names the key, its value and what is allowed.
    """
    _refuse_unknown_experiments(raw.get("experiments"))
    check_schema(raw, schema)
    for scale, overrides in raw["scales"].items():
        for name in overrides:
            if name not in raw["experiments"]:
                raise ConfigError(
                    f"config: scales.{scale}.{name}: unknown experiment; "
                    f"allowed: {', '.join(raw['experiments'])}"
                )
    for name in raw["only"] or ():
        if name not in raw["experiments"]:
            raise ConfigError(
                f"config: only: {name!r} is no experiment; allowed: {', '.join(raw['experiments'])}"
            )
    # Every scale is checked, the chosen one first: a mistake in another should not wait for it.
    chosen = raw["scale"]
    by_scale = {}
    for scale in sorted(raw["scales"], key=lambda scale: scale != chosen):
        merged = _merge(raw["experiments"], raw["scales"][scale])
        check_schema({**raw, "experiments": merged}, schema)
        by_scale[scale] = {name: _experiment(name, values) for name, values in merged.items()}
    return Study(
        scale=chosen,
        seed=raw["seed"],
        data_dir=raw["data_dir"],
        experiments=MappingProxyType(by_scale[chosen]),
        at_paper_scale=MappingProxyType(by_scale["paper"]),
        distortion=Distortion(**raw["distortion"]),
        heavy_tails=_heavy_tails(raw["heavy_tails"], chosen),
        compute=Compute(**raw["compute"]),
        confidence_level=raw["confidence_level"],
        only=None if raw["only"] is None else tuple(raw["only"]),
    )


def _refuse_unknown_experiments(experiments: Any) -> None:
    """ConfigError for a misspelt experiment, which the schema would take for a new one."""
    if not isinstance(experiments, Mapping):
        return  # the schema says what is wrong
    named = {name: values for name, values in experiments.items() if isinstance(values, Mapping)}
    complete = [name for name, values in named.items() if "model" in values]
    for name in named:
        if name not in complete:
            raise ConfigError(
                f"config: experiments.{name}: unknown experiment, and no model for a new one; "
                f"allowed: {', '.join(complete)}"
            )


def _merge(base: Any, override: Any) -> Any:
    if isinstance(base, Mapping) and isinstance(override, Mapping):
        return {
            key: _merge(base.get(key), override.get(key, base.get(key)))
            for key in {**base, **override}
        }
    return override


def _experiment(name: str, values: Mapping[str, Any]) -> Experiment:
    common: dict[str, Any] = {
        "name": name,
        "model": _model(values["model"]),
        "initial_weights": InitialWeights(**values["initial_weights"]),
        "learning_rate": LearningRate(**values["learning_rate"]),
        "batch_sizes": tuple(sorted(values["batch_sizes"])),
        "runs": values["runs"],
        "runs_per_block": values["runs_per_block"],
    }
    _check_lengths(name, values)
    experiment: Experiment
    if "epochs" in values:
        optimizer = Optimizer(**values["optimizer"]) if "optimizer" in values else None
        keys = ("epochs", "last_batch", "recorded_steps", "evaluate_every", "distorted_every")
        length = {key: values[key] for key in keys if key in values}
        experiment = EpochExperiment(**common, **length, optimizer=optimizer)
    else:
        fit = values.get("polynomial")
        experiment = IterationExperiment(
            **common,
            iterations=values["iterations"],
            polynomial=FitSettings(tuple(sorted(fit["steps"])), fit["degree"]) if fit else None,
        )
    _check(experiment)
    return experiment


def _check_lengths(name: str, values: Mapping[str, Any]) -> None:
    """ConfigError unless the experiment has the keys of its kind of model, and no others."""
    kind, where = values["model"]["kind"], f"config: experiments.{name}"
    needed, optional = _KEYS_OF_KIND[kind]
    for key in needed:
        if key not in values:
            raise ConfigError(f"{where}.{key}: missing; a model of kind {kind} needs it")
    known = {key for keys in _KEYS_OF_KIND.values() for part in keys for key in part}
    for key in sorted(known - {*needed, *optional}):
        if key in values:
            raise ConfigError(
                f"{where}.{key}: not for a model of kind {kind}; "
                f"allowed: {', '.join((*needed, *optional))}"
            )


def _heavy_tails(values: Mapping[str, Any], scale: str) -> HeavyTails:
    if values["max_step"] > values["polynomial_max_step"]:
        raise ConfigError(
            f"config: heavy_tails.max_step: {values['max_step']} has no exact variance to compare "
            f"with; allowed: 0 to polynomial_max_step = {values['polynomial_max_step']}"
        )
    chosen = {
        "batch_sizes": tuple(sorted(values["batch_sizes"])),
        "run_counts": tuple(sorted(values["run_counts"][scale])),
    }
    return HeavyTails(**{**values, **chosen})


def _model(values: Mapping[str, Any]) -> Model:
    if values["kind"] == "two_layer":
        return TwoLayer(**{**values, "layers": tuple(values["layers"])})
    if values["kind"] == "mlp":
        return Mlp(**{**values, "layers": tuple(values["layers"])})
    if values["kind"] == "xlnet":
        return Xlnet(**values)
    if values["kind"] == "module":
        return OwnModule(**values)
    features = values["features"]
    return LinearRegression(
        **{**values, "features": "all" if features == "all" else tuple(features)}
    )


def _check(experiment: Experiment) -> None:
    where = f"config: experiments.{experiment.name}"
    if isinstance(experiment.model, LinearRegression):
        rows = DATASET_ROWS[experiment.model.dataset]
        if experiment.batch_sizes[-1] > rows:
            raise ConfigError(
                f"{where}.batch_sizes: {experiment.batch_sizes[-1]} is above the {rows} rows of "
                f"{experiment.model.dataset}; allowed: 1 to {rows}"
            )
    if isinstance(experiment.model, Mlp):
        _check_mlp(where, experiment.model)
    if isinstance(experiment.model, Mlp | Xlnet):
        examples = experiment.model.training_examples
        if experiment.batch_sizes[-1] > examples:
            raise ConfigError(
                f"{where}.batch_sizes: {experiment.batch_sizes[-1]} is above the {examples} "
                f"training examples; allowed: 1 to {examples}"
            )
    _check_module(where, experiment)
    schedule = experiment.learning_rate.schedule
    schedules = _SCHEDULES.get(experiment.model.kind, ("inverse_time", "constant"))
    if schedule not in schedules:
        raise ConfigError(
            f"{where}.learning_rate.schedule: {schedule} is not for a model of kind "
            f"{experiment.model.kind}; allowed: {', '.join(schedules)}"
        )
    if experiment.learning_rate.warmup and schedule != "warmup_linear":
        raise ConfigError(
            f"{where}.learning_rate.warmup: {experiment.learning_rate.warmup} is not for the "
            f"schedule {schedule}; allowed: none, or the schedule warmup_linear"
        )
    if experiment.runs % experiment.runs_per_block:
        raise ConfigError(
            f"{where}.runs: {experiment.runs} is not whole blocks; "
            f"allowed: multiples of runs_per_block = {experiment.runs_per_block}"
        )
    if not isinstance(experiment, IterationExperiment) or experiment.polynomial is None:
        return
    last = experiment.polynomial.steps[-1]
    if last >= experiment.iterations:
        raise ConfigError(
            f"{where}.polynomial.steps: {last} is not a recorded step; "
            f"allowed: 0 to iterations - 1 = {experiment.iterations - 1}"
        )
    needed = experiment.polynomial.degree + 2
    if len(experiment.batch_sizes) < needed:
        raise ConfigError(
            f"{where}.polynomial.degree: {experiment.polynomial.degree} needs at least {needed} "
            f"batch sizes to fit and to judge the fit, got {len(experiment.batch_sizes)}"
        )


def _check_mlp(where: str, model: Mlp) -> None:
    if model.layers[0] != 784 or model.layers[-1] != 10:
        raise ConfigError(
            f"{where}.model.layers: {list(model.layers)} does not fit MNIST; "
            "allowed: 784 inputs, any hidden layers, 10 outputs"
        )
    for split, most in MNIST_IMAGES.items():
        count = getattr(model, f"{split}_examples")
        if count > most:
            raise ConfigError(
                f"{where}.model.{split}_examples: {count} is above the {most} images; "
                f"allowed: 1 to {most}"
            )


def _check_module(where: str, experiment: Experiment) -> None:
    """What is asked of a module of the user's own, and of all others instead."""
    model, kind = experiment.model, experiment.model.kind
    scale = experiment.initial_weights.scale
    if isinstance(model, OwnModule):
        for key in ("make_model", "loss", "dataset"):
            check_reference(f"{where}.model.{key}", getattr(model, key))
        if scale is not None:
            raise ConfigError(
                f"{where}.initial_weights.scale: {scale} is not for a model of kind {kind}, whose "
                "make_model draws the weights; allowed: count, seed"
            )
    elif scale is None:
        raise ConfigError(
            f"{where}.initial_weights.scale: missing; a model of kind {kind} needs it"
        )
    optimizer = experiment.optimizer if isinstance(experiment, EpochExperiment) else None
    if optimizer is None:
        return
    if optimizer.kind not in _OPTIMIZERS[kind]:
        raise ConfigError(
            f"{where}.optimizer.kind: {optimizer.kind} is not for a model of kind {kind}; "
            f"allowed: {', '.join(_OPTIMIZERS[kind])}"
        )
    if optimizer.kind == "adamw" and optimizer.clip_norm is None:
        raise ConfigError(f"{where}.optimizer.clip_norm: missing; adamw needs it")
    if optimizer.kind != "adamw" and (optimizer.clip_norm is not None or optimizer.weight_decay):
        raise ConfigError(
            f"{where}.optimizer: {optimizer.kind} neither clips nor decays; allowed: kind, epsilon"
        )
