"""Every claim evaluated from the tables of one run of the study, and the page about it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline_lib.claims.artefacts import claimed
from pipeline_lib.claims.batch_dependence import (
    count_of_batch_sizes,
    degree_six_fits,
    proportional_to_full,
)
from pipeline_lib.claims.catalogue import CLAIMS
from pipeline_lib.claims.enumeration import fractions
from pipeline_lib.claims.epochs import (
    errors_decrease,
    gap_increases,
    smallest_above_largest,
    training_loss_decreases,
)
from pipeline_lib.claims.experiments import (
    StatedRuns,
    decreasing_in_two_layers,
    decreasing_on_admissions,
    stated_p_values,
)
from pipeline_lib.claims.linear_exact import corollary_1, expected_loss
from pipeline_lib.claims.linear_theory import (
    degree_in_linear_regression,
    lemma_1,
    lemma_2,
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
from pipeline_lib.claims.setting import Setting, setting_of
from pipeline_lib.claims.tails import runs_see_the_variance
from pipeline_lib.claims.verdict import Finding, claims_markdown, counted, finding
from pipeline_lib.settings import EpochExperiment, IterationExperiment, Study
from pipeline_lib.theory.scalar_network import ScalarNetwork

Floats = NDArray[np.float64]
Tables = Mapping[str, pd.DataFrame]

_REGRESSION = "regression"
_SMALL_STEP = 2  # of the problems that are enumerated
_FIGURE_1B_STEPS = (10, 20, 30, 40)
# The runs that the paper states for its figures (Appendices B.1 and B.2).
_STATED_RUNS = {
    "Figure 1a": ("variance/admission", 1000),
    "Figure 1b": ("variance/admission_sweep", 10_000),
    "Figure 2": ("variance/teacher_student", 1000),
}
_FIT = ("fits/admission_sweep", "fits/admission_sweep_curves", "theory/admission_sweep")
_YELP = ("variance/yelp_epochs", "variance/yelp", "metrics/yelp")
# Claims whose first sentence of evidence makes a headline, in this order.
_HEADLINES = {
    "T4": "Linear regression",
    "H1": "What runs see of a variance",
    "E7": "MNIST, training loss",
    "E4": "Two-layer linear network",
    "T7": "Degree in 1/b",
}


@dataclass(frozen=True, eq=False)
class Regression:
    """The design (n, 1 + k), target (n,) and initial weights (1 + k,) of `admission`."""

    features: Floats
    target: Floats
    weights: Floats


@dataclass(frozen=True, eq=False)
class _Source:
    """What the evaluators below read; ``file`` gives the path of a table."""

    study: Study
    tables: Tables
    regression: Regression | None
    reviews: Mapping[str, Any]
    seed: int

    def file(self, name: str) -> str:
        return f"results/{self.study.scale}/{name}.parquet"

    def iterated(self, name: str) -> IterationExperiment:
        experiment = self.study.experiments[name]
        assert isinstance(experiment, IterationExperiment)
        return experiment

    def setting(self, name: str, **data: Any) -> Setting:
        experiment = self.study.experiments[name]
        assert isinstance(experiment, EpochExperiment)
        return setting_of(experiment, **data)


def evaluate(
    study: Study,
    tables: Tables,
    regression: Regression | None = None,
    reviews: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> list[Finding]:
    """The finding of every claim, in the order of the catalogue.

    Args:
        tables: what `artefacts.needed_tables` names, as far as it is there.
        regression: of `admission`, if it is configured.
        reviews: provenance of the ``reviews`` artefact, if `yelp` is configured.
        seed: of the small random problems.

    A claim whose tables are not there is not tested; its evidence says what is missing.
    """
    source = _Source(study, tables, regression, reviews or {}, seed)
    present = {*tables, *claimed(study), *([] if regression is None else [_REGRESSION])}
    findings = []
    for name in CLAIMS:
        needs, evaluator = _EVALUATORS[name]
        absent = [one for one in needs if one not in present]
        findings.append(_not_configured(name, absent[0]) if absent else evaluator(source))
    return findings


def ledger_page(findings: Sequence[Finding], scale: str) -> str:
    """`claims_markdown` with the headline: scale, counts, and findings in three sentences."""
    by_id = {one.id: one for one in findings}
    sentences = [
        f"- {words} ({name}, {by_id[name].verdict}): {_first_sentence(by_id[name].evidence)}"
        for name, words in _HEADLINES.items()
        if name in by_id and by_id[name].n_comparisons
    ]
    summary = f"{len(findings)} claims at scale `{scale}`: {counted(findings)}."
    return claims_markdown(
        findings,
        "The claims of arXiv 2004.13146, tested",
        "\n".join([summary, "", *sentences[:3]]),
    )


def _first_sentence(text: str) -> str:
    head, dot, _ = text.partition(". ")
    return head + "." if dot else text


def _not_configured(name: str, absent: str) -> Finding:
    experiment = "admission" if absent == _REGRESSION else absent.split("/")[-1]
    experiment = experiment.removesuffix("_epochs")
    if absent.startswith("fits/"):
        experiment += " with a polynomial"
    return finding(
        CLAIMS[name],
        "not tested at this scale",
        f"Nothing to test: {experiment} is not configured.",
        exact=False,
        n_comparisons=0,
        scale_needed=f"the experiment {experiment}",
    )


def _theorem_1(source: _Source) -> Finding:
    problem, matrices = small_problem(source.seed)
    rng = np.random.default_rng(source.seed + 1)
    sets = [matrices, *([fractions(rng, (2, 2)) for _ in range(problem.n)] for _ in range(2))]
    return theorem_1(problem, sets, _SMALL_STEP)


def _lemma_1(source: _Source) -> Finding:
    problem, matrices = small_problem(source.seed)
    return lemma_1(problem, matrices[0])


def _corollary_1(source: _Source) -> Finding:
    regression, admission = source.regression, source.iterated("admission")
    assert regression is not None
    steps = [step for step in _FIGURE_1B_STEPS if step < admission.iterations]
    return corollary_1(
        small_problem(source.seed)[0],
        regression.features,
        regression.target,
        regression.weights,
        admission.learning_rates(),
        steps,
        artefact=source.file("theory/admission"),
    )


def _expected_loss(source: _Source) -> Finding:
    regression = source.regression
    assert regression is not None
    return expected_loss(
        regression.features,
        regression.target,
        regression.weights,
        source.iterated("admission").learning_rates(),
        artefact=source.file("theory/admission_loss"),
    )


def _degree(source: _Source) -> Finding:
    name = "theory/admission_sweep_polynomial"
    polynomial = source.tables.get(name)
    return degree_in_linear_regression(
        small_problem(source.seed)[0],
        _SMALL_STEP,
        polynomial,
        artefact=None if polynomial is None else source.file(name),
    )


def _proof_of_theorem_4(source: _Source) -> Finding:
    settings = source.study.heavy_tails
    network = ScalarNetwork(*(Fraction(v) for v in (settings.w1, settings.w2, settings.target)))
    last = min(_SMALL_STEP, settings.polynomial_max_step)
    return theorem_4_proof(network, [Fraction(settings.learning_rate)] * last, last)


def _stated_p_values(source: _Source) -> Finding:
    figures = {
        figure: StatedRuns(source.tables[name], runs)
        for figure, (name, runs) in _STATED_RUNS.items()
        if name in source.tables
    }
    if not figures:
        return _not_configured("E12", "variance/admission")
    found = stated_p_values(figures)
    absent = [f"the runs of {figure}" for figure in _STATED_RUNS if figure not in figures]
    if not absent:
        return found
    verdict = "partly" if found.verdict == "confirmed" else found.verdict
    needed = "; ".join([found.scale_needed, *absent] if found.scale_needed else absent)
    return replace(found, verdict=verdict, scale_needed=needed)


def _proportional(source: _Source) -> Finding:
    assert source.regression is not None
    name = "theory/admission"
    n = len(source.regression.target)
    return proportional_to_full(source.tables[name], n, artefact=source.file(name))


def _fits(source: _Source) -> Finding:
    fits, curves, theory = (source.tables[name] for name in _FIT)
    return degree_six_fits(fits, curves, theory, artefact=source.file(_FIT[0]))


def _two_orders(
    function: Callable[..., Finding], experiment: str
) -> tuple[tuple[str, ...], Callable[[_Source], Finding]]:
    """E1 and E4, from the estimates and the exact variances of an experiment."""
    variance, theory = f"variance/{experiment}", f"theory/{experiment}"

    def evaluator(source: _Source) -> Finding:
        return function(
            source.tables[variance], source.tables[theory], artefact=source.file(variance)
        )

    return (variance, theory), evaluator


def _in_epochs(
    function: Callable[..., Finding], experiment: str, table: str
) -> tuple[tuple[str, ...], Callable[[_Source], Finding]]:
    """A claim on an experiment in epochs, from one of its tables."""

    def evaluator(source: _Source) -> Finding:
        return function(
            source.tables[table], source.setting(experiment), artefact=source.file(table)
        )

    return (table, experiment), evaluator


def _under_adam(source: _Source) -> Finding:
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


def _from_table(
    function: Callable[..., Finding], table: str
) -> tuple[tuple[str, ...], Callable[[_Source], Finding]]:
    def evaluator(source: _Source) -> Finding:
        return function(source.tables[table], artefact=source.file(table))

    return (table,), evaluator


# By claim: the tables, experiments and _REGRESSION that it needs, and its evaluator.
_EVALUATORS: Mapping[str, tuple[tuple[str, ...], Callable[[_Source], Finding]]] = {
    "T1": ((), _lemma_1),
    "T2": ((), lambda source: lemma_2(*small_problem(source.seed), b=2)),
    "T3": ((), _theorem_1),
    "T4": (("admission", _REGRESSION), _corollary_1),
    "T5": ((), _degree),
    "T6": ((), lambda source: lemma_7(source.seed)),
    "T7": _from_table(theorem_4_degree, "theory/scalar_network_degrees"),
    "T8": ((), _proof_of_theorem_4),
    "T9": _from_table(theorem_5, "theory/scalar_network_degrees"),
    "T10": ((), lambda _: lemma_3_digits(3, {b: class_sizes(3, b) for b in range(3, 9)})),
    "E1": _two_orders(decreasing_on_admissions, "admission"),
    "E2": (_FIT, _fits),
    "E3": ((), lambda _: count_of_batch_sizes()),
    "E4": _two_orders(decreasing_in_two_layers, "teacher_student"),
    "E5": _in_epochs(smallest_above_largest, "mnist_inits", "variance/mnist_inits"),
    "E6": _in_epochs(gap_increases, "mnist", "metrics/mnist"),
    "E7": _in_epochs(training_loss_decreases, "mnist", "metrics/mnist"),
    "E8": _in_epochs(validation_loss_stops, "mnist", "metrics/mnist"),
    "E9": _in_epochs(errors_decrease, "mnist", "metrics/mnist"),
    "E10": ((*_YELP, "yelp"), _under_adam),
    "E11": (("theory/admission", _REGRESSION), _proportional),
    "E12": ((), _stated_p_values),
    "H1": _from_table(runs_see_the_variance, "heavy_tails/repeats"),
    "H2": (("admission", _REGRESSION), _expected_loss),
}
