"""The scalar two-layer network: the variance of its gradients as an exact polynomial in 1/b.

The network of Section 3.2 with p = p1 = p2 = 1: weights w = (w₁, w₂), target product w*, loss
`½ E (w₂w₁x − w*x)²` (mean over the mini-batch). With e = w₂w₁ − w* and s = (1/b) Σ x²,

    g₁ = w₂ e s,  g₂ = w₁ e s,  w ← w − α_t g,  E s^k = M_k(1/b) = Π_{j<k} (1 + 2j/b).

Method. In u = w₁ + w₂, v = w₁ − w₂ a step only scales: u ← u(1 − αes), v ← v(1 + αes), with
e = (u² − v²)/4 − w*. A function f of the weights is kept as the coefficients f_ij ∈ Q[1/b] of
u^i v^j, and one step of conditional expectation is

    E f = Σ_k (αe)^k M_k Σ_ij c_ijk f_ij u^i v^j,   Σ_k c_ijk z^k = (1−z)^i (1+z)^j,

summed by Horner's rule in e, a trinomial. The first step of SGD starts from known rational
weights, so there the expectation is a sum of products of polynomials in 1/b alone. Degrees
triple at every step: t ≤ 3 takes 0.2 s, t = 4 about 10 s, and t = 5 does not finish in a minute.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import comb

from flint import fmpq, fmpq_poly, fmpz_poly

from pipeline_lib.theory.batch_polynomial import Rational, as_rational

# the coefficients, polynomials in 1/b, of u^i v^j
_Weights = dict[tuple[int, int], fmpq_poly]


class OutOfTimeError(Exception):
    """The time allowed for an exact computation has run out."""


@dataclass(frozen=True)
class ScalarNetwork:
    """Initial weights w1, w2 and the product w* of the teacher's weights, all exact rationals."""

    w1: Rational
    w2: Rational
    target: Rational


@dataclass(frozen=True)
class ScalarVariance:
    """Variances given the initial weights at one iteration, as polynomials in 1/b over Q.

    g1, g2: of the stochastic gradients; population_g1, population_g2: of the gradients of the
    population loss at the random weights (g without the factor s).
    """

    step: int
    g1: fmpq_poly
    g2: fmpq_poly
    population_g1: fmpq_poly
    population_g2: fmpq_poly


def moment_polynomials(order: int) -> list[fmpq_poly]:
    """`[M_0, …, M_order]`: E s^k = M_k(1/b) = Π_{j<k} (1 + 2j/b), s a mean of b squared N(0, 1)."""
    moments = [fmpq_poly([1])]
    for k in range(order):
        moments.append(moments[-1] * fmpq_poly([1, 2 * k]))
    return moments


def variance_at_step(
    network: ScalarNetwork,
    learning_rates: Sequence[Rational],
    step: int,
    max_seconds: float | None = None,
) -> ScalarVariance:
    """`var(g_{t,i} | F_0)` and the variance of the population gradients at iteration t = step.

    Args:
        network: initial weights and target.
        learning_rates: α_0, α_1, …, of which the first `step` are used.
        step: t ≥ 0; the degrees in 1/b are those of `degree`.
        max_seconds: time allowed; None for no limit.

    Raises:
        ValueError: if `step` is negative or there are fewer than `step` learning rates.
        OutOfTimeError: when the time allowed has run out.

    Source: Section 3.2, Theorem 4, by the law of total expectation and not by its proof.
    """
    rates = checked_rates(learning_rates, step)
    deadline = None if max_seconds is None else time.monotonic() + max_seconds
    w1, w2, target = (as_rational(x) for x in (network.w1, network.w2, network.target))

    def expected(function: _Weights) -> fmpq_poly:
        for rate in reversed(rates[1:]):
            function = _expect_step(function, rate, target, deadline)
        if not rates:
            return _evaluate(function, w1 + w2, w1 - w2)
        return _expect_first_step(function, rates[0], w1 + w2, w1 - w2, target, deadline)

    quarter = fmpq(1, 4)
    gap = _constants({(2, 0): quarter, (0, 2): -quarter, (0, 0): -target})
    gap_squared = _product(gap, gap)
    # w₂² and w₁² are (u² + v²)/4 ∓ uv/2; w₂ and w₁ are (u ∓ v)/2
    even = expected(_product(_constants({(2, 0): quarter, (0, 2): quarter}), gap_squared))
    odd = expected(_product(_constants({(1, 1): fmpq(1, 2)}), gap_squared))
    mean_u = expected(_product(_constants({(1, 0): fmpq(1, 2)}), gap))
    mean_v = expected(_product(_constants({(0, 1): fmpq(1, 2)}), gap))
    square_1, square_2 = even - odd, even + odd
    mean_1, mean_2 = mean_u - mean_v, mean_u + mean_v
    second_moment = fmpq_poly([1, 2])
    return ScalarVariance(
        step=step,
        g1=second_moment * square_1 - mean_1 * mean_1,
        g2=second_moment * square_2 - mean_2 * mean_2,
        population_g1=square_1 - mean_1 * mean_1,
        population_g2=square_2 - mean_2 * mean_2,
    )


def variances(
    network: ScalarNetwork,
    learning_rates: Sequence[Rational],
    max_step: int,
    max_seconds: float = 60.0,
) -> list[ScalarVariance]:
    """The variances at t = 0, 1, …, for as many t ≤ max_step as finish within the time allowed."""
    deadline = time.monotonic() + max_seconds
    done: list[ScalarVariance] = []
    for step in range(max_step + 1):
        try:
            left = deadline - time.monotonic()
            done.append(variance_at_step(network, learning_rates, step, max_seconds=left))
        except OutOfTimeError:
            break
    return done


def checked_rates(learning_rates: Sequence[Rational], step: int) -> list[fmpq]:
    """The first `step` learning rates as exact rationals.

    Raises:
        ValueError: if `step` is negative or there are fewer than `step` of them.
        TypeError: if one is not an exact rational.
    """
    if step < 0:
        raise ValueError(f"step must not be negative, found {step}")
    if len(learning_rates) < step:
        raise ValueError(f"step {step} needs {step} learning rates, found {len(learning_rates)}")
    return [as_rational(rate) for rate in learning_rates[:step]]


def _constants(values: dict[tuple[int, int], fmpq]) -> _Weights:
    return {powers: fmpq_poly([value]) for powers, value in values.items() if value != 0}


def _product(f: _Weights, g: _Weights) -> _Weights:
    result: _Weights = {}
    for (i, j), p in f.items():
        for (k, m), q in g.items():
            _add(result, (i + k, j + m), p * q)
    return result


def _add(target: _Weights, powers: tuple[int, int], value: fmpq_poly) -> None:
    target[powers] = target[powers] + value if powers in target else value


def _evaluate(f: _Weights, u: fmpq, v: fmpq) -> fmpq_poly:
    return sum((p * (u**i * v**j) for (i, j), p in f.items()), fmpq_poly([]))


def _check(deadline: float | None) -> None:
    if deadline is not None and time.monotonic() > deadline:
        raise OutOfTimeError


def _expect_step(f: _Weights, rate: fmpq, target: fmpq, deadline: float | None) -> _Weights:
    """The expectation of f(weights after a step), as a function of the weights before it."""
    order = max(i + j for i, j in f)
    moments = moment_polynomials(order)
    quarter, constant = rate / 4, -rate * target
    # (1 − z)^i (1 + z)^j for every monomial u^i v^j
    scale = {(i, j): (fmpz_poly([1, -1]) ** i * fmpz_poly([1, 1]) ** j).coeffs() for i, j in f}
    result: _Weights = {}
    for k in range(order, -1, -1):
        raised: _Weights = {}
        for (i, j), p in result.items():
            _check(deadline)
            q = p * quarter
            _add(raised, (i + 2, j), q)
            _add(raised, (i, j + 2), -q)
            if constant != 0:
                _add(raised, (i, j), p * constant)
        for powers, p in f.items():
            if k <= sum(powers) and scale[powers][k] != 0:
                _add(raised, powers, p * moments[k] * fmpq(scale[powers][k]))
        result = raised
    return result


def _expect_first_step(
    f: _Weights, rate: fmpq, u: fmpq, v: fmpq, target: fmpq, deadline: float | None
) -> fmpq_poly:
    """E f(weights after the first step) from known weights: Σ f_ij u^i v^j L_ij."""
    order = max(i + j for i, j in f)
    z = rate * ((u * u - v * v) / 4 - target)
    terms = [moment * z**k for k, moment in enumerate(moment_polynomials(order))]
    # L_ij = E (1 − zs)^i (1 + zs)^j; L_0j by the binomial theorem, then
    # L_{i+1,j} = 2 L_ij − L_{i,j+1}, because the two factors add up to 2
    row = [
        sum((terms[k] * comb(j, k) for k in range(j + 1)), fmpq_poly([])) for j in range(order + 1)
    ]
    total = fmpq_poly([])
    for i in range(order + 1):
        _check(deadline)
        for j, expectation in enumerate(row):
            if (i, j) in f:
                total += f[i, j] * expectation * (u**i * v**j)
        row = [2 * here - after for here, after in pairwise(row)]
    return total
