"""The two-layer linear network of Section 3.2: exact gradient variances for full-size matrices.

Student W1 (p1, p), W2 (p2, p1); teacher product T = W2* W1* (p2, p); `x ~ N(0, I_p)`; loss
`½ E ‖W2 W1 x − T x‖²`, mean over the b samples. With the residual 𝒲 = W2 W1 − T and S = XᵀX/b,

    g_1 = W2ᵀ 𝒲 S,  g_2 = 𝒲 S W1ᵀ,  ∇_{W1} = W2ᵀ 𝒲,  ∇_{W2} = 𝒲 W1ᵀ,

and var(M) = E‖M‖² − ‖E M‖² (Frobenius). Given the weights the variances have a closed form. Given
the initial weights, the law of total variance

    var(g_t | F_0) = E[var(g_t | F_t) | F_0] + var(∇L(W_t) | F_0)

leaves, at t = 1, moments of words with up to 6 S's. Cost at t = 1: 3 × 64 words and some 54,000
pairings, whatever b is; their distinct traces are products of at most six (p, p) blocks, so the
rest grows with p³ and, once, with p1·p2·p. Full size (p, p1, p2) = (64, 256, 128) takes 0.3 s.
t = 2 would need words with 18 S's, that is 35!! pairings: out of reach this way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.theory.wishart import S, WishartMoments, Words, add, multiply, transpose

Array = NDArray[np.float64]


def check_shapes(w1: Array, w2: Array, target: Array) -> None:
    """Checks W1 (..., p1, p), W2 (..., p2, p1) with the same leading axes, and T (p2, p).

    Raises:
        ValueError: if the shapes do not fit.
    """
    fits = (
        w1.ndim >= 2
        and w1.shape[:-2] == w2.shape[:-2]
        and w2.shape[-1:] == w1.shape[-2:-1]
        and target.shape == (*w2.shape[-2:-1], w1.shape[-1])
    )
    if not fits:
        raise ValueError(
            "expected W1 (..., p1, p), W2 (..., p2, p1) and T (p2, p), "
            f"found {w1.shape}, {w2.shape} and {target.shape}"
        )


def residual(w1: Array, w2: Array, target: Array) -> Array:
    """𝒲 = W2 W1 − T, shape (..., p2, p).

    Raises:
        ValueError: if the shapes do not fit.
    """
    check_shapes(w1, w2, target)
    gap: Array = w2 @ w1 - target
    return gap


def population_gradients(w1: Array, w2: Array, target: Array) -> tuple[Array, Array]:
    """`(W2ᵀ 𝒲, 𝒲 W1ᵀ)`, shapes (..., p1, p) and (..., p2, p1): the means in (2) and (3).

    Raises:
        ValueError: if the shapes do not fit.
    """
    gap = residual(w1, w2, target)
    return _transposed(w2) @ gap, gap @ _transposed(w1)


def conditional_variances(
    w1: Array, w2: Array, target: Array, batch_size: float
) -> tuple[Array, Array]:
    """`var(g_1 | F_t)` and `var(g_2 | F_t)` given the weights, for one network or a stack (...).

    `(p+1)/b ‖W2ᵀ𝒲‖²` and `(1/b)(tr P tr Q + tr PQ)`, with P = 𝒲ᵀ𝒲 and Q = W1ᵀW1.

    Raises:
        ValueError: if the shapes do not fit or `batch_size` is not positive.

    Source: (2) and (3) with Lemma 7 at m = 2.
    """
    if batch_size <= 0:
        raise ValueError(f"batch_size must be positive, found {batch_size}")
    gap = residual(w1, w2, target)
    first = (w1.shape[-1] + 1) * _square(_transposed(w2) @ gap)
    second = _square(gap) * _square(w1) + _square(gap @ _transposed(w1))
    return first / batch_size, second / batch_size


@dataclass(frozen=True)
class GradientVariance:
    """Variances given the initial weights, as coefficients of 1, 1/b, (1/b)², ….

    g1, g2: of the stochastic gradients; population_g1, population_g2: of the gradients of the
    population loss at the random weights W_t. The constant term is 0 (Theorem 4).
    """

    g1: Array
    g2: Array
    population_g1: Array
    population_g2: Array

    def at(self, batch_size: float) -> dict[str, float]:
        """The four variances at a batch size, by field name.

        Raises:
            ValueError: if `batch_size` is not positive.
        """
        if batch_size <= 0:
            raise ValueError(f"batch_size must be positive, found {batch_size}")
        fields = ("g1", "g2", "population_g1", "population_g2")
        return {
            field: float(np.polynomial.polynomial.polyval(1 / batch_size, getattr(self, field)))
            for field in fields
        }


def initial_variance(w1: Array, w2: Array, target: Array) -> GradientVariance:
    """`var(g_0 | F_0)`: the conditional variance at the initial weights, of degree 1 in 1/b.

    Raises:
        ValueError: if the shapes do not fit.
    """
    _require_single(w1)
    first, second = conditional_variances(w1, w2, target, 1.0)
    zero = np.zeros(1)
    return GradientVariance(
        g1=np.array([0.0, float(first)]),
        g2=np.array([0.0, float(second)]),
        population_g1=zero,
        population_g2=zero,
    )


def first_step_variance(
    w1: Array, w2: Array, target: Array, learning_rate: float
) -> GradientVariance:
    """`var(g_1 | F_0)`, after one step of SGD from the given weights, of degree 6 in 1/b.

    Exact up to rounding. The coefficients are differences of E‖·‖² and ‖E ·‖², whose constant terms
    cancel identically and are left out.

    Args:
        w1, w2, target: shapes (p1, p), (p2, p1), (p2, p).
        learning_rate: α_0 of the step.

    Raises:
        ValueError: if the shapes do not fit.

    Source: Theorem 4 at t = 1, by total variance and Lemma 3.
    """
    _require_single(w1)
    gap = residual(w1, w2, target)
    p = w1.shape[1]
    moments = WishartMoments({"E": gap, "W1": w1, "W2": w2}, p)
    residual_words, w1_words, w2_words = _after_one_step(learning_rate)

    gradient_1 = multiply(transpose(w2_words), residual_words)
    gradient_2 = multiply(residual_words, transpose(w1_words))
    # E‖G‖², with the transposed factor first so that the words are (p, p) products
    square_1 = moments.mean_trace_product([(multiply(transpose(gradient_1), gradient_1),)])
    gram_residual = multiply(transpose(residual_words), residual_words)
    gram_w1 = multiply(transpose(w1_words), w1_words)
    square_2 = moments.mean_trace_product([(multiply(gram_residual, gram_w1),)])
    product_2 = moments.mean_trace_product([(gram_residual, gram_w1)])

    population_1 = _without_constant(square_1, _squared_norm(moments.mean(gradient_1)))
    population_2 = _without_constant(square_2, _squared_norm(moments.mean(gradient_2)))
    return GradientVariance(
        g1=_over_b((p + 1) * square_1, population_1),
        g2=_over_b(product_2 + square_2, population_2),
        population_g1=population_1,
        population_g2=population_2,
    )


def claimed_variance(variance: GradientVariance, layer: int) -> Array:
    """`(1/b) var(single-sample term | F_0)`, which the proof of Theorem 4 takes for `var(g_{t,1})`.

    It lacks `(1 − 1/b) var(∇L(W_t) | F_0)`: the samples of a mini-batch share the weights W_t.

    Returns: the coefficients of 1, 1/b, ….

    Raises:
        ValueError: if `layer` is not 1 or 2.
    """
    if layer not in (1, 2):
        raise ValueError(f"layer must be 1 or 2, found {layer}")
    total = variance.g1 if layer == 1 else variance.g2
    population = variance.population_g1 if layer == 1 else variance.population_g2
    covariance = np.append(population, 0.0) - np.append(0.0, population)
    difference: Array = total - covariance
    return difference


def _after_one_step(rate: float) -> tuple[Words, Words, Words]:
    """𝒲, W1 and W2 after one step, as words in S and the matrices E = 𝒲, W1, W2 before it."""
    gap, layer_1, layer_2 = ("E", False), ("W1", False), ("W2", False)
    layer_1_t, layer_2_t = ("W1", True), ("W2", True)
    w1_words: Words = {(layer_1,): 1.0, (layer_2_t, gap, S): -rate}
    w2_words: Words = {(layer_2,): 1.0, (gap, S, layer_1_t): -rate}
    # W2' W1' − T = W2' W1' − W2 W1 + 𝒲, so the teacher itself is not needed
    residual_words = add(multiply(w2_words, w1_words), {(layer_2, layer_1): -1.0}, {(gap,): 1.0})
    return residual_words, w1_words, w2_words


def _squared_norm(coefficients: list[Array]) -> Array:
    """‖Σ_k C_k (1/b)^k‖² as coefficients in 1/b."""
    result = np.zeros(2 * len(coefficients) - 1)
    for i, left in enumerate(coefficients):
        for j, right in enumerate(coefficients):
            result[i + j] += float(np.vdot(left, right))
    return result


def _without_constant(second_moment: Array, squared_mean: Array) -> Array:
    difference = second_moment.copy()
    difference[: len(squared_mean)] -= squared_mean
    # S → I as b → ∞, so both have the same constant term; what is left of it is rounding
    difference[0] = 0.0
    return difference


def _over_b(conditional: Array, population: Array) -> Array:
    """`conditional / b + population`."""
    total: Array = np.append(0.0, conditional) + np.append(population, 0.0)
    return total


def _transposed(matrix: Array) -> Array:
    return np.swapaxes(matrix, -1, -2)


def _square(matrix: Array) -> Array:
    total: Array = np.asarray(np.sum(matrix * matrix, axis=(-2, -1)))
    return total


def _require_single(w1: Array) -> None:
    if w1.ndim != 2:
        raise ValueError(f"expected one network with W1 (p1, p), found W1 of shape {w1.shape}")
