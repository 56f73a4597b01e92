"""The whole configuration: what is set once for the study, and its experiments at one scale."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from pipeline_lib.errors import ConfigError
from pipeline_lib.study.experiment import Experiment
from pipeline_lib.study.section import UNIQUE, EachOnce, Name, NotNegative, Number, Text, section
from pipeline_lib.study.settings import Compute, Distortion, HeavyTails

PAPER = "paper"
"""The scale at which every experiment has the paper's own values."""


@section
class Settings:
    """The keys of the configuration beside `experiments` and `scales`."""

    scale: Text
    """The scale to run: a key of `scales`."""
    seed: NotNegative
    """Seed from which every random stream of the study is derived."""
    data_dir: Text | None
    """A folder with raw data files, looked up before the internet; it may be missing. The
    environment variable DATA_DIR comes first."""
    distortion: Distortion
    heavy_tails: HeavyTails
    compute: Compute
    confidence_level: Annotated[Number, Field(ge=0.5, le=0.9999)]
    """Level of all confidence intervals."""
    only: Annotated[tuple[Text, ...], UNIQUE, EachOnce] | None
    """Experiments to build, or null for all of them."""


@section
class ConfigFile(Settings):
    """The whole of config.yaml. Experiments depend on their kind of model and are read later."""

    experiments: Annotated[Mapping[Name, Mapping[Any, Any]], Field(min_length=1)]
    """Experiments by name, with the paper's values."""
    scales: Annotated[
        Mapping[Name, Mapping[Any, Any] | None], Field(json_schema_extra={"required": [PAPER]})
    ]
    """Scales by name: what each changes in the experiments. One is called `paper`."""


@dataclass(frozen=True)
class Study:
    """The configuration with one scale applied."""

    settings: Settings
    experiments: Mapping[str, Experiment]

    @property
    def scale(self) -> str:
        return self.settings.scale

    @property
    def seed(self) -> int:
        return self.settings.seed

    @property
    def data_dir(self) -> str | None:
        return self.settings.data_dir

    @property
    def distortion(self) -> Distortion:
        return self.settings.distortion

    @property
    def heavy_tails(self) -> HeavyTails:
        return self.settings.heavy_tails

    @property
    def compute(self) -> Compute:
        return self.settings.compute

    @property
    def confidence_level(self) -> float:
        return self.settings.confidence_level

    @property
    def chosen(self) -> tuple[str, ...]:
        """The experiments that are built unless a target is named."""
        only = self.settings.only
        return tuple(self.experiments) if only is None else only

    @property
    def builds_everything(self) -> bool:
        """Whether all experiments are built, and so what is of none of them alone."""
        return self.settings.only is None

    @property
    def run_counts(self) -> tuple[int, ...]:
        """The numbers of runs that the scalar network is tried with at this scale."""
        counts = self.heavy_tails.run_counts
        return counts.get(self.scale, counts[PAPER])

    def scalar_network(self) -> dict[str, Any]:
        """The settings of the scalar network at this scale, as plain JSON values."""
        return dataclasses.asdict(self.heavy_tails) | {"run_counts": self.run_counts}

    def of_kind(self, kind: str) -> list[str]:
        """The names of the experiments whose model is of this kind."""
        return [name for name, one in self.experiments.items() if one.model.kind == kind]

    def require(self, *names: str) -> None:
        """ConfigError unless every experiment of ``names`` is there."""
        for name in names:
            if name not in self.experiments:
                raise ConfigError(
                    f"config: experiments.{name}: missing, but figures are drawn from it; "
                    "give it few runs if you do not need it"
                )

    def require_fit(self, name: str) -> None:
        """ConfigError unless a polynomial is fitted to the variances of this experiment."""
        experiment = self.experiments[name]
        if getattr(experiment, "polynomial", None) is None:
            raise ConfigError(
                f"config: experiments.{name}.polynomial: null, but Figure 1b is drawn from it; "
                "allowed: steps and degree, as in {steps: [10, 20, 30, 40], degree: 6}"
            )
