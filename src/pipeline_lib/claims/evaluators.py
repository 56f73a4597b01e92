"""What each claim is evaluated from: tables, experiments and data of one run of the study."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline_lib.claims.batch_dependence import (
    count_of_batch_sizes,
    degree_six_fits,
    proportional_to_full,
)
from pipeline_lib.claims.catalogue import CLAIMS
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
from pipeline_lib.claims.extent import FIGURE_1A, FIGURE_1B, FIGURE_2, Extent, missing
from pipeline_lib.claims.further_evaluators import FURTHER_EVALUATORS
from pipeline_lib.claims.linear_exact import corollary_1, expected_loss
from pipeline_lib.claims.linear_theory import (
    degree_in_linear_regression,
    lemma_1,
    lemma_2,
    small_combinations,
    small_problem,
    theorem_1,
)
from pipeline_lib.claims.network_theory import (
    class_sizes,
    lemma_3_digits,
    lemma_7,
    theorem_4_degree,
    theorem_4_proof,
    theorem_5,
)
from pipeline_lib.claims.overfitting import validation_loss_stops
from pipeline_lib.claims.reviews import decreasing_under_adam
from pipeline_lib.claims.setting import (
    SCALAR_NETWORK,
    Problem,
    Setting,
    capped,
    departures,
    instance,
    left_open,
    problem_of,
    setting_of,
)
from pipeline_lib.claims.tails import runs_see_the_variance
from pipeline_lib.claims.verdict import Finding, untested
from pipeline_lib.study.experiment import EpochExperiment, IterationExperiment
from pipeline_lib.study.study import Study
from pipeline_lib.theory.scalar_network import ScalarNetwork

Floats = NDArray[np.float64]
Tables = Mapping[str, pd.DataFrame]

REGRESSION = "regression"
_SMALL_STEP = 2  # of the problems that are enumerated
_FIGURE_1B_STEPS = (10, 20, 30, 40)
_H1_LEVEL = 0.95
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


@dataclass(frozen=True, eq=False)
class Regression:
    """The design (n, 1 + k), target (n,) and initial weights (1 + k,) of `admission`."""

    features: Floats
    target: Floats
    weights: Floats


@dataclass(frozen=True, eq=False)
class Source:
    """What the evaluators below read; ``rows`` are those of the admission data."""

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


def not_configured(name: str, absent: str) -> Finding:
    """The finding of a claim for which what ``absent`` names is not there."""
    experiment = "admission" if absent == REGRESSION else absent.split("/")[-1]
    if absent.startswith("fits/"):
        experiment += " with a polynomial"
    evidence = f"Nothing to test: {experiment} is not configured."
    return untested(CLAIMS[name], evidence, f"the experiment {experiment}")


def _of_any_regression(source: Source, found: Finding) -> Finding:
    """A finding on a claim about every linear regression and every t, from that of `admission`."""
    return instance(found, source.problem("admission"), FIGURE_1A.problem)


def _of_fresh_regression(source: Source, found: Finding) -> Finding:
    """The same of a finding computed for mini-batches drawn afresh without replacement.

    `admission` may draw them with replacement: then its tables hold other numbers.
    """
    here = source.problem("admission")
    if here["sampling"] != FIGURE_1A.problem["sampling"]:
        found = replace(found, artefact=None)
    return instance(found, {**here, "sampling": FIGURE_1A.problem["sampling"]}, FIGURE_1A.problem)


def _of_any_network(source: Source, found: Finding, steps: int) -> Finding:
    """A finding on a claim about every linear network, from that of the scalar one, t < steps."""
    here = _scalar_network(source)
    short = [f"t = 2 (here up to {steps - 1})"] if steps <= _SMALL_STEP else []
    if Fraction(here["w1"]) * Fraction(here["w2"]) == Fraction(here["target"]):
        short.append("gradients, which here are 0")  # a minimum, where every claim holds
    return instance(found, here, SCALAR_NETWORK, short, "usual network")


def _scalar_network(source: Source) -> Problem:
    settings = asdict(source.study.heavy_tails)
    return {name: str(Fraction(settings[name])) for name in SCALAR_NETWORK}


def _corollary_1(source: Source) -> Finding:
    regression, admission = source.regression, source.iterated("admission")
    assert regression is not None
    steps = [step for step in _FIGURE_1B_STEPS if step < admission.iterations]
    found = corollary_1(
        small_problem(source.seed)[0],
        regression.features,
        regression.target,
        regression.weights,
        admission.learning_rates(),
        steps,
        artefact=source.file("theory/variance/admission"),
    )
    return _of_fresh_regression(source, found)


def _expected_loss(source: Source) -> Finding:
    regression = source.regression
    assert regression is not None
    found = expected_loss(
        regression.features,
        regression.target,
        regression.weights,
        source.iterated("admission").learning_rates(),
        artefact=source.file("theory/loss/admission"),
    )
    return _of_fresh_regression(source, found)


def _degree(source: Source) -> Finding:
    name = "theory/polynomial/admission_sweep"
    polynomial = source.tables.get(name)
    return degree_in_linear_regression(
        small_problem(source.seed)[0],
        _SMALL_STEP,
        polynomial,
        artefact=None if polynomial is None else source.file(name),
    )


def _proof_of_theorem_4(source: Source) -> Finding:
    settings = source.study.heavy_tails
    network = ScalarNetwork(*(Fraction(v) for v in (settings.w1, settings.w2, settings.target)))
    last = min(_SMALL_STEP, settings.polynomial_max_step)
    found = theorem_4_proof(network, [Fraction(settings.learning_rate)] * last, last)
    return _of_any_network(source, found, last + 1)


def _of_degrees(
    function: Callable[..., Finding],
) -> tuple[tuple[str, ...], Callable[[Source], Finding]]:
    """T7 and T9, from the exact polynomials of the scalar network."""
    table = "theory/scalar_degrees"

    def evaluator(source: Source) -> Finding:
        found = function(source.tables[table], artefact=source.file(table))
        return _of_any_network(source, found, int(source.tables[table]["step"].max()) + 1)

    return (table,), evaluator


def _tails(source: Source) -> Finding:
    name, settings = "heavy_tails/repeats", source.study.heavy_tails
    if source.study.confidence_level != _H1_LEVEL:
        level = source.study.confidence_level
        evidence = f"The intervals are of level {level:g}."
        return untested(CLAIMS["H1"], evidence, f"confidence_level {_H1_LEVEL:g}")
    found = runs_see_the_variance(source.tables[name], artefact=source.file(name))
    found = _of_any_network(source, found, settings.max_step + 1)
    other = departures(_scalar_network(source), SCALAR_NETWORK)
    if other:  # no theorem: tails that this network lacks are seen elsewhere
        return capped(found, f"the usual network's {'; '.join(other)}")
    sizes = sorted({1, 2, 4} - set(settings.batch_sizes))
    return capped(found, f"b = {', '.join(map(str, sizes))}") if sizes else found


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
    return _of_any_regression(source, found)


def _fits(source: Source) -> Finding:
    fits, curves, theory, variance = (source.tables[name] for name in _FIT)
    found = degree_six_fits(fits, curves, theory, variance, artefact=source.file(_FIT[0]))
    sweep = source.iterated("admission_sweep")
    assert sweep.polynomial is not None
    lacking = missing(FIGURE_1B, sweep.batch_sizes, FIGURE_1B.steps)
    steps = sorted(set(_FIGURE_1B_STEPS) - set(sweep.polynomial.steps))
    if steps:
        lacking.append(f"t = {', '.join(map(str, steps))}")
    if lacking:
        found = capped(found, f"the paper's {'; '.join(lacking)}")
    return left_open(found, source.problem("admission_sweep"), FIGURE_1B.problem)


def two_orders(
    function: Callable[..., Finding], experiment: str, extent: Extent
) -> tuple[tuple[str, ...], Callable[[Source], Finding]]:
    """E1 and E4, from the estimates and the exact variances of an experiment."""
    variance, theory = f"variance/{experiment}", f"theory/variance/{experiment}"

    def evaluator(source: Source) -> Finding:
        found = function(
            source.tables[variance], source.tables[theory], artefact=source.file(variance)
        )
        return left_open(found, source.problem(experiment), extent.problem)

    return (variance, theory), evaluator


def _in_epochs(
    function: Callable[..., Finding], experiment: str, table: str
) -> tuple[tuple[str, ...], Callable[[Source], Finding]]:
    """A claim on an experiment in epochs, from one of its tables."""

    def evaluator(source: Source) -> Finding:
        return function(
            source.tables[table], source.setting(experiment), artefact=source.file(table)
        )

    return (table, experiment), evaluator


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


# By claim: the tables, experiments and REGRESSION that it needs, and its evaluator.
EVALUATORS: Mapping[str, tuple[tuple[str, ...], Callable[[Source], Finding]]] = {
    "T1": ((), lambda source: lemma_1(*small_problem(source.seed))),
    "T2": ((), lambda source: lemma_2(*small_problem(source.seed), b=2)),
    "T3": ((), lambda source: theorem_1(*small_combinations(source.seed), _SMALL_STEP)),
    "T4": (("admission", REGRESSION), _corollary_1),
    "T5": ((), _degree),
    "T6": ((), lambda source: lemma_7(source.seed)),
    "T7": _of_degrees(theorem_4_degree),
    "T8": ((), _proof_of_theorem_4),
    "T9": _of_degrees(theorem_5),
    "T10": ((), lambda _: lemma_3_digits(3, {b: class_sizes(3, b) for b in range(3, 9)})),
    "E1": two_orders(decreasing_on_admissions, "admission", FIGURE_1A),
    "E2": (_FIT, _fits),
    "E3": ((), lambda _: count_of_batch_sizes()),
    "E4": two_orders(decreasing_in_two_layers, "teacher_student", FIGURE_2),
    "E5": _in_epochs(smallest_above_largest, "mnist_inits", "variance/mnist_inits"),
    "E6": (("metrics/mnist", "mnist"), _gap),
    "E7": _in_epochs(training_loss_decreases, "mnist", "metrics/mnist"),
    "E8": _in_epochs(validation_loss_stops, "mnist", "metrics/mnist"),
    "E9": _in_epochs(errors_decrease, "mnist", "metrics/mnist"),
    "E10": ((*_YELP, "yelp"), _under_adam),
    "E11": (("theory/variance/admission", REGRESSION), _proportional),
    "E12": ((), _stated_p_values),
    "H1": (("heavy_tails/repeats",), _tails),
    "H2": (("admission", REGRESSION), _expected_loss),
    **FURTHER_EVALUATORS,
}
