"""What a table was made with, by the names that its metadata uses.

A reader that is given the same refuses a table of another experiment, scale or configuration.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from pipeline_lib.artifacts.digest import digest
from pipeline_lib.study.block import block_digest
from pipeline_lib.study.experiment import Experiment
from pipeline_lib.study.study import Study


def made_with(study: Study, name: str) -> dict[str, Any]:
    """Of the tables of an experiment."""
    return {
        "experiment": name,
        "config": block_digest(study.experiments[name], study.seed),
        **_of_results(study),
    }


def as_applied(study: Study) -> dict[str, Any]:
    """The whole configuration with the scale applied, as plain JSON values."""
    experiments = {name: dataclasses.asdict(one) for name, one in study.experiments.items()}
    values = dataclasses.asdict(study.settings) | {"experiments": experiments}
    plain: dict[str, Any] = json.loads(json.dumps(values))
    return plain


def of_network(study: Study, settings: dict[str, Any]) -> dict[str, Any]:
    """Of the tables of the scalar network that depend on ``settings``."""
    return {"config": digest({"network": settings, "seed": study.seed}), **_of_results(study)}


def of_study(study: Study) -> dict[str, Any]:
    """Of the tables that depend on no experiment and on no settings but the seed."""
    return {"config": digest({"seed": study.seed}), **_of_results(study)}


def of_claims(study: Study, claimed: Mapping[str, Experiment]) -> dict[str, Any]:
    """Of the ledger, which depends on the experiments ``claimed`` and on the scalar network."""
    settings: dict[str, Any] = {name: dataclasses.asdict(one) for name, one in claimed.items()}
    settings["network"] = study.scalar_network()
    settings["distortion"] = dataclasses.asdict(study.distortion)
    return {"config": digest(settings), **_of_results(study)}


def network_settings(study: Study, simulated: bool) -> dict[str, Any]:
    """The settings of the scalar network's estimates, or of its exact values, as plain values."""
    unused = {"polynomial_max_step"} if simulated else {"run_counts", "repeats", "max_step"}
    settings = study.scalar_network()
    return {name: value for name, value in settings.items() if name not in unused}


def _of_results(study: Study) -> dict[str, Any]:
    return {"scale": study.scale, "confidence_level": study.confidence_level}
