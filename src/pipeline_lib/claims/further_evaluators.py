"""What the claims of `further_claims` are evaluated from."""

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING

from pipeline_lib.claims.any_model import lemma_1_for_any_model
from pipeline_lib.claims.gaussian_words import lemma_8
from pipeline_lib.claims.linear_theory import small_problem
from pipeline_lib.claims.mnist_variance import decreasing_on_mnist, little_sensitive
from pipeline_lib.claims.networks_exact import (
    any_depth,
    corollary_2,
    decreasing_at_every_b,
    nonnegative_traces,
    theorem_3,
)
from pipeline_lib.claims.regression_losses import held_out_loss_falls, monotone_after_equal_epochs
from pipeline_lib.claims.setting import SCALAR_NETWORK
from pipeline_lib.claims.verdict import Finding
from pipeline_lib.theory.scalar_network import ScalarNetwork

if TYPE_CHECKING:
    from pipeline_lib.claims.evaluators import Source

Evaluator = Callable[["Source"], Finding]

# Ours: two layers of one unit, and its learning rate.
NETWORK = ScalarNetwork(*(Fraction(SCALAR_NETWORK[name]) for name in ("w1", "w2", "target")))
RATES = (Fraction(SCALAR_NETWORK["learning_rate"]),) * 2
_TEST_LOSS = "theory/test_loss/admission"


def _held_out(source: "Source") -> Finding:
    table = source.tables.get(_TEST_LOSS)
    artefact = None if table is None else source.file(_TEST_LOSS)
    return held_out_loss_falls(small_problem(source.seed)[0], table, artefact)


def _from_table(function: Callable[..., Finding], name: str) -> tuple[tuple[str, ...], Evaluator]:
    return (name,), lambda source: function(source.tables[name], artefact=source.file(name))


def _in_epochs(
    function: Callable[..., Finding], experiment: str
) -> tuple[tuple[str, ...], Evaluator]:
    name = f"variance/{experiment}"

    def evaluator(source: "Source") -> Finding:
        return function(source.tables[name], source.setting(experiment), artefact=source.file(name))

    return (name, experiment), evaluator


FURTHER_EVALUATORS: Mapping[str, tuple[tuple[str, ...], Evaluator]] = {
    "T11": ((), lambda _: nonnegative_traces()),
    "T12": _from_table(decreasing_at_every_b, "theory/b0_counterexample"),
    "T13": ((), lambda _: theorem_3(NETWORK, RATES)),
    "T14": ((), lambda _: corollary_2(NETWORK, RATES)),
    "T15": ((), lambda source: lemma_8(source.seed)),
    "T16": ((), lambda source: lemma_1_for_any_model(source.seed)),
    "T17": _from_table(any_depth, "theory/network_degrees"),
    "E13": _in_epochs(decreasing_on_mnist, "mnist"),
    "E14": _in_epochs(little_sensitive, "mnist_inits"),
    "H4": ((), _held_out),
    "H5": _from_table(monotone_after_equal_epochs, "theory/equal_epochs"),
}
