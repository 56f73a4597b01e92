"""The configuration, checked once and frozen. The only reader of the raw dictionaries."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pipeline_lib.config_schema import check_schema
from pipeline_lib.errors import ConfigError
from pipeline_lib.settings import (
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
    Study,
    TwoLayer,
)

# Examples that each data set holds at its canonical source; a smaller stand-in is noticed when the
# data is there, and batch sizes that it cannot serve are then left out with a note.
DATASET_ROWS = {"admissions": 500}
EPOCH_MODELS = ("mlp",)
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
        keys = ("epochs", "last_batch", "recorded_steps", "evaluate_every", "distorted_every")
        experiment = EpochExperiment(**common, **{key: values[key] for key in keys})
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
    """ConfigError unless the experiment is as long as its kind of model is trained: see schema."""
    in_epochs = values["model"]["kind"] in EPOCH_MODELS
    wanted = (
        ("epochs", "last_batch", "recorded_steps", "evaluate_every", "distorted_every")
        if in_epochs
        else ("iterations",)
    )
    where, kind = f"config: experiments.{name}", values["model"]["kind"]
    for key in wanted:
        if key not in values:
            raise ConfigError(f"{where}.{key}: missing; a model of kind {kind} needs it")
    for key in ("iterations", "polynomial") if in_epochs else ("epochs", "recorded_steps"):
        if key in values:
            raise ConfigError(
                f"{where}.{key}: not for a model of kind {kind}; allowed: {', '.join(wanted)}"
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
        _check_mlp(where, experiment.model, experiment.batch_sizes[-1])
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


def _check_mlp(where: str, model: Mlp, largest_batch: int) -> None:
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
    if largest_batch > model.training_examples:
        raise ConfigError(
            f"{where}.batch_sizes: {largest_batch} is above the {model.training_examples} training "
            f"examples; allowed: 1 to {model.training_examples}"
        )
