"""T4 and H2: linear regression at every batch size and step, from the exact engine.

The values are those of `theory.linear_regression`, the certified signs those of
`theory.polynomial`; Theorem 2, which speaks of every matrix B, is checked in fractions.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline_lib.claims.catalogue import CLAIMS
from pipeline_lib.claims.enumeration import (
    SmallRegression,
    gradient_covariances,
    is_nonnegative_definite,
)
from pipeline_lib.claims.ordering import ROUNDING
from pipeline_lib.claims.verdict import Finding, Verdict, finding, untested
from pipeline_lib.theory.linear_regression import exact_moments
from pipeline_lib.theory.polynomial import variance_polynomials

Floats = NDArray[np.float64]


def corollary_1(
    problem: SmallRegression,
    features: ArrayLike,
    target: ArrayLike,
    initial_weights: ArrayLike,
    learning_rates: Sequence[float],
    polynomial_steps: Sequence[int],
    artefact: str | None = None,
) -> Finding:
    """T4: both variances at every b in [1, n] and every t, signs of their coefficients in c_b, and
    the order of the covariance matrices on a small problem, which is Theorem 2 for all B at once.

    var(B g) falls in b for every matrix B exactly if the covariance matrices fall in the order of
    nonnegative definite matrices; this is checked in fractions on ``problem``. Strictness is asked
    of g_t at every t and of ∇L(w_t) for t ≥ 1, since ∇L(w_0) is not random.
    """
    n = len(np.asarray(target))
    moments = exact_moments(features, target, initial_weights, learning_rates, np.arange(1, n + 1))
    values = np.concatenate([moments.stochastic_gradient, moments.full_gradient[1:]])
    n_steps = len(moments.stochastic_gradient)
    falls, rises = _changes(values)
    polynomials = [
        one
        for one in variance_polynomials(
            features, target, initial_weights, learning_rates, polynomial_steps
        )
        if one.basis == "batch_factor"
    ]
    coefficients = [c for one in polynomials for c in one.coefficients]
    negative = sum(not bool(c >= 0) for c in coefficients)
    ordered = loewner_order(problem, max_step=2)
    verdict: Verdict = (
        "refuted"
        if rises or not all(ordered)
        else "confirmed"
        if falls == len(values) * (n - 1) and not negative
        else "partly"
    )
    certified = (
        f"{negative} of {len(coefficients)} certified coefficients in c_b at t = "
        f"{', '.join(map(str, polynomial_steps))} are negative or undecided. "
        if polynomial_steps
        else ""
    )
    evidence = (
        f"From b to b + 1 the exact variances strictly fall in {falls:,} of "
        f"{len(values) * (n - 1):,} cases and rise in {rises:,} (n = {n}, {n_steps:,} iterations, "
        f"both gradients). {certified}On a problem with n = "
        f"{problem.n}, {sum(ordered)} of {len(ordered)} covariance matrices fall for every B."
    )
    count = len(values) * (n - 1) + len(ordered)
    return finding(
        CLAIMS["T4"], verdict, evidence, exact=True, n_comparisons=count, artefact=artefact
    )


def loewner_order(problem: SmallRegression, max_step: int) -> list[bool]:
    """Whether Cov_b − Cov_{b+1} is nonnegative definite, for both gradients, every b and t."""
    result = []
    for step in range(max_step + 1):
        sizes = (gradient_covariances(problem, b, step) for b in range(1, problem.n + 1))
        for one, two in pairwise(sizes):
            result += [is_nonnegative_definite(a - b) for a, b in zip(one, two, strict=True)]
    return result


def expected_loss(
    features: ArrayLike,
    target: ArrayLike,
    initial_weights: ArrayLike,
    learning_rates: Sequence[float],
    artefact: str | None = None,
) -> Finding:
    """H2: E[L(w_t) | F_0] at every b in [1, n] and every t ≥ 1 (at t = 0 it does not depend on b).

    By theory it is L(E w_t) + ½ tr(H Cov w_t), whose first term does not depend on b.
    """
    n = len(np.asarray(target))
    moments = exact_moments(features, target, initial_weights, learning_rates, np.arange(1, n + 1))
    losses = moments.expected_loss[1:]
    if not len(losses):
        return untested(CLAIMS["H2"], "There is no step after the first.", "2 iterations")
    # The part that depends on b is small beside the loss itself: what is below the rounding of
    # the loss counts as neither.
    falls, rises = _changes(losses)
    count = losses.size - len(losses)
    verdict: Verdict = "refuted" if rises else "confirmed" if falls == count else "partly"
    evidence = (
        f"From b to b + 1 the expected loss strictly falls in {falls:,} of {count:,} cases and "
        f"rises in {rises:,} (n = {n}, t = 1 to {len(losses):,}); at t = {len(losses):,} it is "
        f"{losses[-1, 0]:.6g} for b = 1 and {losses[-1, -1]:.6g} for b = n."
    )
    return finding(
        CLAIMS["H2"], verdict, evidence, exact=True, n_comparisons=count, artefact=artefact
    )


def _changes(values: Floats) -> tuple[int, int]:
    """Strict decreases and increases along the last axis, beyond rounding."""
    left, right = values[..., :-1], values[..., 1:]
    apart = np.abs(left - right) > ROUNDING * np.maximum(np.abs(left), np.abs(right))
    return int((apart & (left > right)).sum()), int((apart & (left < right)).sum())
