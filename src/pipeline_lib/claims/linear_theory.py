"""T1, T2, T3 and T5: claims on linear regression decided in fractions (see `enumeration`).

All mini-batch sequences of a small problem are gone through, so each is an equation or an order of
exact numbers, as printed in the paper and as corrected.
"""

from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from itertools import pairwise

import numpy as np
import pandas as pd

from pipeline_lib.claims.catalogue import CLAIMS
from pipeline_lib.claims.enumeration import (
    Exact,
    SmallRegression,
    batch_factor,
    batch_gradients,
    covariance,
    fractions,
    gradient_covariances,
    random_regression,
    second_moment,
    sq_norm,
    trace,
)
from pipeline_lib.claims.verdict import Finding, Verdict, finding, from_instances
from pipeline_lib.estimation.statistics import STOCHASTIC


def lemma_1(problem: SmallRegression, matrices: Sequence[Exact]) -> Finding:
    """T1: var(A g) over every mini-batch at the initial weights, every b and A, against Lemma 1.

    The display of the lemma, in the text that we have, shows E where its proof has A; both are
    evaluated, and the verdict is on the form that the proof derives.
    """
    gradients = problem.sample_gradients(problem.w0)
    n = problem.n
    holds, without = [], []
    for b in range(1, n + 1):
        means = list(batch_gradients(problem, problem.w0, b))
        for matrix in matrices:
            left = trace(covariance([matrix @ g for g in means]))
            holds.append(left == batch_factor(b, n) * _spread(gradients @ matrix.T))
            without.append(left == batch_factor(b, n) * _spread(gradients))
    evidence = (
        f"With A inside both norms the two sides are equal fractions in {sum(holds)} of "
        f"{len(holds)} cases, {len(matrices)} matrices at all {n} batch sizes (p = {problem.p}); "
        f"without A, as displayed, in {sum(without)}."
    )
    return finding(
        CLAIMS["T1"], from_instances(holds), evidence, exact=True, n_comparisons=len(holds)
    )


def lemma_2(problem: SmallRegression, matrices: Sequence[Exact], b: int, step: int = 0) -> Finding:
    """T2: both sides of Lemma 2 at t = step, with the coefficient as printed and with half of it.

    The sign of B_i^{kl} for i = l is + in the lemma and − in its proof; both are evaluated.
    """
    left, first, difference, total = lemma_2_terms(problem, matrices, b, step)
    rate, n = problem.learning_rates[step], problem.n
    weight = rate**2 * batch_factor(b, n) / Fraction(n) ** 2
    printed, printed_sum = first + weight * difference, first + weight * total
    corrected = first + weight * difference / 2
    verdict: Verdict = "confirmed" if left in (printed, printed_sum) else "refuted"
    evidence = (
        f"With n = {n}, p = {problem.p}, b = {b}, t = {step} the left side is {float(left):.7f}; "
        f"the lemma gives {float(printed):.7f} with the signs of its proof and "
        f"{float(printed_sum):.7f} with its own; with α² c_b/(2n²) and the signs of the proof the "
        f"right side is {float(corrected):.7f}, "
        f"{'equal to' if corrected == left else 'different from'} the left as a fraction."
    )
    return finding(CLAIMS["T2"], verdict, evidence, exact=True, n_comparisons=1)


def lemma_2_terms(
    problem: SmallRegression, matrices: Sequence[Exact], b: int, step: int
) -> tuple[Fraction, Fraction, Fraction, Fraction]:
    """The left side of Lemma 2, its first term, and Σ_{k,l} E|A∇L_k ∓ A∇L_l|² with − and with +."""
    n, rate = problem.n, problem.learning_rates[step]
    a = sum(
        (m @ np.outer(x, x) for m, x in zip(matrices, problem.x, strict=True)),
        np.full((problem.p, problem.p), Fraction(0), dtype=object),
    )
    shifted = [m - rate / n * a for m in matrices]
    left = second_moment(problem, b, step + 1, partial(_combine, matrices))
    first = second_moment(problem, b, step, partial(_combine, shifted))
    difference = total = Fraction(0)
    for k in range(n):
        for other in range(n):
            if k != other:
                difference += second_moment(problem, b, step, partial(_two, a, k, other, -1))
                total += second_moment(problem, b, step, partial(_two, a, k, other, 1))
    return left, first, difference, total


def theorem_1(
    problem: SmallRegression, combinations: Sequence[Sequence[Exact]], max_step: int
) -> Finding:
    """T3: E|Σ A_i ∇L_i(w_t)|² at every b from 1 to n and t ≤ max_step, for each set of matrices."""
    pairs = [
        (left, right)
        for matrices in combinations
        for step in range(max_step + 1)
        for left, right in pairwise(
            second_moment(problem, b, step, partial(_combine, matrices))
            for b in range(1, problem.n + 1)
        )
    ]
    keeps = [left >= right for left, right in pairs]
    strict = sum(left > right for left, right in pairs)
    evidence = (
        f"{len(combinations)} sets of matrices, n = {problem.n}, t = 0 to {max_step}: "
        f"from b to b + 1 the expectation does not rise in {sum(keeps)} of {len(keeps)} cases and "
        f"strictly falls in {strict}; at t = 0 it does not depend on b. The induction needs only "
        "the sign of Lemma 2's coefficient."
    )
    return finding(
        CLAIMS["T3"], from_instances(keeps), evidence, exact=True, n_comparisons=len(keeps)
    )


def degree_in_linear_regression(
    problem: SmallRegression,
    max_step: int = 2,
    polynomial: pd.DataFrame | None = None,
    artefact: str | None = None,
) -> Finding:
    """T5: the degree in 1/b of var(g_t), from its values at b = 1, …, n by divided differences.

    ``polynomial``, rows of the artefact of that name, adds the certified degrees at its steps.

    Raises:
        ValueError: unless max_step ≤ n − 3, so that a higher degree than t + 1 would show.
    """
    if max_step > problem.n - 3:
        raise ValueError(f"max_step must be at most n - 3 = {problem.n - 3}, got {max_step}")
    points = [Fraction(1, b) for b in range(1, problem.n + 1)]
    degrees = []
    for step in range(max_step + 1):
        values = [trace(gradient_covariances(problem, b, step)[0]) for b in range(1, problem.n + 1)]
        degrees.append(interpolated_degree(points, values))
    known = list(enumerate(degrees))
    evidence = (
        f"Degrees at t = 0 to {max_step}, from values at all {problem.n} batch sizes: "
        f"{', '.join(map(str, degrees))}."
    )
    if polynomial is not None:
        certified = _certified_degrees(polynomial)
        known += certified
        listed = ", ".join(f"{degree} at t = {step}" for step, degree in certified)
        evidence += f" Certified degrees on the study's data: {listed}."
    as_stated = [degree == step + 1 for step, degree in known]
    return finding(
        CLAIMS["T5"],
        from_instances(as_stated),
        evidence,
        exact=True,
        n_comparisons=len(known),
        artefact=artefact,
    )


def _certified_degrees(polynomial: pd.DataFrame) -> list[tuple[int, int]]:
    rows = polynomial[
        (polynomial["basis"] == "inverse_b")
        & (polynomial["quantity"] == STOCHASTIC)
        & (polynomial["coefficient_decimal"] != "0")
    ]
    top = rows.groupby(["init", "step"])["power"].max()
    steps = top.index.get_level_values("step")
    return list(zip(map(int, steps), map(int, top), strict=True))


def interpolated_degree(points: Sequence[Fraction], values: Sequence[Fraction]) -> int:
    """Degree of the polynomial through all the points, exactly; −1 if it is zero."""
    row, top = list(values), []
    for order in range(len(points)):
        top.append(row[0])
        row = [
            (right - left) / (points[k + order + 1] - points[k])
            for k, (left, right) in enumerate(pairwise(row))
        ]
    return max((order for order, value in enumerate(top) if value != 0), default=-1)


def small_problem(seed: int, n: int = 5, p: int = 2) -> tuple[SmallRegression, list[Exact]]:
    """A random problem and one random matrix (p, p) for each of its samples."""
    rng = np.random.default_rng(seed)
    problem = random_regression(rng, n, p)
    return problem, [fractions(rng, (p, p)) for _ in range(n)]


def small_combinations(seed: int) -> tuple[SmallRegression, list[list[Exact]]]:
    """`small_problem` and three sets of such matrices."""
    problem, matrices = small_problem(seed)
    rng, shape = np.random.default_rng(seed + 1), matrices[0].shape
    return problem, [matrices, *([fractions(rng, shape) for _ in matrices] for _ in range(2))]


def _spread(gradients: Exact) -> Fraction:
    """(1/n) Σ|G_i|² − |mean G|²."""
    n = Fraction(len(gradients))
    squares = sum((sq_norm(g) for g in gradients), Fraction(0))
    return squares / n - sq_norm(gradients.sum(axis=0) / n)


def _combine(matrices: Sequence[Exact], gradients: Exact) -> Exact:
    terms = [m @ g for m, g in zip(matrices, gradients, strict=True)]
    return np.asarray(sum(terms[1:], terms[0]))


def _two(matrix: Exact, k: int, other: int, sign: int, gradients: Exact) -> Exact:
    return np.asarray(matrix @ (gradients[k] + sign * gradients[other]))
