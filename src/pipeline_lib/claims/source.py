"""What evaluators of claims read, and the forms that most of them have."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline_lib.claims.catalogue import CLAIMS
from pipeline_lib.claims.setting import Problem, Setting, problem_of, setting_of
from pipeline_lib.claims.verdict import Finding, untested
from pipeline_lib.study.experiment import EpochExperiment, IterationExperiment
from pipeline_lib.study.study import Study

Floats = NDArray[np.float64]
Tables = Mapping[str, pd.DataFrame]

REGRESSION = "regression"


@dataclass(frozen=True, eq=False)
class Regression:
    """The design (n, 1 + k), target (n,) and initial weights (1 + k,) of `admission`."""

    features: Floats
    target: Floats
    weights: Floats


@dataclass(frozen=True, eq=False)
class Source:
    """What evaluators read; ``rows`` are those of the admission data."""

    study: Study
    tables: Tables
    regression: Regression | None
    reviews: Mapping[str, Any]
    rows: int | None
    seed: int

    def file(self, name: str) -> str:
        """The path of a table."""
        return f"results/{self.study.scale}/{name}.parquet"

    def iterated(self, name: str) -> IterationExperiment:
        experiment = self.study.experiments[name]
        assert isinstance(experiment, IterationExperiment)
        return experiment

    def problem(self, name: str) -> Problem:
        """Of an experiment that is not in epochs."""
        experiment = self.iterated(name)
        if experiment.model.kind == "linear_network":
            return problem_of(experiment)
        return problem_of(experiment, **({} if self.rows is None else {"rows": self.rows}))

    def setting(self, name: str, **data: Any) -> Setting:
        experiment = self.study.experiments[name]
        assert isinstance(experiment, EpochExperiment)
        return setting_of(experiment, **data)


Evaluator = Callable[[Source], Finding]
# The tables, experiments and REGRESSION that a claim needs, and its evaluator.
Evaluation = tuple[tuple[str, ...], Evaluator]


def not_configured(name: str, absent: str) -> Finding:
    """The finding of a claim for which what ``absent`` names is not there."""
    experiment = "admission" if absent == REGRESSION else absent.split("/")[-1]
    if absent.startswith("fits/"):
        experiment += " with a polynomial"
    evidence = f"Nothing to test: {experiment} is not configured."
    return untested(CLAIMS[name], evidence, f"the experiment {experiment}")


def from_table(function: Callable[..., Finding], name: str) -> Evaluation:
    """A claim on one table."""
    return (name,), lambda source: function(source.tables[name], artefact=source.file(name))


def in_epochs(function: Callable[..., Finding], name: str) -> Evaluation:
    """A claim on an experiment in epochs, from its table ``name``: ``variance/mnist``, say."""
    experiment = name.rpartition("/")[2]

    def evaluator(source: Source) -> Finding:
        return function(source.tables[name], source.setting(experiment), artefact=source.file(name))

    return (name, experiment), evaluator
