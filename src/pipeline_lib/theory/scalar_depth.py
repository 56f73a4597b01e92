"""Scalar linear networks of any depth: exact polynomials in 1/b, and their degrees.

One unit in each of L layers: x ↦ w_L ⋯ w_1 x, target product w*. With e = w_L ⋯ w_1 − w* and
s = (1/b) Σ x², where E s^k = Π_{j<k} (1 + 2j/b),

    g_k = G_k s,   G_k = e Π_{j≠k} w_j,   w_k <- w_k − α_t g_k.

Given the initial weights, G_k at step t is a polynomial in s_0, …, s_{t−1} with rational
coefficients. It is expanded, and the expectation taken power by power. `scalar_network` does the
same for L = 2 in better coordinates and reaches later steps. L = 3 at t = 2 takes 0.1 s, L = 5
half a second; at t = 3 the powers of s_0 alone reach 2 (2L − 1)³.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from flint import Ordering as MonomialOrder
from flint import fmpq, fmpq_mpoly, fmpq_mpoly_ctx, fmpq_poly

from pipeline_lib.theory.batch_polynomial import Rational, as_rational
from pipeline_lib.theory.matrix_network import LayerVariance
from pipeline_lib.theory.scalar_network import checked_rates, moment_polynomials


@dataclass(frozen=True)
class DeepScalarNetwork:
    """Initial weights w_1, …, w_L and the teacher's product w*, all exact rationals."""

    weights: tuple[Rational, ...]
    target: Rational

    @property
    def depth(self) -> int:
        return len(self.weights)


def deep_scalar_variances(
    network: DeepScalarNetwork, learning_rates: Sequence[Rational], step: int
) -> list[LayerVariance]:
    """var(g_{t,k} | F_0) and var(G_{t,k} | F_0) of every layer at t = step, in powers of 1/b.

    Args:
        learning_rates: α_0, α_1, …, of which the first ``step`` are used.

    Raises:
        ValueError: no layers, a negative step, or too few learning rates.
    """
    if not network.weights:
        raise ValueError("a network needs at least one layer")
    rates = checked_rates(learning_rates, step)
    names = tuple(f"s{k}" for k in range(step)) or ("s0",)
    context = fmpq_mpoly_ctx.get(names, MonomialOrder.lex)
    weights = [context.constant(as_rational(value)) for value in network.weights]
    target = context.constant(as_rational(network.target))
    for s, rate in zip(context.gens(), rates, strict=False):
        gradients = _gradients(weights, target)
        weights = [w - g * s * rate for w, g in zip(weights, gradients, strict=True)]
    second_moment = fmpq_poly([1, 2])
    result = []
    for gradient in _gradients(weights, target):
        square, mean = expectation(gradient * gradient), expectation(gradient)
        result.append(LayerVariance(second_moment * square - mean**2, square - mean**2))
    return result


def expectation(polynomial: fmpq_mpoly) -> fmpq_poly:
    """E of a polynomial in independent s_0, s_1, …, as a polynomial in 1/b."""
    terms = {
        tuple(map(int, powers)): fmpq_poly([fmpq(value)])
        for powers, value in polynomial.to_dict().items()
    }
    highest = max((power for powers in terms for power in powers), default=0)
    moments = moment_polynomials(highest)
    # One variable after the other, the last first: few products of long polynomials are left.
    while any(terms):
        shorter: dict[tuple[int, ...], fmpq_poly] = {}
        for powers, value in terms.items():
            rest = powers[:-1]
            added = value * moments[powers[-1]]
            shorter[rest] = shorter[rest] + added if rest in shorter else added
        terms = shorter
    return terms.get((), fmpq_poly([]))


def _gradients(weights: Sequence[fmpq_mpoly], target: fmpq_mpoly) -> list[fmpq_mpoly]:
    """G_k = e Π_{j≠k} w_j of every layer."""
    before = [target * 0 + 1]
    for w in weights:
        before.append(before[-1] * w)
    error = before.pop() - target
    result, after = [], target * 0 + 1
    for w, product in zip(reversed(weights), reversed(before), strict=True):
        result.append(error * product * after)
        after = after * w
    return result[::-1]
