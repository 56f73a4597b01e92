"""Claims beyond the numbered results: each evaluator on cases whose answer is known."""

import dataclasses
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

from pipeline_lib.claims.any_model import MODELS, lemma_1_for_any_model
from pipeline_lib.claims.enumeration import fractions, random_regression
from pipeline_lib.claims.gaussian_words import even_places, lemma_8, word_terms
from pipeline_lib.claims.mnist_variance import decreasing_on_mnist, little_sensitive
from pipeline_lib.claims.networks_exact import (
    any_depth,
    corollary_2,
    decreasing_at_every_b,
    nonnegative_traces,
    theorem_3,
    unrolled,
)
from pipeline_lib.claims.paper_settings import FIGURE_3A, FIGURE_4
from pipeline_lib.claims.regression_losses import held_out_loss_falls, monotone_after_equal_epochs
from pipeline_lib.theory.batch_polynomial import coefficients
from pipeline_lib.theory.counterexample import counterexample_table
from pipeline_lib.theory.network_tables import network_degrees_table
from pipeline_lib.theory.scalar_depth import expectation
from pipeline_lib.theory.scalar_network import ScalarNetwork, variance_at_step
from pipeline_lib.theory.studied_networks import solve_studied

NETWORK = ScalarNetwork(Fraction(3, 2), Fraction(-1, 2), 1)
RATES = (Fraction(1, 5),) * 2


def test_the_unrolled_network_has_the_variances_of_the_other_engine():
    for step in range(3):
        now = unrolled(NETWORK, RATES, step)
        mean, square = expectation(now.g1), expectation(now.g1 * now.g1)
        assert square - mean * mean == variance_at_step(NETWORK, RATES, step).g1


def test_a_nonnegative_trace_can_rise_in_b():
    found = nonnegative_traces()
    assert found.verdict == "refuted"
    assert "9/625 − (4/625)/b" in found.evidence
    assert "0.0137211 at b = 9" in found.evidence
    assert "53/1600 − (147/800)/b" in found.evidence
    # by hand: at b → ∞ one step of w = (−2, 0), e = 1 is w = (−2, 1/5), e = 3/5, g_1 = 3/25
    now = unrolled(ScalarNetwork(-2, 0, -1), [Fraction(1, 10)], 1)
    assert coefficients(expectation(now.g1 * now.g1))[0] == Fraction(3, 25) ** 2


def test_the_conjecture_needs_every_b():
    table = counterexample_table([1, 2, 3, 4], [], 0, 0, 0.95)
    found = decreasing_at_every_b(table)
    assert found.verdict == "refuted"
    assert "53,110,200 at b = 1, 105,268,300 at b = 2" in found.evidence
    assert "4 rise (b = 1 to 2)" in found.evidence
    later = decreasing_at_every_b(table[table["b"] > 1])
    assert (later.verdict, later.n_comparisons) == ("confirmed", 8)


def test_theorem_3_and_corollary_2_on_the_scalar_network():
    assert theorem_3(NETWORK, RATES).verdict == "confirmed"
    assert "gives 3 and the statement 1" in theorem_3(NETWORK, RATES).evidence
    assert corollary_2(NETWORK, RATES).verdict == "confirmed"
    # g_1² at t = 0, d = 2: (1 + 2/b) G², of degree 1 and within the bound (3 − 1) 2/2 = 2
    assert expectation(unrolled(NETWORK, RATES, 0).g1 ** 2).degree() == 1


def test_any_depth_asks_for_b_0_and_for_the_degree():
    table = network_degrees_table(solve_studied(0, 1))
    assert any_depth(table).verdict == "confirmed"
    three = (table["depth"] == 3) & (table["quantity"] == "stochastic_gradient")
    never = table.assign(
        decreasing_from_integer=table["decreasing_from_integer"].mask(three), degree=1
    )
    assert any_depth(never).verdict == "refuted"
    assert any_depth(table.assign(degree=table["bound"] + 1)).verdict == "refuted"


def test_lemma_8_counts():
    assert lemma_8(1, max_order=2).verdict == "confirmed"
    assert len(list(even_places(1, 2))) == 2
    assert len(list(even_places(2, 2))) == 8
    # all four places of one sample: three pairings; two of each: one
    assert len(list(word_terms((0, 0, 0, 0)))) == 3
    assert len(list(word_terms((0, 1, 1, 0)))) == 1


def test_lemma_1_and_the_gradients_of_the_models():
    """The gradients are those of ½ (f − y)², by central differences."""
    assert lemma_1_for_any_model(0).verdict == "confirmed"
    rng = np.random.default_rng(5)
    x, y = fractions(rng, (2,)).astype(float), 0.7

    def losses(w):
        a, c = w[0], w[1:]
        z = c @ x if len(c) == 2 else 0.0
        values = ((w[:2] @ x) ** 2, a * z, a * z / (1 + z * z))
        return [0.5 * (value - y) ** 2 for value in values]

    for which, (gradient, extra) in enumerate(MODELS.values()):
        w = rng.standard_normal(2 + extra)
        found = gradient(w, x, y)
        for k in range(len(w)):
            shift = np.zeros(len(w))
            shift[k] = 1e-5
            slope = (losses(w + shift)[which] - losses(w - shift)[which]) / 2e-5
            assert found[k] == pytest.approx(slope, rel=1e-6, abs=1e-8)


def test_the_held_out_loss():
    problem = random_regression(np.random.default_rng(0), 5, 2)
    assert held_out_loss_falls(problem, None).verdict == "confirmed"
    rows = [
        ("sgd", b, step, 1.0, 1.0, 0.0, 0.1 / b, 0.2 / b) for step in (0, 1, 2) for b in (1, 2, 4)
    ]
    names = ["optimiser", "b", "step", "training_loss", "test_loss", "gap"]
    table = pd.DataFrame(rows, columns=[*names, "training_noise", "test_noise"])
    found = held_out_loss_falls(problem, table)
    assert found.verdict == "confirmed"
    assert "in 4 of 4 cases and rises in 0" in found.evidence
    rising = table.assign(test_noise=table["b"] * 0.1)
    assert held_out_loss_falls(problem, rising).verdict == "refuted"


def curve(losses, scheme="epochs", rate=0.1):
    return pd.DataFrame(
        [(scheme, rate, b, 6, loss) for b, loss in zip((1, 2, 4), losses, strict=True)],
        columns=["scheme", "learning_rate", "b", "epoch", "loss"],
    )


def test_monotone_after_equal_epochs():
    up, down, neither = curve([1.0, 2.0, 3.0]), curve([3.0, 2.0, 1.0], rate=0.2), curve([2, 1, 2])
    assert monotone_after_equal_epochs(pd.concat([up, down])).verdict == "confirmed"
    found = monotone_after_equal_epochs(pd.concat([down, neither]))
    assert found.verdict == "refuted"
    assert "For epochs at α = 0.1 it is 2 at b = 1, 1 at b = 2, 2 at b = 4" in found.evidence
    # what is drawn afresh is not in epochs
    fresh = curve([2.0, 1.0, 2.0], scheme="fresh")
    assert monotone_after_equal_epochs(pd.concat([up, fresh])).verdict == "confirmed"


def variance_rows(value, sizes, inits, steps=(0, 5), runs=100):
    rows = []
    for init in inits:
        for b in sizes:
            for step in steps:
                v = value(b, init)
                rows.append((init, b, step, 0, "stochastic_gradient", "all", "sample", v, 1e-3 * v))
    names = [
        "init", "b", "step", "epoch", "quantity", "tensor", "estimator", "variance", "std_error",
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=names).assign(n_runs=runs, dof=runs - 1, reliable=True)


def test_the_order_on_mnist():
    rows = variance_rows(lambda b, _: 1 / b, (64, 128, 256, 512), (0,))
    assert decreasing_on_mnist(rows, FIGURE_4).verdict == "confirmed"
    rising = variance_rows(lambda b, _: b, (64, 128, 256, 512), (0,))
    assert decreasing_on_mnist(rising, FIGURE_4).verdict == "refuted"
    # an iteration that only the smaller batch size reaches is not a comparison
    longer = pd.concat([rows, variance_rows(lambda b, _: 1.0, (64,), (0,), steps=(9,))])
    found = decreasing_on_mnist(longer, FIGURE_4)
    assert (found.verdict, found.n_comparisons) == ("confirmed", 6)
    # one at which runs have diverged is, and stays open
    lost = rows.assign(variance=rows["variance"].mask((rows["b"] == 512) & (rows["step"] == 5)))
    found = decreasing_on_mnist(lost, FIGURE_4)
    assert (found.verdict, found.n_comparisons) == ("partly", 6)
    small = dataclasses.replace(FIGURE_4, problem=FIGURE_4.problem | {"training_examples": 100})
    assert decreasing_on_mnist(rows, small).verdict == "not tested at this scale"


def test_the_sensitivity_to_initial_weights():
    near = variance_rows(lambda b, init: (1 + 0.1 * init) / b, (64, 128), range(5))
    found = little_sensitive(near, FIGURE_3A)
    assert (found.verdict, found.n_comparisons) == ("confirmed", 5 * 4 * 2 * 2)
    far = variance_rows(lambda b, init: (1 + 2.0 * init) / b, (64, 128), range(5))
    assert little_sensitive(far, FIGURE_3A).verdict == "refuted"
    one = variance_rows(lambda b, _: 1 / b, (64, 128), (0,))
    assert little_sensitive(one, FIGURE_3A).verdict == "not tested at this scale"
