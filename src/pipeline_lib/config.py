"""The configuration, checked once and frozen. The only reader of the raw dictionaries."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from pipeline_lib.config_schema import check_schema
from pipeline_lib.errors import ConfigError

# Examples that each data set holds at its canonical source; a smaller stand-in is noticed when the
# data is there, and batch sizes that it cannot serve are then left out with a note.
DATASET_ROWS = {"admissions": 500}


@dataclass(frozen=True)
class LinearRegression:
    """Least squares with an intercept on standardised features."""

    kind: Literal["linear_regression"]
    dataset: str
    features: Literal["all"] | tuple[str, ...]


@dataclass(frozen=True)
class TwoLayer:
    """A student W2 W1 of the given ``layers`` (inputs, hidden, outputs) and a teacher of the same.

    Samples are drawn online, x ~ N(0, I). Teacher entries are N(0, teacher_scale^2 / fan_in).
    ``replicas_at_once`` are trained together through all steps; a block pools such groups.
    """

    kind: Literal["two_layer"]
    layers: tuple[int, int, int]
    teacher_seed: int
    teacher_scale: float
    dtype: Literal["float32", "float64"]
    replicas_at_once: int


Model = LinearRegression | TwoLayer


@dataclass(frozen=True)
class InitialWeights:
    """``count`` draws of Gaussian weights; draw ``init`` depends on ``seed`` and ``init`` alone.

    Entries are N(0, scale^2) for linear regression and N(0, scale^2 / fan_in) for networks.
    """

    count: int
    seed: int
    scale: float


@dataclass(frozen=True)
class LearningRate:
    """``initial / (t + 1)`` (inverse_time) or ``initial`` (constant) at step t = 0, 1, ..."""

    schedule: Literal["inverse_time", "constant"]
    initial: float

    def exact(self, iterations: int) -> list[Fraction]:
        """The rates as rationals, reading ``initial`` as the decimal that the user wrote."""
        initial = Fraction(str(self.initial))
        if self.schedule == "constant":
            return [initial] * iterations
        return [initial / (t + 1) for t in range(iterations)]

    def values(self, iterations: int) -> list[float]:
        """The rates in float64."""
        return [float(rate) for rate in self.exact(iterations)]


@dataclass(frozen=True)
class FitSettings:
    """At which steps, and to what degree in 1/b, the variance is fitted (Section 4.2)."""

    steps: tuple[int, ...]
    degree: int


@dataclass(frozen=True)
class Experiment:
    """One experiment at the chosen scale."""

    name: str
    model: Model
    initial_weights: InitialWeights
    learning_rate: LearningRate
    batch_sizes: tuple[int, ...]
    runs: int
    runs_per_block: int
    iterations: int
    polynomial: FitSettings | None = None

    @property
    def blocks(self) -> range:
        """Block indices, called ``seed`` in the paths."""
        return range(self.runs // self.runs_per_block)

    def learning_rates(self) -> list[float]:
        """``alpha_t`` in float64 for t = 0 ... iterations - 1."""
        return self.learning_rate.values(self.iterations)

    def exact_learning_rates(self) -> list[str]:
        """``alpha_t`` as fractions, in writing."""
        return [str(rate) for rate in self.learning_rate.exact(self.iterations)]

    def training(self) -> dict[str, Any]:
        """What a training block depends on beside its (init, b, seed), as plain JSON types.

        Batch sizes, the number of runs and what is done with the results afterwards are left out,
        so that changing them never invalidates a finished block.
        """
        kept = ("name", "model", "initial_weights", "learning_rate", "runs_per_block", "iterations")
        everything = dataclasses.asdict(self)
        plain: dict[str, Any] = json.loads(json.dumps({key: everything[key] for key in kept}))
        del plain["initial_weights"]["count"]
        return plain


@dataclass(frozen=True)
class HeavyTails:
    """The scalar two-layer network whose estimates are held against its exact variances.

    ``w1``, ``w2``, ``target`` and ``learning_rate`` are exact rationals, in writing.
    """

    w1: str
    w2: str
    target: str
    learning_rate: str
    batch_sizes: tuple[int, ...]
    max_step: int
    polynomial_max_step: int
    run_counts: tuple[int, ...]
    repeats: int


@dataclass(frozen=True)
class Compute:
    """Where a training block runs; no result depends on ``threads``."""

    device: Literal["auto", "cpu", "cuda"]
    threads: int


@dataclass(frozen=True)
class Study:
    """The whole configuration, with the scale applied."""

    scale: str
    seed: int
    data_dir: str | None
    experiments: Mapping[str, Experiment]
    at_paper_scale: Mapping[str, Experiment]
    heavy_tails: HeavyTails
    compute: Compute
    confidence_level: float

    def require(self, *names: str) -> None:
        """ConfigError unless every experiment of ``names`` is there."""
        for name in names:
            if name not in self.experiments:
                raise ConfigError(
                    f"config: experiments.{name}: missing, but figures are drawn from it; "
                    "give it few runs if you do not need it"
                )


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
    experiment = Experiment(
        name=name,
        model=_model(values["model"]),
        initial_weights=InitialWeights(**values["initial_weights"]),
        learning_rate=LearningRate(**values["learning_rate"]),
        batch_sizes=tuple(sorted(values["batch_sizes"])),
        runs=values["runs"],
        runs_per_block=values["runs_per_block"],
        iterations=values["iterations"],
        polynomial=FitSettings(
            tuple(sorted(values["polynomial"]["steps"])), values["polynomial"]["degree"]
        )
        if "polynomial" in values
        else None,
    )
    _check(experiment)
    return experiment


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
    if experiment.runs % experiment.runs_per_block:
        raise ConfigError(
            f"{where}.runs: {experiment.runs} is not whole blocks; "
            f"allowed: multiples of runs_per_block = {experiment.runs_per_block}"
        )
    if experiment.polynomial is None:
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
