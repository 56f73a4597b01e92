"""Which tables the ledger reads, from what is configured. Light: workflow rules ask it too."""

from collections.abc import Mapping
from typing import Any

from pipeline_lib.study.experiment import EpochExperiment, Experiment, IterationExperiment
from pipeline_lib.study.provenance import (
    made_with,
    network_settings,
    of_claims,
    of_network,
    of_study,
)
from pipeline_lib.study.study import Study

# Under results/{scale}/, without .parquet: the kind of table. Those made for every study, ...
_ALWAYS = {
    "theory/scalar_degrees": "scalar_degrees",
    "heavy_tails/repeats": "heavy_tails_repeats",
    "theory/network_degrees": "network_degrees",
    "theory/b0_counterexample": "b0_counterexample",
}
# ... and for an experiment of the paper, if one of that name and kind of model is configured.
_OF_EXPERIMENT: Mapping[tuple[str, str], Mapping[str, str]] = {
    ("admission", "linear_regression"): {
        "variance/admission": "variance",
        "theory/variance/admission": "theory",
        "theory/test_loss/admission": "test_loss",
        "theory/equal_epochs": "equal_epochs",
    },
    ("admission_sweep", "linear_regression"): {"variance/admission_sweep": "variance"},
    ("teacher_student", "linear_network"): {
        "variance/teacher_student": "variance",
        "theory/variance/teacher_student": "theory",
    },
    ("mnist", "perceptron"): {"metrics/mnist": "metric_summary", "variance/mnist": "variance"},
    ("mnist_inits", "perceptron"): {"variance/mnist_inits": "variance"},
    ("yelp", "transformer"): {
        "variance/yelp": "variance",
        "epoch_variance/yelp": "epoch_variance",
        "metrics/yelp": "metric_summary",
    },
}
_OF_FIT = {
    "theory/variance/admission_sweep": "theory",
    "theory/polynomial/admission_sweep": "polynomial",
    "fits/admission_sweep": "fits",
    "fitted_curves/admission_sweep": "fitted_curves",
}
# Made with no experiment's settings: of small problems of our own.
_OF_STUDY = {"theory/network_degrees", "theory/b0_counterexample", "theory/equal_epochs"}


def claimed(study: Study) -> dict[str, Experiment]:
    """The chosen experiments that claims are about, by name; of the paper's kind of model.

    Those that are held against exact values are left out where there are none.
    """
    chosen = {name: study.experiments[name] for name in study.chosen}
    return {
        name: one
        for name, one in chosen.items()
        if (tables := _OF_EXPERIMENT.get((name, one.model.kind)))
        and (f"theory/variance/{name}" not in tables or one.model.uncovered(one) is None)
    }


def needed_tables(study: Study) -> dict[str, str]:
    """Tables that the claims are computed from, ``variance/admission``, ..., and their kinds."""
    tables = dict(_ALWAYS)
    for name, experiment in claimed(study).items():
        never = isinstance(experiment, EpochExperiment) and experiment.evaluate_every == "never"
        tables |= {
            table: kind
            for table, kind in _OF_EXPERIMENT[name, experiment.model.kind].items()
            if not (never and kind == "metric_summary")
        }
        fitted = isinstance(experiment, IterationExperiment) and experiment.polynomial is not None
        if name == "admission_sweep" and fitted:
            tables |= _OF_FIT
    return tables


def expected_of(study: Study, table: str) -> dict[str, Any]:
    """What one of `needed_tables` must have been made with."""
    if table in _OF_STUDY:
        return of_study(study)
    if table in _ALWAYS:
        return of_network(study, network_settings(study, table.startswith("heavy_tails/")))
    return made_with(study, table.rpartition("/")[2])


def claims_made_with(study: Study) -> dict[str, Any]:
    """What the ledger itself is made with."""
    return of_claims(study, claimed(study))
