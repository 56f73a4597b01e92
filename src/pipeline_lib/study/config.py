"""The configuration, checked once and frozen. The only reader of the raw dictionaries."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pipeline_lib.errors import ConfigError
from pipeline_lib.imports import load_object
from pipeline_lib.study.experiment import (
    EpochExperiment,
    Experiment,
    IterationExperiment,
    allowed_keys,
    check_experiment,
    experiment_class,
    required_keys,
    special_keys,
)
from pipeline_lib.study.messages import Path, Place, checked, dotted, not_a_mapping, unknown_key
from pipeline_lib.study.model import Model
from pipeline_lib.study.study import PAPER, Settings, Study

Kinds = Mapping[str, type[Model]]
# What names of an experiment's files add to its name (see the map of paths in the Snakefile).
_ENDINGS = ("_efficiency", "_epochs", "_loss", "_polynomial", "_curves")


def load_study(raw: Mapping[str, Any], kinds: Kinds) -> Study:
    """Check the configuration ``raw`` and freeze it; ``kinds`` are the known kinds of models.

    Every scale is checked, the chosen one first: a mistake in another should not wait for it.

    Raises:
        ConfigError: One line that names the key, its value and what is allowed.
    """
    rest = {key: value for key, value in raw.items() if key not in ("experiments", "scales")}
    settings = _settings(rest, raw)
    experiments, scales = raw["experiments"], raw["scales"]
    _check_experiments(experiments)
    _check_scales(scales, experiments, settings)
    chosen = settings.scale
    by_scale = {}
    for scale in sorted(scales, key=lambda scale: scale != chosen):
        overrides = scales[scale] or {}
        by_scale[scale] = {
            name: _experiment(name, _merge(values, overrides.get(name, {})), scales, scale, kinds)
            for name, values in experiments.items()
        }
    return Study(
        settings,
        MappingProxyType(by_scale[chosen]),
        MappingProxyType(by_scale[PAPER]),
    )


def choose_own(raw: dict[str, Any], papers: Mapping[str, Any]) -> None:
    """Let ``raw``, if it has experiments beside the paper's and chooses none, build these alone.

    ``papers`` are the experiments of the paper as the checkout has them. Raises ConfigError if an
    experiment has the name of one of them and another kind of model.
    """
    experiments = raw.get("experiments")
    if not isinstance(experiments, Mapping):
        return
    for name, values in papers.items():
        ours, theirs = _kind_named(values), _kind_named(experiments.get(name))
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


def _settings(rest: Mapping[str, Any], raw: Mapping[str, Any]) -> Settings:
    known = ("scale", "seed", "data_dir", "experiments", "scales", "distortion", "heavy_tails",
             "compute", "confidence_level", "only")  # fmt: skip
    for key in rest:
        if key not in known:
            raise ConfigError(unknown_key(key, key, known))
    for key in ("experiments", "scales"):
        if key not in raw:
            raise ConfigError(f"config: {key}: missing; it is required")
        if not isinstance(raw[key], Mapping):
            raise ConfigError(not_a_mapping(key, raw[key]))
    settings: Settings = checked(Settings, rest, Place())
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
    if not experiments:
        raise ConfigError("config: experiments: {} is not allowed; allowed: at least 1 entries")
    complete = [
        name
        for name, values in experiments.items()
        if isinstance(values, Mapping) and "model" in values
    ]
    for name, values in experiments.items():
        where = f"experiments.{name}"
        _check_name(str(name), experiments)
        if not isinstance(values, Mapping):
            raise ConfigError(not_a_mapping(where, values))
        if name not in complete:
            raise ConfigError(
                f"config: {where}: unknown experiment, and no model for a new one; "
                f"allowed: {', '.join(complete)}"
            )


def _check_name(name: str, experiments: Mapping[str, Any]) -> None:
    """ConfigError for a name under which files of another experiment or of the study are kept."""
    others = [
        name.removesuffix(ending)
        for ending in _ENDINGS
        if name.endswith(ending) and name.removesuffix(ending) in experiments
    ]
    others += ["the network of one unit a layer"] if name.startswith("scalar_network") else []
    if others:
        raise ConfigError(
            f"config: experiments.{name}: files of {others[0]} have this name; choose another one"
        )


def _check_scales(
    scales: Mapping[str, Any], experiments: Mapping[str, Any], settings: Settings
) -> None:
    if PAPER not in scales:
        raise ConfigError(f"config: scales.{PAPER}: missing; it is required")
    if settings.scale not in scales:
        raise ConfigError(
            f"config: scale: {settings.scale!r} is not one of the allowed values: "
            f"{', '.join(scales)}"
        )
    for scale, overrides in scales.items():
        for name, values in _mapping(f"scales.{scale}", overrides).items():
            if name not in experiments:
                raise ConfigError(
                    f"config: scales.{scale}.{name}: unknown experiment; "
                    f"allowed: {', '.join(experiments)}"
                )
            _mapping(f"scales.{scale}.{name}", values)


def _mapping(where: str, value: Any) -> Mapping[str, Any]:
    if value is None:  # a key with nothing below it
        return {}
    if not isinstance(value, Mapping):
        raise ConfigError(not_a_mapping(where, value))
    return value


def _merge(base: Any, override: Any) -> Any:
    if isinstance(base, Mapping) and isinstance(override, Mapping):
        return {
            key: _merge(base.get(key), override.get(key, base.get(key)))
            for key in {**base, **override}
        }
    return override


def _experiment(
    name: str, values: Mapping[str, Any], scales: Mapping[str, Any], scale: str, kinds: Kinds
) -> Experiment:
    def at(path: Path) -> str:
        """The key under the scale that sets it, or else under ``experiments``."""
        here: Any = scales[scale]
        for part in path[1:]:
            if isinstance(here, Mapping) and part in here:
                here = here[part]
            elif not isinstance(here, list):
                return dotted(path)
        return dotted(("scales", scale, *path[1:]))

    place = Place(("experiments", name), at)
    kind = _kind(values["model"], place, kinds)
    model = checked(kind, values["model"], Place((*place.path, "model"), at))
    cls = experiment_class(kind)
    _check_keys(values, kind, place)
    experiment: IterationExperiment | EpochExperiment = checked(
        cls, {**values, "name": name, "model": model}, place
    )
    check_experiment(f"config: experiments.{name}", experiment)
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
    if kind not in kinds:
        raise ConfigError(
            f"config: {place(('model', 'kind'))}: {kind!r} is not one of the allowed values: "
            f"{', '.join(kinds)}, or package.module:Class of your own"
        )
    return kinds[kind]


def _check_keys(values: Mapping[str, Any], kind: type[Model], place: Place) -> None:
    """ConfigError unless the experiment has the keys of its kind of model, and no others."""
    allowed = allowed_keys(kind)
    named = values["model"]["kind"]
    for key in values:
        if key in special_keys() and key not in allowed:
            raise ConfigError(
                f"config: {place((key,))}: not for a model of kind {named}; "
                f"allowed: {', '.join(allowed)}"
            )
    for key in required_keys(kind):
        if key not in values:
            raise ConfigError(f"config: {place((key,))}: missing; a model of kind {named} needs it")
