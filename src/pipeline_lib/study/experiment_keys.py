"""Which keys an experiment may have and must have, by its kind of model."""

import dataclasses
from typing import Any

from pipeline_lib.study.experiment import EpochExperiment, Experiment, IterationExperiment
from pipeline_lib.study.model import Model


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
