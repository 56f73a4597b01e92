"""Moments of words in S = (1/b) Σ x_k x_kᵀ, x_k ~ N(0, I_p), as polynomials in 1/b.

Each occurrence of S is an outer product with a free sample index. A Wick pairing of the 2m Gaussian
factors closes the constant matrices into traces and the sample indices into ℓ loops, and
contributes `b^{ℓ−m} × (product of traces)`: the expansion of Lemma 3 and Lemma 8 with its
coefficients. As ℓ ≥ 1 the degree in 1/b is at most m − 1.

A matrix polynomial in S is held as words: products of named matrices and "S", with real
coefficients. Between two S's the named matrices are multiplied together once, to a (p, p) block,
so the rest of the work is traces of products of at most m blocks, each computed once and kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.theory.wick import MAX_ORDER, Letter, WickTerm, contract, pairings

Name = tuple[str, bool]
"""A named matrix and whether it is transposed; "S" is the random one."""
Word = tuple[Name, ...]
Words = dict[Word, float]
"""A polynomial: the coefficient of every word; the empty word is the identity."""

S: Name = ("S", False)


def multiply(left: Words, right: Words) -> Words:
    """The product of two polynomials, expanded."""
    result: Words = {}
    for a, x in left.items():
        for b, y in right.items():
            result[a + b] = result.get(a + b, 0.0) + x * y
    return result


def add(*terms: Words) -> Words:
    """The sum of polynomials; words whose coefficients cancel are dropped."""
    result: Words = {}
    for term in terms:
        for word, x in term.items():
            result[word] = result.get(word, 0.0) + x
    return {word: x for word, x in result.items() if x != 0.0}


def transpose(words: Words) -> Words:
    """The transposed polynomial (S is symmetric)."""
    return {_reverse(word): x for word, x in words.items()}


def _reverse(word: Word) -> Word:
    return tuple((name, transposed != (name != "S")) for name, transposed in reversed(word))


@cache
def closed_terms(lengths: tuple[int, ...]) -> tuple[WickTerm, ...]:
    """The Wick terms of `E Π_c tr(A S A S ⋯)`, the c-th trace having `lengths[c]` S's.

    Letters are numbered through all the traces; the letter k stands before the k-th S.
    """
    links: dict[int, tuple[int, Letter]] = {}
    start = 0
    for length in lengths:
        for k in range(length):
            right_end = 2 * (start + (k - 1) % length) + 1
            left_end = 2 * (start + k)
            links[right_end] = (left_end, (start + k, False))
            links[left_end] = (right_end, (start + k, True))
        start += length
    return tuple(contract(pairing, links) for pairing in pairings(2 * start))


@cache
def open_terms(count: int) -> tuple[WickTerm, ...]:
    """The Wick terms of `E[S A S ⋯ A S]` with `count` S's; the letter k stands after the k-th."""
    links: dict[int, tuple[int, Letter]] = {}
    for k in range(count - 1):
        links[2 * k + 1] = (2 * k + 2, (k, False))
        links[2 * k + 2] = (2 * k + 1, (k, True))
    return tuple(contract(pairing, links, start=0) for pairing in pairings(2 * count))


class WishartMoments:
    """Expectations of words in S for given matrices, with the blocks and traces it has computed.

    Args:
        matrices: the named constant matrices, of any shapes that fit in the words used.
        dimension: p, the size of S.
    """

    def __init__(self, matrices: Mapping[str, NDArray[np.float64]], dimension: int) -> None:
        self.dimension = dimension
        self._matrices = dict(matrices)
        self._blocks: dict[Word, NDArray[np.float64]] = {}
        self._traces: dict[tuple[Word, ...], float] = {}

    def block(self, word: Word) -> NDArray[np.float64]:
        """The product of a word without S; the identity (p, p) for the empty word."""
        if not word:
            return np.eye(self.dimension)
        if word not in self._blocks:
            last, transposed = word[-1]
            matrix = self._matrices[last].T if transposed else self._matrices[last]
            self._blocks[word] = self.block(word[:-1]) @ matrix if len(word) > 1 else matrix
        return self._blocks[word]

    def mean_trace_product(self, factors: Iterable[tuple[Words, ...]]) -> NDArray[np.float64]:
        """`Σ_factors E Π_c tr(factor_c)`, each factor a polynomial in S whose trace is taken.

        Returns: the coefficients of 1, 1/b, …, (1/b)^{MAX_ORDER − 1}.

        Raises:
            ValueError: if a product of words has more than MAX_ORDER S's.
        """
        total = np.zeros(MAX_ORDER)
        for traces in factors:
            products: list[tuple[float, tuple[Word, ...]]] = [(1.0, ())]
            for words in traces:
                products = [
                    (x * y, (*done, word)) for x, done in products for word, y in words.items()
                ]
            for coefficient, words_product in products:
                total += coefficient * self._mean_of_traces(words_product)
        return total

    def _mean_of_traces(self, words: Sequence[Word]) -> NDArray[np.float64]:
        constant = 1.0
        lengths: list[int] = []
        blocks: list[Word] = []
        for word in words:
            count = word.count(S)
            if count == 0:
                constant *= float(np.trace(self.block(word)))
                continue
            # turn the cycle so that it ends in S, then cut it at every S
            cut = len(word) - word[::-1].index(S)
            blocks.extend(_split(word[cut:] + word[:cut])[:-1])
            lengths.append(count)
        order = sum(lengths)
        if order > MAX_ORDER:
            raise ValueError(f"a word has {order} S's, at most {MAX_ORDER} are allowed")
        result = np.zeros(MAX_ORDER)
        if order == 0:
            result[0] = constant
            return result
        reversed_blocks = [_reverse(block) for block in blocks]
        for term in closed_terms(tuple(lengths)):
            result[order - term.sample_loops] += self._cycle_traces(term, blocks, reversed_blocks)
        return constant * result

    def mean(self, words: Words) -> list[NDArray[np.float64]]:
        """E of a matrix polynomial in S: the (rows, columns) coefficients of 1, 1/b, ….

        Raises:
            ValueError: if a word has more than MAX_ORDER S's.
        """
        total: list[NDArray[np.float64]] = []
        for word, coefficient in words.items():
            first, *inner = _split(word)
            last = inner.pop() if inner else ()
            count = word.count(S)
            if count > MAX_ORDER:
                raise ValueError(f"a word has {count} S's, at most {MAX_ORDER} are allowed")
            if count == 0:
                parts = [self.block(first)]
            else:
                outer_left = self.block(first)
                outer_right = self.block(last)
                parts = [outer_left @ part @ outer_right for part in self._mean_inner(inner, count)]
            while len(total) < len(parts):
                total.append(np.zeros_like(parts[0]))
            for k, part in enumerate(parts):
                total[k] += coefficient * part
        return total

    def _mean_inner(self, blocks: Sequence[Word], count: int) -> list[NDArray[np.float64]]:
        result = [np.zeros((self.dimension, self.dimension)) for _ in range(count)]
        reversed_blocks = [_reverse(block) for block in blocks]
        for term in open_terms(count):
            path = np.eye(self.dimension)
            for index, against in term.path:
                path = path @ self.block(reversed_blocks[index] if against else blocks[index])
            weight = self._cycle_traces(term, blocks, reversed_blocks)
            result[count - term.sample_loops] += weight * path
        return result

    def _cycle_traces(
        self, term: WickTerm, blocks: Sequence[Word], reversed_blocks: Sequence[Word]
    ) -> float:
        weight = 1.0
        for cycle in term.cycles:
            key = tuple(
                reversed_blocks[index] if against else blocks[index] for index, against in cycle
            )
            weight *= self._trace(tuple(block for block in key if block))
        return weight

    def _trace(self, key: tuple[Word, ...]) -> float:
        """tr of a product of blocks; the cyclic shifts and the reversal share one computation."""
        if key in self._traces:
            return self._traces[key]
        if not key:
            return float(self.dimension)
        half = (len(key) + 1) // 2
        left = _product([self.block(block) for block in key[:half]])
        if half == len(key):
            value = float(np.trace(left))
        else:
            right = _product([self.block(block) for block in key[half:]])
            value = float(np.vdot(left, right.T))
        backward = tuple(_reverse(block) for block in reversed(key))
        for k in range(len(key)):
            self._traces[key[k:] + key[:k]] = value
            self._traces[backward[k:] + backward[:k]] = value
        return value


def _product(matrices: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    product = matrices[0]
    for matrix in matrices[1:]:
        product = product @ matrix
    return product


def _split(word: Word) -> list[Word]:
    """The pieces of a word between its S's, one more than it has S's."""
    pieces: list[Word] = []
    start = 0
    for k, name in enumerate(word):
        if name == S:
            pieces.append(word[start:k])
            start = k + 1
    pieces.append(word[start:])
    return pieces
