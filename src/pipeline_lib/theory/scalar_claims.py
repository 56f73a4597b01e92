"""What the paper claims of the scalar two-layer network, against what holds exactly.

Theorem 4 bounds the degree in 1/b of `var(g_t | F_0)` and its proof takes the mini-batch's variance
for 1/b times that of one sample; Theorem 5 says that the variance decreases from some b₀ on. For
the scalar network the degree has a closed form for every t, the proof's formula is off by a
variance, and at t = 1 the variance decreases for all b, whatever the weights and the rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import factorial

from flint import fmpq, fmpq_poly

from pipeline_lib.theory.batch_polynomial import Rational, as_rational
from pipeline_lib.theory.scalar_network import (
    ScalarNetwork,
    ScalarVariance,
    checked_rates,
    moment_polynomials,
)


def claimed_variance(variance: ScalarVariance, layer: int) -> fmpq_poly:
    """`(1/b) var(W_{t,2}ᵀ 𝒲_t x xᵀ | F_0)`, which the proof of Theorem 4 takes for `var(g_{t,1})`.

    The samples of a mini-batch share the random weights, so their covariance is missing: with G
    the population gradient, `var(g_t) = (1/b) var(single-sample term) + (1 − 1/b) var(G)`. The two
    agree at t = 0 and at b = 1 only, unless G is not random.

    Raises:
        ValueError: if `layer` is not 1 or 2.
    """
    if layer not in (1, 2):
        raise ValueError(f"layer must be 1 or 2, found {layer}")
    total = variance.g1 if layer == 1 else variance.g2
    population = variance.population_g1 if layer == 1 else variance.population_g2
    return total - fmpq_poly([1, -1]) * population


@dataclass(frozen=True)
class DegreeRow:
    """The degree in 1/b of `var(g_t | F_0)` at step t, and the two bounds that Theorem 4 gives."""

    step: int
    exact: int
    stated_bound: int
    formula_bound: int


def degree(step: int) -> int:
    """The degree `3^{t+1} − t − 2` of `var(g_{t,i} | F_0)`, for each layer i and every t ≥ 0.

    Exact when w₁, w₂, w₂w₁ − w* and the learning rates are not zero, by `leading_coefficient`. The
    expectation over s_j, which appears to the power 2·3^{t−j}, adds 2·3^{t−j} − 1.
    """
    if step < 0:
        raise ValueError(f"step must not be negative, found {step}")
    power: int = 3 ** (step + 1)
    return power - step - 2


def degree_table(max_step: int) -> list[DegreeRow]:
    """Exact degree against the bounds 2·3^t (statement) and 2·3^{t+1} (display) of Theorem 4."""
    return [DegreeRow(t, degree(t), 2 * 3**t, 2 * 3 ** (t + 1)) for t in range(max_step + 1)]


def leading_coefficient(
    network: ScalarNetwork, learning_rates: Sequence[Rational], step: int, layer: int
) -> fmpq:
    """The coefficient of `(1/b)^degree(t)` in `var(g_{t,layer} | F_0)`, in closed form.

    Only the top power of every s_j reaches it: D_j = 2·3^{t−j} factors of s_j, whose moment has the
    leading coefficient 2^{D−1} (D−1)!, and the map w ↦ −α e (w₂, w₁) in place of the step. The
    squared mean has a lower degree.

    Raises:
        ValueError: if `layer` is not 1 or 2, `step` is negative or learning rates are missing.
    """
    if layer not in (1, 2):
        raise ValueError(f"layer must be 1 or 2, found {layer}")
    rates = checked_rates(learning_rates, step)
    w1, w2, target = (as_rational(x) for x in (network.w1, network.w2, network.target))
    e = w1 * w2 - target
    orders = [2 * 3**j for j in range(step + 1)]
    value = fmpq(1)
    for order in orders:
        value *= 2 ** (order - 1) * factorial(order - 1)
    # the monomial w1^a w2^b e^c with c = 2 at step t; going back, e ↦ its top form w1 w2
    a, b, c = (0, 2, 2) if layer == 1 else (2, 0, 2)
    for rate in reversed(rates):
        a, b = b + c, a + c
        c = a + b
        value *= rate**c
    return value * w1**a * w2**b * e**c


def first_step_minors(population: bool) -> list[fmpq_poly]:
    """Leading principal minors, in y = 1/b, of a matrix that settles Theorem 5 at t = 1.

    At t = 1 the population gradient is a cubic h in s, with coefficients that do not depend on b,
    and the variance of g_1 is a quadratic form in them: with M_k the moments of s,
    `var h(s) = Σ h_i h_j (M_{i+j} − M_i M_j)`, i, j = 1, 2, 3, for the population gradient, and
    `Σ h_i h_j ((1 + 2y) M_{i+j} − M_i M_j)`, i, j = 0, …, 3, for the stochastic one. If all minors
    of the derivative in y of that matrix are positive at a y, the form's derivative is positive
    there (Sylvester). Positive on (0, 1] for both, as the tests check, hence at t = 1 both
    variances strictly decrease in b ≥ 1 for any weights and learning rate (h not constant for the
    population gradient, h not zero for the stochastic one): b₀ = 1.

    Returns: the minors of order 1 to 3 (population) or 1 to 4 (stochastic).
    """
    factor = fmpq_poly([1]) if population else fmpq_poly([1, 2])
    first = 1 if population else 0
    moments = moment_polynomials(6)
    matrix = [
        [(factor * moments[i + j] - moments[i] * moments[j]).derivative() for j in range(first, 4)]
        for i in range(first, 4)
    ]
    # Bareiss elimination leaves the leading principal minors on the diagonal, by exact divisions
    minors: list[fmpq_poly] = []
    previous = fmpq_poly([1])
    for k in range(len(matrix)):
        minors.append(matrix[k][k])
        for i in range(k + 1, len(matrix)):
            for j in range(k + 1, len(matrix)):
                cross = matrix[k][k] * matrix[i][j] - matrix[i][k] * matrix[k][j]
                matrix[i][j] = cross // previous
        previous = matrix[k][k]
    return minors
