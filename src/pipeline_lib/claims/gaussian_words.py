"""T15: words of several Gaussian samples, Lemma 8, by pairings and by quadrature."""

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.claims.catalogue import CLAIMS
from pipeline_lib.claims.verdict import Finding, finding, from_instances
from pipeline_lib.theory.wick import Letter, WickTerm, contract, pairings

Floats = NDArray[np.float64]

_AGREE = 1e-11


def lemma_8(seed: int, dimension: int = 2, max_order: int = 3) -> Finding:
    """T15 for every word of m = 1, …, max_order outer products of two samples.

    Pairings join places of the same sample only. Every term must use each A_j once, and the sum
    must agree with quadrature to 1e-11 of the largest entry.
    """
    rng = np.random.default_rng(seed)
    matrices = [rng.standard_normal((dimension, dimension)) for _ in range(max_order - 1)]
    right, n_terms, worst = [], 0, 0.0
    for order in range(1, max_order + 1):
        chosen = matrices[: order - 1]
        for places in even_places(order, n_samples=2):
            terms = list(word_terms(places))
            closed = _value(terms, chosen, dimension)
            direct = _by_quadrature(places, chosen, dimension)
            error = float(np.abs(closed - direct).max() / np.abs(direct).max())
            worst, n_terms = max(worst, error), n_terms + len(terms)
            once = all(
                sorted(j for word in (*term.cycles, term.path) for j, _ in word)
                == list(range(order - 1))
                for term in terms
            )
            right.append(once and error < _AGREE)
    evidence = (
        f"{len(right)} words of up to {max_order} outer products of two samples have {n_terms} "
        f"terms together, each with every A_j once, and differ from quadrature by at most "
        f"{worst:.1e} of the largest entry (p = {dimension})."
    )
    return finding(
        CLAIMS["T15"], from_instances(right), evidence, exact=True, n_comparisons=len(right)
    )


def even_places(order: int, n_samples: int) -> Iterator[tuple[int, ...]]:
    """The samples in the 2m places of a word, each in an even number of them."""
    for places in product(range(n_samples), repeat=2 * order):
        if all(places.count(sample) % 2 == 0 for sample in range(n_samples)):
            yield places


def word_terms(places: Sequence[int]) -> Iterator[WickTerm]:
    """The terms of `E[x_{i1} x_{i1'}ᵀ A_1 ⋯ x_{im} x_{im'}ᵀ]`, ``places`` = (i1, i1', i2, …)."""
    links: dict[int, tuple[int, Letter]] = {}
    for j in range(len(places) // 2 - 1):
        links[2 * j + 1] = (2 * j + 2, (j, False))
        links[2 * j + 2] = (2 * j + 1, (j, True))
    for pairing in pairings(len(places)):
        if all(places[a] == places[b] for a, b in pairing):
            yield contract(pairing, links, start=0)


def _value(terms: Sequence[WickTerm], matrices: Sequence[Floats], dimension: int) -> Floats:
    def multiply(letters: Sequence[Letter]) -> Floats:
        result = np.eye(dimension)
        for j, transposed in letters:
            result = result @ (matrices[j].T if transposed else matrices[j])
        return result

    total = np.zeros((dimension, dimension))
    for term in terms:
        weight = prod(float(np.trace(multiply(cycle))) for cycle in term.cycles)
        total += weight * multiply(term.path)
    return total


def _by_quadrature(places: Sequence[int], matrices: Sequence[Floats], dimension: int) -> Floats:
    nodes, weights = np.polynomial.hermite_e.hermegauss(len(places) // 2 + 1)
    weights = weights / weights.sum()
    n_samples = max(places) + 1
    index = np.indices((len(nodes),) * (dimension * n_samples)).reshape(dimension * n_samples, -1)
    x = nodes[index.T].reshape(-1, n_samples, dimension)
    scalar = weights[index].prod(axis=0)
    for j, matrix in enumerate(matrices):
        left, right = x[:, places[2 * j + 1]], x[:, places[2 * j + 2]]
        scalar = scalar * np.einsum("na,ab,nb->n", left, matrix, right)
    return np.asarray(np.einsum("n,na,nb->ab", scalar, x[:, places[0]], x[:, places[-1]]))
