"""What the claims of `theory_claims` are evaluated from."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from fractions import Fraction

from pipeline_lib.claims.any_model import lemma_1_for_any_model
from pipeline_lib.claims.catalogue import CLAIMS
from pipeline_lib.claims.extent import FIGURE_1A, FIGURE_1B_SHOWN
from pipeline_lib.claims.gaussian_words import lemma_8
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
from pipeline_lib.claims.networks_exact import (
    any_depth,
    corollary_2,
    decreasing_at_every_b,
    nonnegative_traces,
    theorem_3,
)
from pipeline_lib.claims.paper_settings import SCALAR_NETWORK
from pipeline_lib.claims.regression_losses import held_out_loss_falls, monotone_after_equal_epochs
from pipeline_lib.claims.setting import Problem, capped, departures, instance
from pipeline_lib.claims.source import REGRESSION, Evaluation, Source, from_table
from pipeline_lib.claims.tails import runs_see_the_variance
from pipeline_lib.claims.verdict import Finding, untested
from pipeline_lib.theory.scalar_network import ScalarNetwork

# Ours: two layers of one unit, and its learning rate.
NETWORK = ScalarNetwork(*(Fraction(SCALAR_NETWORK[name]) for name in ("w1", "w2", "target")))
RATES = (Fraction(SCALAR_NETWORK["learning_rate"]),) * 2
_TEST_LOSS = "theory/test_loss/admission"
_SMALL_STEP = 2  # of the problems that are enumerated
_H1_LEVEL = 0.95


def _of_fresh_regression(source: Source, found: Finding) -> Finding:
    """A finding on a claim about every linear regression, for mini-batches drawn afresh.

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
    steps = [step for step in FIGURE_1B_SHOWN if step < admission.iterations]
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
) -> Evaluation:
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


def _held_out(source: Source) -> Finding:
    table = source.tables.get(_TEST_LOSS)
    artefact = None if table is None else source.file(_TEST_LOSS)
    return held_out_loss_falls(small_problem(source.seed)[0], table, artefact)


THEORY_EVALUATORS: Mapping[str, Evaluation] = {
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
    "T11": ((), lambda _: nonnegative_traces()),
    "T12": from_table(decreasing_at_every_b, "theory/b0_counterexample"),
    "T13": ((), lambda _: theorem_3(NETWORK, RATES)),
    "T14": ((), lambda _: corollary_2(NETWORK, RATES)),
    "T15": ((), lambda source: lemma_8(source.seed)),
    "T16": ((), lambda source: lemma_1_for_any_model(source.seed)),
    "T17": from_table(any_depth, "theory/network_degrees"),
    "H1": (("heavy_tails/repeats",), _tails),
    "H2": (("admission", REGRESSION), _expected_loss),
    "H4": ((), _held_out),
    "H5": from_table(monotone_after_equal_epochs, "theory/equal_epochs"),
}
