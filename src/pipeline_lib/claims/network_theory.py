"""T6 to T10: what Section 3.2 of the paper claims of networks and Gaussian samples."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import product
from math import prod

import numpy as np
import pandas as pd
from flint import Ordering as MonomialOrder
from flint import fmpq, fmpq_mpoly_ctx, fmpq_poly
from numpy.typing import NDArray

from pipeline_lib.claims.catalogue import CLAIMS
from pipeline_lib.claims.verdict import Finding, finding, from_instances, from_parts
from pipeline_lib.estimation.statistics import STOCHASTIC
from pipeline_lib.theory.batch_polynomial import Rational, as_rational
from pipeline_lib.theory.scalar_depth import expectation
from pipeline_lib.theory.scalar_network import ScalarNetwork, checked_rates, variance_at_step
from pipeline_lib.theory.wick import gaussian_word_mean, wick_terms

Floats = NDArray[np.float64]
Pattern = tuple[int, ...]

_AGREE = 1e-12


def lemma_7(seed: int, dimension: int = 2, max_order: int = 4) -> Finding:
    """T6: Wick's theorem against quadrature for m = 1, …, max_order, with random matrices A_j.

    Every term must use each A_j once; the values must agree to 1e-12 of their largest entry.
    """
    rng = np.random.default_rng(seed)
    matrices = [rng.standard_normal((dimension, dimension)) for _ in range(max_order - 1)]
    right, counts, worst = [], [], 0.0
    for order in range(1, max_order + 1):
        terms = wick_terms(order)
        letters = [
            sorted(j for word in (*term.cycles, term.path) for j, _ in word) for term in terms
        ]
        closed = gaussian_word_mean(matrices[: order - 1], dimension)
        direct = quadrature_word_mean(matrices[: order - 1], dimension)
        error = float(np.abs(closed - direct).max() / np.abs(direct).max())
        worst = max(worst, error)
        counts.append(len(terms))
        right.append(error < _AGREE and all(one == list(range(order - 1)) for one in letters))
    evidence = (
        f"For m = 1 to {max_order} there are {', '.join(map(str, counts))} terms, and the sum "
        f"differs from quadrature by at most {worst:.1e} of its largest entry (p = {dimension})."
    )
    return finding(
        CLAIMS["T6"], from_instances(right), evidence, exact=True, n_comparisons=len(right)
    )


def quadrature_word_mean(matrices: Sequence[Floats], dimension: int) -> Floats:
    """`E[x xᵀ A₁ x xᵀ ⋯ x xᵀ]` by Gauss-Hermite quadrature, exact for its degree 2m."""
    order = len(matrices) + 1
    nodes, weights = np.polynomial.hermite_e.hermegauss(order + 1)
    weights = weights / weights.sum()
    total = np.zeros((dimension, dimension))
    for index in product(range(len(nodes)), repeat=dimension):
        chosen = list(index)
        x = nodes[chosen]
        scalar = prod(float(x @ matrix @ x) for matrix in matrices)
        total += float(weights[chosen].prod()) * scalar * np.outer(x, x)
    return total


def theorem_4_degree(degrees: pd.DataFrame, artefact: str | None = None) -> Finding:
    """T7: the exact degrees of the ``scalar_degrees`` artefact against the two bounds."""
    rows = degrees[degrees["quantity"] == STOCHASTIC].sort_values(["step", "tensor"])
    stated = (rows["degree"] <= rows["bound_stated"]).to_numpy()
    formula = (rows["degree"] <= rows["bound_formula"]).to_numpy()
    tight = (rows["degree"] == rows["tight"]).to_numpy()
    by_step = rows.groupby("step")[["degree", "bound_stated", "bound_formula"]].max()
    listed = ", ".join(
        f"{row.degree} (bounds {row.bound_stated} and {row.bound_formula}) at t = {step}"
        for step, row in zip(by_step.index, by_step.itertuples(), strict=True)
    )
    evidence = (
        f"Exact degrees: {listed}. The bound in words holds for {stated.sum()} of {len(rows)} "
        f"polynomials, the one in the display for {formula.sum()}; 3^(t+1) - t - 2 is the exact "
        f"degree of {tight.sum()}."
    )
    verdict = from_parts([bool(stated.all()), bool(formula.all())])
    return finding(
        CLAIMS["T7"],
        verdict,
        evidence,
        exact=True,
        n_comparisons=2 * len(rows),
        artefact=artefact,
    )


def theorem_4_proof(
    network: ScalarNetwork, learning_rates: Sequence[Rational], max_step: int = 2
) -> Finding:
    """T8: var(g_{t,1} | F_0) against 1/b times that of one sample's term, as polynomials in 1/b.

    The single-sample term is G x² with G the population gradient at W_t; its variance is
    `3 E G² − (E G)²` by `E x⁴ = 3`. The samples of a mini-batch share W_t, so that by the law of
    total variance `var(g_t) = (1/b) var(G x²) + (1 − 1/b) var(G)`, which is checked too. The last
    sum of the proof, `Σ_{k≥1} ((p+1) γ_k − γ'_k)/b^k`, is compared at t = 0.
    """
    inverse = fmpq_poly([0, 1])
    printed, mended = [], []
    for step in range(max_step + 1):
        mean, square = population_moments(network, learning_rates, step)
        single = 3 * square - mean * mean
        truth = variance_at_step(network, learning_rates, step).g1
        printed.append(truth == inverse * single)
        mended.append(truth == inverse * single + (1 - inverse) * (square - mean * mean))
    mean, square = population_moments(network, learning_rates, 0)
    # p = 1; γ and γ' are the coefficients of E G² and (E G)², constants at t = 0
    as_printed = sum(
        ((2 * square[k] - (mean * mean)[k]) * inverse**k for k in range(1, 3)), fmpq_poly([])
    )
    shifted = inverse * (2 * square - mean * mean)
    mended_sum = inverse * (3 * square - mean * mean)
    truth = variance_at_step(network, learning_rates, 0).g1
    evidence = (
        f"Of t = 0 to {max_step} the two polynomials are equal at t = {_where(printed)}; with "
        f"(1 - 1/b) var(∇L(W_t)) added, at t = {_where(mended)}. At t = 0 and b = 1 "
        f"the variance is {truth(fmpq(1))}; the proof's last sum gives {as_printed(fmpq(1))}, with "
        f"the index mended {shifted(fmpq(1))}, with p + 2 for p + 1 also "
        f"{mended_sum(fmpq(1))}."
    )
    verdict = from_instances(printed)
    return finding(CLAIMS["T8"], verdict, evidence, exact=True, n_comparisons=len(printed))


def population_moments(
    network: ScalarNetwork, learning_rates: Sequence[Rational], step: int
) -> tuple[fmpq_poly, fmpq_poly]:
    """`E G` and `E G²` of G = W_{t,2} (W_{t,2} W_{t,1} − w*), as polynomials in 1/b.

    By substitution: G as a polynomial in s_0, …, s_{t−1}, then `E s^k` monomial by monomial, with
    no use of the recursion of `theory.scalar_network`.
    """
    names = tuple(f"s{k}" for k in range(step)) or ("s0",)
    context = fmpq_mpoly_ctx.get(names, MonomialOrder.lex)
    w1, w2, target = (
        context.constant(as_rational(value)) for value in (network.w1, network.w2, network.target)
    )
    for s, rate in zip(context.gens(), checked_rates(learning_rates, step), strict=False):
        move = (w2 * w1 - target) * s * rate
        w1, w2 = w1 - move * w2, w2 - move * w1
    gradient = w2 * (w2 * w1 - target)
    return expectation(gradient), expectation(gradient * gradient)


def theorem_5(degrees: pd.DataFrame, artefact: str | None = None) -> Finding:
    """T9: b_0 of every stochastic gradient in the ``scalar_degrees`` artefact.

    A variance that does not depend on b decreases, not strictly, from b = 1 on.
    """
    rows = degrees[degrees["quantity"] == STOCHASTIC]
    start = rows["decreasing_from_integer"].mask(rows["degree"] == 0, 1)
    known = start.notna().to_numpy()
    largest = int(start.max()) if known.any() else None
    constant = int((rows["degree"] == 0).sum())
    evidence = (
        f"{known.sum()} of {len(rows)} exact polynomials (t = 0 to {rows['step'].max()}"
        f"{f', {constant} of them constant' if constant else ''}) decrease "
        f"from some b_0 on; the largest b_0 is {largest}. "
        "In its own network the paper saw that 4 is enough."
    )
    verdict = from_instances([bool(one) for one in known])
    return finding(
        CLAIMS["T9"], verdict, evidence, exact=True, n_comparisons=len(rows), artefact=artefact
    )


def class_sizes(n_factors: int, batch_size: int) -> Counter[Pattern]:
    """How many of the b^d index tuples have each pattern of equal indices (first seen is 0, …)."""
    sizes: Counter[Pattern] = Counter()
    for indices in product(range(batch_size), repeat=n_factors):
        seen: dict[int, int] = {}
        sizes[tuple(seen.setdefault(index, len(seen)) for index in indices)] += 1
    return sizes


def lemma_3_digits(n_factors: int, sizes: Mapping[int, Mapping[Pattern, int]]) -> Finding:
    """T10: base-b digits of the class sizes at several b, given as ``sizes[b][class]``."""
    classes = sorted({pattern for at in sizes.values() for pattern in at})
    constant, falling = [], []
    for pattern in classes:
        digits = {_digits(sizes[b].get(pattern, 0), b, n_factors + 1) for b in sizes}
        constant.append(len(digits) == 1)
        blocks = len(set(pattern))
        falling += [sizes[b].get(pattern, 0) == prod(range(b - blocks + 1, b + 1)) for b in sizes]
    changing = [p for p, same in zip(classes, constant, strict=True) if not same]
    example = ""
    if changing:
        shown = ", ".join(
            f"{sizes[b].get(changing[0], 0)} = "
            f"{_digits(sizes[b].get(changing[0], 0), b, n_factors + 1)} at b = {b}"
            for b in list(sizes)[:3]
        )
        example = f" The class {changing[0]} has {shown} (lowest digit first)."
    evidence = (
        f"For {n_factors} factors and b = {min(sizes)} to {max(sizes)} the digits are the same at "
        f"every b for {sum(constant)} of {len(classes)} classes.{example} The falling factorial "
        f"b(b-1)...(b-k+1) of k different indices is right in {sum(falling)} of {len(falling)} "
        "cases: a polynomial in b with fixed coefficients and no constant term."
    )
    verdict = from_instances(constant)
    return finding(CLAIMS["T10"], verdict, evidence, exact=True, n_comparisons=len(classes))


def _digits(value: int, base: int, count: int) -> tuple[int, ...]:
    digits = []
    for _ in range(count):
        value, digit = divmod(value, base)
        digits.append(digit)
    return tuple(digits)


def _where(holds: Sequence[bool]) -> str:
    return ", ".join(str(step) for step, one in enumerate(holds) if one) or "no step"
