"""T1 to T5 and H2: enumeration against the exact engine, and verdicts on planted data."""

from fractions import Fraction

import numpy as np
import pytest

from pipeline_lib.claims import linear_exact, linear_theory
from pipeline_lib.claims.enumeration import (
    batch_factor,
    gradient_covariances,
    is_nonnegative_definite,
    random_regression,
    trace,
    weights_at,
)
from pipeline_lib.claims.linear_exact import corollary_1, expected_loss, loewner_order
from pipeline_lib.claims.linear_theory import (
    degree_in_linear_regression,
    interpolated_degree,
    lemma_1,
    lemma_2,
    lemma_2_terms,
    small_problem,
    theorem_1,
)
from pipeline_lib.theory.linear_regression import exact_moments
from pipeline_lib.theory.polynomial import variance_polynomials
from pipeline_lib.theory.tables import polynomial_table

SEEDS = range(3)


def floats(problem):
    return tuple(np.asarray(a, np.float64) for a in (problem.x, problem.y, problem.w0))


@pytest.mark.parametrize("seed", SEEDS)
def test_enumeration_gives_the_exact_moments(seed):
    problem = random_regression(np.random.default_rng(seed))
    rates = [float(rate) for rate in problem.learning_rates]
    moments = exact_moments(*floats(problem), rates, np.arange(1, 6))
    for b in range(1, 6):
        assert len(weights_at(problem, b, 2)) == [25, 100, 100, 25, 1][b - 1]
        for step in range(3):
            stochastic, full = gradient_covariances(problem, b, step)
            scale = moments.stochastic_gradient.max()
            at = (step, b - 1)
            assert float(trace(stochastic)) == pytest.approx(
                moments.stochastic_gradient[at], rel=1e-10, abs=1e-12 * scale
            )
            assert float(trace(full)) == pytest.approx(
                moments.full_gradient[at], rel=1e-10, abs=1e-12 * scale
            )


@pytest.mark.parametrize("seed", SEEDS)
def test_lemma_1_holds_and_its_display_without_a_does_not(seed, monkeypatch):
    problem, matrices = small_problem(seed)
    found = lemma_1(problem, matrices)
    assert found.n_comparisons == len(matrices) * problem.n
    assert (found.verdict, found.exact, found.p_value) == ("confirmed", True, None)
    # b = n, where both sides are 0 whatever A is
    assert f"without A, as displayed, in {len(matrices)}." in found.evidence
    monkeypatch.setattr(linear_theory, "batch_factor", lambda b, n: Fraction(1, b))
    assert lemma_1(problem, matrices).verdict == "refuted"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("step", [0, 1])
def test_lemma_2_needs_half_the_coefficient(seed, step):
    problem, matrices = small_problem(seed)
    for b in (1, 2, 4):
        left, first, difference, total = lemma_2_terms(problem, matrices, b, step)
        weight = problem.learning_rates[step] ** 2 * batch_factor(b, 5) / Fraction(25)
        assert left == first + weight * difference / 2
        assert left not in (first + weight * difference, first + weight * total)
        found = lemma_2(problem, matrices, b, step)
        assert found.verdict == "refuted"
        assert "equal to the left" in found.evidence
    # at b = n the coefficient is zero, and the lemma as printed is true
    assert lemma_2(problem, matrices, 5, step).verdict == "confirmed"


def test_theorem_1_and_a_planted_increase(monkeypatch):
    problem, matrices = small_problem(4)
    found = theorem_1(problem, [matrices], 2)
    assert (found.verdict, found.n_comparisons) == ("confirmed", 12)
    assert "12 of 12 cases and strictly falls in 8" in found.evidence  # of t = 1 and 2
    monkeypatch.setattr(linear_theory, "second_moment", lambda problem, b, *rest: Fraction(b))
    assert theorem_1(problem, [matrices], 2).verdict == "refuted"


def test_corollary_1_on_random_data_and_on_planted_variances(monkeypatch):
    problem, _ = small_problem(5)
    rng = np.random.default_rng(5)
    data = rng.standard_normal((12, 2)), rng.standard_normal(12), rng.standard_normal(2)
    rates = [0.3] * 6
    found = corollary_1(problem, *data, rates, [1, 4])
    assert found.verdict == "confirmed"
    assert found.n_comparisons == 11 * (6 + 5) + 24
    assert found.p_value is None

    def planted(*arguments):
        moments = exact_moments(*arguments)
        moments.stochastic_gradient[3, 4] *= 10
        return moments

    monkeypatch.setattr(linear_exact, "exact_moments", planted)
    refuted = corollary_1(problem, *data, rates, [1, 4])
    assert refuted.verdict == "refuted"
    assert "and rise in 1 " in refuted.evidence


def test_covariances_fall_for_every_matrix_b():
    problem = random_regression(np.random.default_rng(6), n=4, p=3)
    assert all(loewner_order(problem, 2))
    one = np.array([[Fraction(1), Fraction(2)], [Fraction(2), Fraction(3)]], dtype=object)
    assert not is_nonnegative_definite(one)  # determinant −1
    one[1, 1] = Fraction(4)
    assert is_nonnegative_definite(one)  # determinant 0
    one[0, 0] = Fraction(0)
    assert not is_nonnegative_definite(one)


def test_the_degree_is_t_plus_1_and_planted_degrees_are_seen():
    problem, _ = small_problem(7)
    assert degree_in_linear_regression(problem, 2).verdict == "confirmed"
    with pytest.raises(ValueError, match="at most n - 3"):
        degree_in_linear_regression(problem, 3)
    polynomial = polynomial_table(
        variance_polynomials(*floats(problem), problem.learning_rates, [1, 3]), init=0
    )
    found = degree_in_linear_regression(problem, 2, polynomial)
    assert (found.verdict, found.n_comparisons) == ("confirmed", 5)
    assert "2 at t = 1, 4 at t = 3" in found.evidence
    top = (polynomial["step"] == 3) & (polynomial["power"] == 4)
    planted = polynomial.assign(
        coefficient_decimal=np.where(top, "0", polynomial["coefficient_decimal"])
    )
    assert degree_in_linear_regression(problem, 2, planted).verdict == "refuted"


def test_interpolated_degree():
    points = [Fraction(1, b) for b in range(1, 7)]
    assert interpolated_degree(points, [3 * x**4 - x for x in points]) == 4
    assert interpolated_degree(points, [Fraction(2)] * 6) == 0
    assert interpolated_degree(points, [Fraction(0)] * 6) == -1


def test_expected_loss_falls_in_b_and_a_planted_rise_is_seen(monkeypatch):
    rng = np.random.default_rng(8)
    data = rng.standard_normal((10, 2)), rng.standard_normal(10), rng.standard_normal(2)
    found = expected_loss(*data, [0.2] * 8)
    assert (found.verdict, found.n_comparisons) == ("confirmed", 7 * 9)

    def planted(*arguments):
        moments = exact_moments(*arguments)
        moments.expected_loss[5, 5] += 1
        return moments

    monkeypatch.setattr(linear_exact, "exact_moments", planted)
    assert expected_loss(*data, [0.2] * 8).verdict == "refuted"


def test_findings_repeat():
    problem, matrices = small_problem(9)
    again, same = small_problem(9)
    assert lemma_2(problem, matrices, 2) == lemma_2(again, same, 2)
