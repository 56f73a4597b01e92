import itertools
from math import prod

import numpy as np
import pytest

from pipeline_lib.theory.wick import gaussian_word_mean, pairings, wick_terms
from pipeline_lib.theory.wishart import S, WishartMoments, closed_terms


def hermite_grid(nodes, dimension):
    """Points (N, dimension) and weights (N,), exact for degree 2·nodes − 1 in each variable."""
    x, w = np.polynomial.hermite_e.hermegauss(nodes)
    w = w / np.sqrt(2 * np.pi)
    points = np.array(list(itertools.product(x, repeat=dimension)))
    weights = np.array([prod(c) for c in itertools.product(w, repeat=dimension)])
    return points, weights


def matrices(count, p, seed=0):
    return [np.random.default_rng([seed, k]).standard_normal((p, p)) for k in range(count)]


@pytest.mark.parametrize(("order", "count"), [(1, 1), (2, 3), (3, 15), (4, 105), (5, 945)])
def test_number_of_pairings(order, count):
    found = list(pairings(2 * order))
    assert len(found) == count
    assert len({frozenset(map(frozenset, pairing)) for pairing in found}) == count
    assert len(wick_terms(order)) == count


@pytest.mark.parametrize("order", [2, 3, 4, 5])
def test_every_matrix_appears_once_in_every_term(order):
    for term in wick_terms(order):
        letters = [index for cycle in (*term.cycles, term.path) for index, _ in cycle]
        assert sorted(letters) == list(range(order - 1))


def test_order_one_and_two_closed_forms():
    (a,) = matrices(1, 3)
    np.testing.assert_allclose(gaussian_word_mean([], 3), np.eye(3), atol=0)
    expected = a + a.T + np.trace(a) * np.eye(3)
    np.testing.assert_allclose(gaussian_word_mean([a], 3), expected, rtol=1e-13)


def test_trace_identity_used_in_theorem_4():
    """E tr(x xᵀ A x xᵀ) = (p + 2) tr A."""
    (a,) = matrices(1, 5)
    found = np.trace(gaussian_word_mean([a], 5))
    assert found == pytest.approx(7 * np.trace(a), rel=1e-13)


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("p", [1, 2])
def test_lemma_7_against_quadrature(order, p):
    between = matrices(order - 1, p, seed=order)
    points, weights = hermite_grid(order + 1, p)
    outer = points[:, :, None] * points[:, None, :]
    word = outer
    for a in between:
        word = word @ a @ outer
    expected = np.einsum("n,nij->ij", weights, word)
    np.testing.assert_allclose(gaussian_word_mean(between, p), expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("order", [2, 4])
def test_lemma_7_against_quadrature_in_three_dimensions(order):
    between = matrices(order - 1, 3, seed=7)
    points, weights = hermite_grid(order + 1, 3)
    outer = points[:, :, None] * points[:, None, :]
    word = outer
    for a in between:
        word = word @ a @ outer
    expected = np.einsum("n,nij->ij", weights, word)
    np.testing.assert_allclose(gaussian_word_mean(between, 3), expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("order", [0, 7])
def test_order_out_of_range(order):
    with pytest.raises(ValueError, match="order must be between 1 and 6"):
        wick_terms(order)


def test_wrong_shape_is_refused():
    with pytest.raises(ValueError, match=r"A_1 must have shape \(2, 2\)"):
        gaussian_word_mean([np.ones((2, 3))], 2)


def test_scalar_wishart_moments_count_the_loops():
    """With p = 1, E s^m = Π (1 + 2j/b): the number of pairings by their number of loops."""
    for m in range(1, 6):
        counts = np.zeros(m)
        for term in closed_terms((m,)):
            counts[m - term.sample_loops] += 1
        expected = np.array([1.0])
        for j in range(m):
            expected = np.convolve(expected, [1.0, 2.0 * j])
        np.testing.assert_array_equal(counts, expected[:m])


@pytest.mark.parametrize("b", [1, 2, 3])
def test_wishart_words_against_quadrature(b):
    """E tr(ASBS) tr(CS) and E[S A S Bᵀ S] for p = 2 and b samples."""
    p = 2
    a, b_matrix, c = matrices(3, p, seed=11)
    points, weights = hermite_grid(4, p * b)
    x = points.reshape(-1, b, p)
    s = np.einsum("nki,nkj->nij", x, x) / b
    powers = b ** -np.arange(6.0)
    moments = WishartMoments({"A": a, "B": b_matrix, "C": c}, p)
    name = {k: (k, False) for k in "ABC"}

    traces = (
        {(name["A"], S, name["B"], S): 2.0, (name["A"],): -1.0},
        {(name["C"], S): 3.0},
    )
    found = moments.mean_trace_product([traces]) @ powers
    first = 2 * np.trace(a @ s @ b_matrix @ s, axis1=1, axis2=2) - np.trace(a)
    second = 3 * np.trace(c @ s, axis1=1, axis2=2)
    assert found == pytest.approx(np.sum(weights * first * second), rel=1e-11)

    mean = moments.mean({(S, name["A"], S, ("B", True), S): 1.0, (name["C"], S): 0.5})
    found_mean = sum(m * power for m, power in zip(mean, powers, strict=False))
    expected = np.einsum("n,nij->ij", weights, s @ a @ s @ b_matrix.T @ s + 0.5 * c @ s)
    np.testing.assert_allclose(found_mean, expected, rtol=1e-11, atol=1e-11)
