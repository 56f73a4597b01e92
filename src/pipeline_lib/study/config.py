"""The configuration, checked once and frozen. The only reader of the raw dictionaries."""

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from pipeline_lib.errors import ConfigError
from pipeline_lib.imports import load_object
from pipeline_lib.study.experiment import EpochExperiment, Experiment, IterationExperiment
from pipeline_lib.study.experiment_checks import check_experiment
from pipeline_lib.study.experiment_keys import (
    allowed_keys,
    common_keys,
    experiment_class,
    required_keys,
    special_keys,
)
from pipeline_lib.study.layers import merge, place_of
from pipeline_lib.study.messages import Path, Place, checked, not_a_mapping, unknown_key
from pipeline_lib.study.model import Model
from pipeline_lib.study.study import PAPER, ConfigFile, Settings, Study

Kinds = Mapping[str, type[Model]]


def load_study(
    raw: Mapping[str, Any], kinds: Kinds, changes: Mapping[str, Any] = MappingProxyType({})
) -> Study:
    """Check the configuration ``raw`` and freeze it; ``kinds`` are the known kinds of models.

    Where ``raw`` comes from `apply_changes`, ``changes`` let an error name the key that the user
    wrote. Every scale is checked, the chosen one first: a mistake in another should not wait for
    it.

    Raises:
        ConfigError: One line that names the key, its value and what is allowed.
    """
    settings = _settings(raw)
    experiments, scales = raw["experiments"], raw["scales"]
    _check_experiments(experiments)
    _check_scales(settings.scale, scales, experiments)
    by_scale = {}
    for scale in sorted(scales, key=lambda scale: scale != settings.scale):
        overrides = scales[scale] or {}

        def at(path: Path, scale: str = scale) -> str:
            changed = changes if scale == settings.scale else {}
            return place_of(path, scale, raw, changed)

        by_scale[scale] = {
            name: _experiment(name, merge(values, overrides.get(name) or {}), at, kinds)
            for name, values in experiments.items()
        }
    return Study(settings, MappingProxyType(by_scale[settings.scale]))


def choose_own(raw: dict[str, Any], papers: Mapping[str, Any]) -> None:
    """Let ``raw``, if it has experiments beside the paper's and chooses none, build these alone.

    ``papers`` are the experiments of the paper as the checkout has them. Raises ConfigError if an
    experiment has the name of one of them and another kind of model.
    """
    experiments = raw.get("experiments")
    if not isinstance(experiments, Mapping):
        return
    scales = raw.get("scales")
    scale = scales.get(raw.get("scale")) if isinstance(scales, Mapping) else None
    # What the user sets of an experiment that is there already stands in the chosen scale.
    at_scale = scale if isinstance(scale, Mapping) else {}
    for name, values in papers.items():
        ours = _kind_named(values)
        theirs = _kind_named(at_scale.get(name)) or _kind_named(experiments.get(name))
        if theirs not in (None, ours):
            raise ConfigError(
                f"config: experiments.{name}: the paper's experiment of this name has a model of "
                f"kind {ours}, yours is of kind {theirs}; give yours another name"
            )
    own = [name for name in experiments if name not in papers]
    if own and raw.get("only") is None:
        raw["only"] = own


def _kind_named(experiment: Any) -> Any:
    model = experiment.get("model") if isinstance(experiment, Mapping) else None
    return model.get("kind") if isinstance(model, Mapping) else None


def _settings(raw: Mapping[str, Any]) -> Settings:
    """What is set once for the study; ConfigError if a key of the file is missing or unknown."""
    checked(ConfigFile, raw, Place())
    settings: Settings = checked(
        Settings, {field.name: raw[field.name] for field in dataclasses.fields(Settings)}, Place()
    )
    tails = settings.heavy_tails
    if tails.max_step > tails.polynomial_max_step:
        raise ConfigError(
            f"config: heavy_tails.max_step: {tails.max_step} has no exact variance to compare "
            f"with; allowed: 0 to polynomial_max_step = {tails.polynomial_max_step}"
        )
    if PAPER not in tails.run_counts:
        raise ConfigError(f"config: heavy_tails.run_counts.{PAPER}: missing; it is required")
    for name in settings.only or ():
        if name not in raw["experiments"]:
            raise ConfigError(
                f"config: only: {name!r} is no experiment; allowed: {', '.join(raw['experiments'])}"
            )
    return settings


def _check_experiments(experiments: Mapping[str, Any]) -> None:
    """ConfigError for what cannot be an experiment, such as a misspelt one, which has no model."""
    complete = [name for name, values in experiments.items() if "model" in values]
    for name in experiments:
        if name not in complete:
            raise ConfigError(
                f"config: experiments.{name}: unknown experiment, and no model for a new one; "
                f"allowed: {', '.join(complete)}"
            )


def _check_scales(scale: str, scales: Mapping[str, Any], experiments: Mapping[str, Any]) -> None:
    if PAPER not in scales:
        raise ConfigError(f"config: scales.{PAPER}: missing; it is required")
    if scale not in scales:
        raise ConfigError(
            f"config: scale: {scale!r} is not one of the allowed values: {', '.join(scales)}"
        )
    for each, overrides in scales.items():
        for name, values in (overrides or {}).items():
            where = f"scales.{each}.{name}"
            if name not in experiments:
                raise ConfigError(
                    f"config: {where}: unknown experiment; allowed: {', '.join(experiments)}"
                )
            if not isinstance(values, Mapping | None):  # None is a key with nothing below it
                raise ConfigError(not_a_mapping(where, values))


def _experiment(
    name: str, values: Mapping[str, Any], at: Callable[[Path], str], kinds: Kinds
) -> Experiment:
    """``at`` gives the key that sets the value at a path below ``experiments``."""
    place = Place(("experiments", name), at)
    kind = _kind(values["model"], place, kinds)
    model = checked(kind, values["model"], Place((*place.path, "model"), at))
    cls = experiment_class(kind)
    _check_keys(values, kind, place)
    experiment: IterationExperiment | EpochExperiment = checked(
        cls, {**values, "name": name, "model": model}, place
    )
    try:
        check_experiment(f"config: experiments.{name}", experiment)
    except ConfigError as error:
        head, key, told = str(error).split(": ", 2)
        raise ConfigError(f"{head}: {at(tuple(key.split('.')))}: {told}") from error.__cause__
    return experiment


def _kind(model: Any, place: Place, kinds: Kinds) -> type[Model]:
    """The class of ``model.kind``: one of ``kinds``, or the user's own ``package.module:Class``."""
    where = place(("model",))
    if not isinstance(model, Mapping):
        raise ConfigError(not_a_mapping(where, model))
    if "kind" not in model:
        raise ConfigError(f"config: {where}.kind: missing; it is required")
    kind = model["kind"]
    if isinstance(kind, str) and ":" in kind:
        found = load_object(f"config: {where}.kind", kind)
        if not (isinstance(found, type) and issubclass(found, Model)):
            raise ConfigError(
                f"config: {where}.kind: {kind!r} is no kind of model; "
                "allowed: subclasses of pipeline_lib.study.model.Model"
            )
        return found
    if not isinstance(kind, str) or kind not in kinds:
        raise ConfigError(
            f"config: {place(('model', 'kind'))}: {kind!r} is not one of the allowed values: "
            f"{', '.join(kinds)}, or package.module:Class of your own"
        )
    return kinds[kind]


def _check_keys(values: Mapping[str, Any], kind: type[Model], place: Place) -> None:
    """ConfigError unless the experiment has the keys of its kind of model, and no others."""
    allowed = allowed_keys(kind)
    known = (*common_keys(), *allowed)
    named = values["model"]["kind"]
    for key in values:
        if key not in known and key not in special_keys():
            raise ConfigError(unknown_key(place((key,)), key, known))
        if key not in known:
            raise ConfigError(
                f"config: {place((key,))}: not for a model of kind {named}; "
                f"allowed: {', '.join(allowed)}"
            )
    for key in required_keys(kind):
        if values.get(key) is None:
            raise ConfigError(f"config: {place((key,))}: missing; a model of kind {named} needs it")
