"""Moments of Gaussian outer products by Wick's (Isserlis') theorem: Lemma 7, made explicit.

The expectation of a product of 2m coordinates of x ~ N(0, I_p) is a sum over the (2m − 1)!!
pairings of the 2m factors. In `x xᵀ A₁ x xᵀ A₂ ⋯ A_{m−1} x xᵀ` a pairing joins the ends of the
matrices A_j: some close into cycles, each a trace, and one open path remains, a matrix product.
A matrix that is run through against its direction appears transposed.

The same pairings serve the sample covariance S = (1/b) Σ x_k x_kᵀ of b samples (see `wishart`):
the sample indices close into loops too, and each loop counts b.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_ORDER = 6

Letter = tuple[int, bool]
"""The matrix A_j by its index (0 for A₁), and whether it is transposed."""


@dataclass(frozen=True)
class WickTerm:
    """One pairing: `Π_cycles tr(product of letters) × (product of the path's letters)`.

    sample_loops: cycles of the sample indices when each `x xᵀ` is a mean over samples.
    """

    cycles: tuple[tuple[Letter, ...], ...]
    path: tuple[Letter, ...]
    sample_loops: int


def pairings(count: int) -> Iterator[tuple[tuple[int, int], ...]]:
    """All (count − 1)!! perfect matchings of 0, …, count − 1; none if `count` is odd."""
    yield from _match(tuple(range(count)))


def _match(items: tuple[int, ...]) -> Iterator[tuple[tuple[int, int], ...]]:
    if not items:
        yield ()
        return
    first, rest = items[0], items[1:]
    for k, partner in enumerate(rest):
        for others in _match(rest[:k] + rest[k + 1 :]):
            yield ((first, partner), *others)


def contract(
    pairing: Sequence[tuple[int, int]],
    links: Mapping[int, tuple[int, Letter]],
    start: int | None = None,
) -> WickTerm:
    """The cycles, the open path and the sample loops that a pairing makes of the given links.

    Args:
        pairing: a perfect matching of the ends; the outer product number k has ends 2k and 2k + 1.
        links: for every end to which a matrix is attached, the end at its other side and the
            letter met when leaving from here (each matrix is listed from both sides).
        start: the free end at which the open path begins, if there is one.
    """
    partner: dict[int, int] = {}
    for a, b in pairing:
        partner[a], partner[b] = b, a
    left = set(links)
    path: list[Letter] = []
    if start is not None:
        end = partner[start]
        while end in links:
            other, letter = links[end]
            left -= {end, other}
            path.append(letter)
            end = partner[other]
    cycles: list[tuple[Letter, ...]] = []
    while left:
        first = end = min(left)
        cycle: list[Letter] = []
        while True:
            other, letter = links[end]
            left -= {end, other}
            cycle.append(letter)
            end = partner[other]
            if end == first:
                break
        cycles.append(tuple(cycle))
    loops = 0
    unseen = set(partner)
    while unseen:
        end = unseen.pop()
        loops += 1
        while (other := partner[end]) in unseen:
            unseen.discard(other)
            end = other ^ 1
            unseen.discard(end)
    return WickTerm(tuple(cycles), tuple(path), loops)


def wick_terms(order: int) -> list[WickTerm]:
    """The (2m − 1)!! terms of `E[x xᵀ A₁ x xᵀ ⋯ A_{m−1} x xᵀ]`, m = order.

    Every A_j appears exactly once in each term, as Lemma 7 says; the path may be empty (the
    identity).

    Raises:
        ValueError: unless 1 ≤ order ≤ MAX_ORDER (10,395 terms).

    Source: Lemma 7.
    """
    if not 1 <= order <= MAX_ORDER:
        raise ValueError(f"order must be between 1 and {MAX_ORDER}, found {order}")
    links: dict[int, tuple[int, Letter]] = {}
    for j in range(order - 1):
        links[2 * j + 1] = (2 * j + 2, (j, False))
        links[2 * j + 2] = (2 * j + 1, (j, True))
    return [contract(pairing, links, start=0) for pairing in pairings(2 * order)]


def gaussian_word_mean(
    matrices: Sequence[NDArray[np.float64]], dimension: int
) -> NDArray[np.float64]:
    """`E[x xᵀ A₁ x xᵀ A₂ ⋯ A_{m−1} x xᵀ]` for x ~ N(0, I_p), in closed form.

    Args:
        matrices: A₁, …, A_{m−1}, each (p, p); empty for `E[x xᵀ] = I`.
        dimension: p.

    Returns: a (p, p) array.

    Raises:
        ValueError: if a matrix is not (p, p) or there are MAX_ORDER or more of them.

    Source: Lemma 7.
    """
    for j, matrix in enumerate(matrices):
        if matrix.shape != (dimension, dimension):
            raise ValueError(
                f"A_{j + 1} must have shape {(dimension, dimension)}, found {matrix.shape}"
            )
    oriented = {(j, False): matrix for j, matrix in enumerate(matrices)}
    oriented |= {(j, True): matrix.T for j, matrix in enumerate(matrices)}

    def multiply(letters: Sequence[Letter]) -> NDArray[np.float64]:
        product = np.eye(dimension)
        for letter in letters:
            product = product @ oriented[letter]
        return product

    total = np.zeros((dimension, dimension))
    for term in wick_terms(len(matrices) + 1):
        weight = 1.0
        for cycle in term.cycles:
            weight *= float(np.trace(multiply(cycle)))
        total += weight * multiply(term.path)
    return total
