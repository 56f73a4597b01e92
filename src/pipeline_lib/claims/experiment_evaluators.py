"""What the claims of `experiment_claims` are evaluated from."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from pipeline_lib.claims.batch_dependence import (
    count_of_batch_sizes,
    degree_six_fits,
    proportional_to_full,
)
from pipeline_lib.claims.epochs import (
    errors_decrease,
    gap_increases,
    smallest_above_largest,
    training_loss_decreases,
)
from pipeline_lib.claims.experiments import (
    Figure,
    decreasing_in_two_layers,
    decreasing_on_admissions,
    stated_p_values,
)
from pipeline_lib.claims.extent import (
    FIGURE_1A,
    FIGURE_1B,
    FIGURE_1B_SHOWN,
    FIGURE_2,
    Extent,
    missing,
)
from pipeline_lib.claims.mnist_variance import decreasing_on_mnist, little_sensitive
from pipeline_lib.claims.overfitting import validation_loss_stops
from pipeline_lib.claims.reviews import decreasing_under_adam
from pipeline_lib.claims.setting import capped, instance, left_open
from pipeline_lib.claims.source import REGRESSION, Evaluation, Source, in_epochs, not_configured
from pipeline_lib.claims.verdict import Finding

# The figures whose number of runs the paper ties to p-values (Appendices B.1 and B.2).
_FIGURES = {
    "Figure 1a": ("admission", FIGURE_1A),
    "Figure 1b": ("admission_sweep", FIGURE_1B),
    "Figure 2": ("teacher_student", FIGURE_2),
}
_FIT = (
    "fits/admission_sweep",
    "fitted_curves/admission_sweep",
    "theory/variance/admission_sweep",
    "variance/admission_sweep",
)
_YELP = ("epoch_variance/yelp", "variance/yelp", "metrics/yelp")


def _stated_p_values(source: Source) -> Finding:
    figures = {
        name: Figure(source.tables[f"variance/{experiment}"], source.problem(experiment), stated)
        for name, (experiment, stated) in _FIGURES.items()
        if f"variance/{experiment}" in source.tables
    }
    if not figures:
        return not_configured("E12", "variance/admission")
    found = stated_p_values(figures)
    absent = [f"the runs of {figure}" for figure in _FIGURES if figure not in figures]
    if not absent:
        return found
    verdict = "partly" if found.verdict == "confirmed" else found.verdict
    needed = "; ".join([found.scale_needed, *absent] if found.scale_needed else absent)
    return replace(found, verdict=verdict, scale_needed=needed)


def _proportional(source: Source) -> Finding:
    assert source.regression is not None
    name = "theory/variance/admission"
    n = len(source.regression.target)
    found = proportional_to_full(source.tables[name], n, artefact=source.file(name))
    return instance(found, source.problem("admission"), FIGURE_1A.problem)


def _fits(source: Source) -> Finding:
    fits, curves, theory, variance = (source.tables[name] for name in _FIT)
    found = degree_six_fits(fits, curves, theory, variance, artefact=source.file(_FIT[0]))
    sweep = source.iterated("admission_sweep")
    assert sweep.polynomial is not None
    lacking = missing(FIGURE_1B, sweep.batch_sizes, FIGURE_1B.steps)
    steps = sorted(set(FIGURE_1B_SHOWN) - set(sweep.polynomial.steps))
    if steps:
        lacking.append(f"t = {', '.join(map(str, steps))}")
    if lacking:
        found = capped(found, f"the paper's {'; '.join(lacking)}")
    return left_open(found, source.problem("admission_sweep"), FIGURE_1B.problem)


def two_orders(function: Callable[..., Finding], experiment: str, extent: Extent) -> Evaluation:
    """E1 and E4, from the estimates and the exact variances of an experiment."""
    variance, theory = f"variance/{experiment}", f"theory/variance/{experiment}"

    def evaluator(source: Source) -> Finding:
        found = function(
            source.tables[variance], source.tables[theory], artefact=source.file(variance)
        )
        return left_open(found, source.problem(experiment), extent.problem)

    return (variance, theory), evaluator


def _gap(source: Source) -> Finding:
    table, used = "metrics/mnist", source.study.distortion
    distortion = f"alpha = {used.alpha:g}, sigma = {used.sigma:g}"
    return gap_increases(
        source.tables[table],
        source.setting("mnist", distortion=distortion),
        artefact=source.file(table),
    )


def _under_adam(source: Source) -> Finding:
    data, experiment = source.reviews, source.study.experiments["yelp"]
    found: dict[str, Any] = {"reviews": data.get("name", "reviews of unknown origin")}
    for split, sizes in data.get("sets", {}).items():
        found[f"{split}_examples"] = sizes["n_reviews"]
    if "vocabulary" in data and data["vocabulary"] != experiment.training()["model"]["vocabulary"]:
        found["vocabulary"] = data["vocabulary"]
    epochs, variance, metrics = (source.tables[name] for name in _YELP)
    return decreasing_under_adam(
        epochs,
        variance,
        metrics,
        source.setting("yelp", **found),
        artefact=source.file(_YELP[0]),
    )


EXPERIMENT_EVALUATORS: Mapping[str, Evaluation] = {
    "E1": two_orders(decreasing_on_admissions, "admission", FIGURE_1A),
    "E2": (_FIT, _fits),
    "E3": ((), lambda _: count_of_batch_sizes()),
    "E4": two_orders(decreasing_in_two_layers, "teacher_student", FIGURE_2),
    "E5": in_epochs(smallest_above_largest, "variance/mnist_inits"),
    "E6": (("metrics/mnist", "mnist"), _gap),
    "E7": in_epochs(training_loss_decreases, "metrics/mnist"),
    "E8": in_epochs(validation_loss_stops, "metrics/mnist"),
    "E9": in_epochs(errors_decrease, "metrics/mnist"),
    "E10": ((*_YELP, "yelp"), _under_adam),
    "E11": (("theory/variance/admission", REGRESSION), _proportional),
    "E12": ((), _stated_p_values),
    "E13": in_epochs(decreasing_on_mnist, "variance/mnist"),
    "E14": in_epochs(little_sensitive, "variance/mnist_inits"),
}
