"""T6 to T10 and H1: independent computations agree, and verdicts on planted data."""

import dataclasses
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from flint import fmpq_poly

from pipeline_lib.claims import network_theory
from pipeline_lib.claims.network_theory import (
    class_sizes,
    lemma_3_digits,
    lemma_7,
    population_moments,
    quadrature_word_mean,
    theorem_4_degree,
    theorem_4_proof,
    theorem_5,
)
from pipeline_lib.claims.tails import runs_see_the_variance
from pipeline_lib.theory.heavy_tails import ScalarTraining
from pipeline_lib.theory.scalar_claims import claimed_variance
from pipeline_lib.theory.scalar_network import ScalarNetwork, variances
from pipeline_lib.theory.scalar_tables import degree_rows, repeats_table
from pipeline_lib.theory.wick import gaussian_word_mean

NETWORK = ScalarNetwork(Fraction(3, 2), Fraction(-1, 2), 1)
FIFTH = [Fraction(1, 5)] * 2
INVERSE = fmpq_poly([0, 1])


@pytest.fixture(scope="module")
def exact():
    return variances(NETWORK, FIFTH, 2)


@pytest.fixture(scope="module")
def degrees(exact):
    return degree_rows(exact)


def test_quadrature_of_one_factor_is_the_identity_and_of_two_is_known():
    a = np.array([[1.0, 2.0], [-3.0, 0.5]])
    np.testing.assert_allclose(quadrature_word_mean([], 2), np.eye(2), atol=1e-14)
    np.testing.assert_allclose(
        quadrature_word_mean([a], 2), a + a.T + np.trace(a) * np.eye(2), atol=1e-13
    )


def test_lemma_7_and_a_planted_error(monkeypatch):
    found = lemma_7(3)
    assert found.verdict == "confirmed"
    assert "1, 3, 15, 105 terms" in found.evidence
    monkeypatch.setattr(
        network_theory,
        "gaussian_word_mean",
        lambda matrices, p: gaussian_word_mean(matrices, p) * (1 + 1e-9),
    )
    assert lemma_7(3).verdict == "refuted"


def test_theorem_4_holds_by_its_display_only(degrees):
    found = theorem_4_degree(degrees, "theory/scalar_degrees.parquet")
    assert found.verdict == "partly"
    assert "23 (bounds 18 and 54) at t = 2" in found.evidence
    assert theorem_4_degree(degrees[degrees["step"] < 2]).verdict == "confirmed"
    assert theorem_4_degree(degrees.assign(degree=100)).verdict == "refuted"


def test_substitution_agrees_with_the_recursion(exact):
    for one in exact:
        mean, square = population_moments(NETWORK, FIFTH, one.step)
        assert square - mean * mean == one.population_g1
        assert fmpq_poly([1, 2]) * square - mean * mean == one.g1
        assert INVERSE * (3 * square - mean * mean) == claimed_variance(one, 1)


def test_the_proof_of_theorem_4_fails_after_the_first_step():
    found = theorem_4_proof(NETWORK, FIFTH)
    assert found.verdict == "refuted"
    assert "equal at t = 0; with" in found.evidence
    assert "added, at t = 0, 1, 2." in found.evidence
    # 49/32 = 2 (w2 (w2 w1 − w*))², by hand
    assert Fraction(49, 32) == 2 * (Fraction(-1, 2) * (Fraction(-3, 4) - 1)) ** 2
    assert "is 49/32; the proof's last sum gives 0, with the index mended 49/64" in found.evidence


def test_without_learning_the_proof_is_right():
    assert theorem_4_proof(NETWORK, [0, 0]).verdict == "confirmed"


def test_theorem_5_and_a_planted_variance_that_never_decreases(degrees):
    found = theorem_5(degrees)
    assert found.verdict == "confirmed"
    assert found.n_comparisons == 6
    planted = degrees.assign(decreasing_from_integer=pd.array([None] * len(degrees), "Int32"))
    assert theorem_5(planted).verdict == "refuted"
    # 1 - 1/b grows for ever: exact polynomials can refute the claim
    never = dataclasses.replace(variances(NETWORK, FIFTH, 0)[0], g1=fmpq_poly([1, -1]))
    assert theorem_5(degree_rows([never])).verdict == "refuted"
    # a variance of 0 at every b decreases, not strictly
    still = degree_rows(variances(ScalarNetwork(1, 1, 1), FIFTH, 2))
    assert set(still["degree"]) == {0}
    assert theorem_5(still).verdict == "confirmed"


def test_class_sizes_are_falling_factorials():
    sizes = class_sizes(3, 5)
    assert sizes == {(0, 0, 0): 5, (0, 0, 1): 20, (0, 1, 0): 20, (0, 1, 1): 20, (0, 1, 2): 60}


def test_digits_depend_on_b_and_planted_ones_do_not():
    found = lemma_3_digits(2, {b: class_sizes(2, b) for b in (2, 3, 4)})
    assert found.verdict == "refuted"
    assert "2 = (0, 1, 0) at b = 2, 6 = (0, 2, 0) at b = 3" in found.evidence
    planted = {b: {(0, 0): b, (0, 1): b * b + 1} for b in (2, 3, 4)}
    assert lemma_3_digits(2, planted).verdict == "confirmed"


def repeats(missed, n=1000, b=1, median=0.5):
    rows = len(missed)
    return pd.DataFrame(
        {
            "b": b,
            "step": np.arange(rows),
            "tensor": "W1",
            "estimator": "sample",
            "runs": 1000,
            "repeats": n,
            "median": median,
            "exact": 1.0,
            "missed_below": missed,
            "missed_above": 0.0,
        }
    )


def test_runs_that_miss_the_variance_refute_and_runs_that_see_it_confirm():
    assert runs_see_the_variance(repeats([0.05, 0.9])).verdict == "refuted"
    found = runs_see_the_variance(repeats([0.05, 0.04]))
    assert found.verdict == "confirmed"
    assert found.p_value < 0.05
    half = runs_see_the_variance(repeats([0.01, 0.1]))
    assert half.verdict == "partly"
    assert half.p_value < 0.05
    undecided = runs_see_the_variance(repeats([0.05, 0.1], n=100))
    assert (undecided.verdict, undecided.p_value) == ("not tested at this scale", None)
    assert undecided.scale_needed == "more repeats"
    # only small b is asked about
    other = runs_see_the_variance(repeats([0.9], b=64))
    assert (other.verdict, other.n_comparisons) == ("not tested at this scale", 0)


def test_the_heavy_tailed_network_hides_its_variance():
    table = repeats_table(ScalarTraining(NETWORK, FIFTH, 2), [1], 1000, 40, 1, 0.95)
    assert runs_see_the_variance(table).verdict == "refuted"
    assert runs_see_the_variance(table[table["step"] == 0]).verdict != "refuted"
