"""T16: Lemma 1 for models that are not linear, over every mini-batch, in fractions."""

from collections.abc import Callable, Mapping
from fractions import Fraction
from itertools import combinations

import numpy as np

from pipeline_lib.claims.catalogue import CLAIMS
from pipeline_lib.claims.enumeration import (
    Exact,
    batch_factor,
    covariance,
    fractions,
    sq_norm,
    trace,
)
from pipeline_lib.claims.verdict import Finding, finding, from_instances

Gradient = Callable[[Exact, Exact, Fraction], Exact]
"""∇ ½ (f(w, x) − y)² of one sample, from the weights w, x (p,) and y."""


def _squared(w: Exact, x: Exact, y: Fraction) -> Exact:
    """f = (w·x)²."""
    z = w @ x
    return np.asarray(2 * (z * z - y) * z * x)


def _two_layers(w: Exact, x: Exact, y: Fraction) -> Exact:
    """f = a (c·x), a two-layer linear network with one hidden unit, w = (a, c)."""
    a, c = w[0], w[1:]
    error = a * (c @ x) - y
    return np.concatenate([[error * (c @ x)], error * a * x])


def _rational_unit(w: Exact, x: Exact, y: Fraction) -> Exact:
    """f = a r(c·x) with the activation r(z) = z/(1 + z²), which has rational derivatives."""
    a, c = w[0], w[1:]
    z = c @ x
    r = z / (1 + z * z)
    slope = (1 - z * z) / (1 + z * z) ** 2
    error = a * r - y
    return np.concatenate([[error * r], error * a * slope * x])


MODELS: Mapping[str, tuple[Gradient, int]] = {
    "(w·x)²": (_squared, 0),
    "a (c·x)": (_two_layers, 1),
    "a r(c·x), r(z) = z/(1 + z²)": (_rational_unit, 1),
}


def lemma_1_for_any_model(seed: int, n: int = 6, p: int = 2) -> Finding:
    """T16: var(A g) against c_b times the spread of the A∇L_i, for every b and a random A."""
    rng = np.random.default_rng(seed)
    x, y = fractions(rng, (n, p)), fractions(rng, (n,))
    holds = []
    for gradient, extra in MODELS.values():
        w, matrix = fractions(rng, (p + extra,)), fractions(rng, (p + extra, p + extra))
        each = np.array([matrix @ gradient(w, *sample) for sample in zip(x, y, strict=True)])
        spread = trace(covariance(list(each)))
        for b in range(1, n + 1):
            means = [each[list(batch)].sum(axis=0) / b for batch in combinations(range(n), b)]
            holds.append(trace(covariance(means)) == batch_factor(b, n) * spread)
        if sq_norm(each[0]) == 0:
            raise ValueError(f"seed {seed} gives a gradient of zero, which tests nothing")
    evidence = (
        f"The two sides are equal fractions in {sum(holds)} of {len(holds)} cases: the models "
        f"{', '.join(MODELS)} at all {n} batch sizes. Nothing but the per-sample gradients enters."
    )
    return finding(
        CLAIMS["T16"], from_instances(holds), evidence, exact=True, n_comparisons=len(holds)
    )
