"""Estimates of the variance and their moments against brute force, and their expectations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline_lib.estimation.inference import standard_error
from pipeline_lib.estimation.variance import (
    pool,
    rao_blackwell_contributions,
    sample_contributions,
    summarise,
    vector_moments,
)

numbers = st.floats(-100, 100).map(lambda x: round(x, 6))


@st.composite
def vectors(draw, min_replicas=1):
    """(T, R, p)."""
    shape = draw(st.tuples(st.integers(1, 3), st.integers(min_replicas, 8), st.integers(1, 4)))
    return draw(arrays(np.float64, shape, elements=numbers))


def sample_estimate(values):
    return summarise(sample_contributions(vector_moments(values).sq_deviations))


@given(vectors())
def test_moments_equal_brute_force(values):
    before = values.copy()
    moments = vector_moments(values)
    np.testing.assert_array_equal(values, before)
    mean = values.mean(axis=1)
    scale = np.square(values).sum(axis=(1, 2))
    for name, expected, of in (
        ("mean_sq_norm", np.square(values).sum(axis=2).mean(axis=1), scale),
        ("sq_norm_of_mean", np.square(mean).sum(axis=1), scale),
        ("sq_deviations", np.square(values - mean[:, None]).sum(axis=2), scale[:, None]),
    ):
        found = getattr(moments, name)
        assert found.shape == expected.shape
        assert (np.abs(found - expected) <= 1e-12 * of).all()


@given(vectors(min_replicas=2))
def test_the_estimate_is_the_trace_of_the_sample_covariance(values):
    estimate = sample_estimate(values)
    brute = values.var(axis=1, ddof=1).sum(axis=1)
    np.testing.assert_allclose(estimate.mean, brute, 1e-10, 1e-9)
    assert estimate.n_replicas.tolist() == [values.shape[1]] * len(values)
    assert estimate.dof.tolist() == [values.shape[1] - 1] * len(values)


@given(arrays(np.float64, st.tuples(st.integers(1, 3), st.integers(1, 9)), elements=numbers))
def test_summary_equals_brute_force(y):
    summary = summarise(y)
    deviations = y - y.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(summary.mean, y.mean(axis=1))
    np.testing.assert_allclose(summary.m2, (deviations**2).sum(axis=1), 1e-12, 1e-20)
    np.testing.assert_allclose(summary.m3, (deviations**3).sum(axis=1), 1e-9, 1e-6)
    np.testing.assert_array_equal(summary.max, y.max(axis=1))


def small_experiments(shape, seed=0):
    """Skewed vectors (..., R, 2) with the mean (1, -2), and the trace of their covariance."""
    rng = np.random.default_rng(seed)
    mixing = np.array([[1.0, 0.5], [0.0, 0.3]])
    values = rng.exponential(size=(*shape, 2)) @ mixing + [0.0, -2.8]
    return values, np.trace(mixing.T @ mixing)


def assert_mean_is(values, truth):
    error = values.std(ddof=1) / np.sqrt(values.size)
    assert abs(values.mean() - truth) < 4 * error
    assert error < 0.01 * truth  # else the comparison says little


def test_three_replicas_give_an_unbiased_estimate():
    values, truth = small_experiments((200_000, 3))
    assert_mean_is(sample_estimate(values).mean, truth)


def test_a_large_mean_takes_no_digits():
    rng = np.random.default_rng(1)
    # Deviations with few bits, so that 1e8 + deviation is exact and the truth is known.
    deviations = rng.integers(-(2**20), 2**20, size=(1, 500, 4)) / 2**20
    values = 1e8 + deviations
    truth = deviations.var(axis=1, ddof=1).sum(axis=1)
    assert np.abs(sample_estimate(values).mean / truth - 1).max() < 1e-8
    naive = (values**2).mean(axis=1) - values.mean(axis=1) ** 2
    assert np.abs(naive.sum(axis=1) * 500 / 499 / truth - 1).max() > 1e-2


@given(arrays(np.float64, (3,), elements=st.floats(-1e150, 1e150)), st.integers(2, 50))
def test_replicas_that_agree_have_no_variance(vector, n_replicas):
    values = np.tile(vector, (1, n_replicas, 1))
    moments = vector_moments(values)
    assert moments.sq_deviations.tolist() == [[0.0] * n_replicas]
    np.testing.assert_allclose(moments.sq_norm_of_mean[0], vector @ vector, 1e-14)
    estimate = sample_estimate(values)
    assert (estimate.mean, estimate.m2, estimate.m3, estimate.max) == (0, 0, 0, 0)


def test_one_replica_has_no_variance_to_estimate():
    with pytest.raises(ValueError, match="at least 2, got 1"):
        sample_contributions(np.zeros((4, 1)))
    with pytest.raises(ValueError, match="at least 2, got 1"):
        rao_blackwell_contributions(np.ones((4, 1)), np.zeros((4, 1)))


@given(vectors(min_replicas=2), st.integers(0, 99))
def test_rao_blackwell_adds_the_mean_conditional_variance(full, seed):
    conditional = np.random.default_rng(seed).exponential(size=full.shape[:2])
    contributions = rao_blackwell_contributions(conditional, vector_moments(full).sq_deviations)
    assert contributions.shape == conditional.shape
    expected = conditional.mean(axis=1) + full.var(axis=1, ddof=1).sum(axis=1)
    np.testing.assert_allclose(contributions.mean(axis=1), expected, 1e-10)


def test_rao_blackwell_is_unbiased_for_the_noisy_gradient():
    """A noise of known variance on top of a random mean: the law of total variance."""
    full, between = small_experiments((100_000, 3), seed=2)
    conditional = np.random.default_rng(3).exponential(0.7, size=full.shape[:2])
    deviations = vector_moments(full).sq_deviations
    estimates = summarise(rao_blackwell_contributions(conditional, deviations)).mean
    assert_mean_is(estimates, between + 0.7)


sizes_of_blocks = st.lists(st.integers(2, 7), min_size=1, max_size=5)


def random_blocks(sizes, seed, shape=(3,)):
    rng = np.random.default_rng(seed)
    return [rng.normal(5, 2, size=(*shape, size, 2)) ** 3 for size in sizes]


@settings(deadline=None)
@given(sizes_of_blocks, st.integers(0, 99))
def test_pooling_equals_brute_force(sizes, seed):
    blocks = random_blocks(sizes, seed)
    pooled = pool([sample_estimate(block) for block in blocks])
    within = sum((block.shape[1] - 1) * block.var(axis=1, ddof=1).sum(axis=1) for block in blocks)
    dof = sum(sizes) - len(sizes)
    np.testing.assert_allclose(pooled.mean, within / dof, 1e-12)
    assert pooled.n_replicas.tolist() == [sum(sizes)] * 3
    assert pooled.dof.tolist() == [dof] * 3
    # Every run's contribution, and its weight relative to that of an average run.
    y = np.concatenate(
        [sample_contributions(vector_moments(block).sq_deviations) for block in blocks], axis=1
    )
    weight = np.concatenate([np.full(size, (size - 1) / size) for size in sizes])
    weight *= sum(sizes) / dof
    np.testing.assert_allclose(pooled.mean, (weight * y).mean(axis=1), 1e-12)
    d = y - pooled.mean[:, None]
    m2, m3 = ((weight * d**k).sum(axis=1) for k in (2, 3))
    np.testing.assert_allclose(pooled.m2, m2, 1e-11)
    np.testing.assert_allclose(pooled.m3, m3, 1e-9, 1e-9 * (m2**1.5).max())
    np.testing.assert_allclose(pooled.max, y.max(axis=1), 1e-12)


@pytest.mark.parametrize("sizes", [(2, 3), (2, 2, 3), (5, 3, 3), (4, 4)])
def test_groups_of_any_size_tell_their_error(sizes):
    """E m2 = n (dof - 1) var(estimate) for Gaussian vectors, conditional variances included."""
    rng = np.random.default_rng(7)
    blocks = []
    for size in sizes:
        full = rng.standard_normal((100_000, size, 3)) * [1.0, 0.7, 0.3]
        conditional = np.exp(0.4 * full[..., 0])
        moments = vector_moments(full).sq_deviations
        blocks.append((rao_blackwell_contributions(conditional, moments), conditional))
    plain = pool([summarise(y - c) for y, c in blocks])
    n, dof = sum(sizes), sum(sizes) - len(sizes)
    expected = n * (dof - 1) * plain.mean.var()
    np.testing.assert_allclose(plain.m2.mean(), expected, 0.02)
    both = pool([summarise(y, c) for y, c in blocks])
    error = standard_error(n, both.m2, dof, both.conditional_m2)
    np.testing.assert_allclose(np.mean(error**2), both.mean.var(), 0.06)


@settings(deadline=None)
@given(sizes_of_blocks, st.integers(0, 99))
def test_blocks_and_one_large_block_share_their_sum_of_squares(sizes, seed):
    """SS_total = sum of SS within + sum of R_k |mean_k - mean|^2."""
    blocks = random_blocks(sizes, seed)
    together = np.concatenate(blocks, axis=1)
    total = vector_moments(together).sq_deviations.sum(axis=1)
    pooled = pool([sample_estimate(block) for block in blocks])
    mean = together.mean(axis=1)
    between = sum(
        block.shape[1] * np.square(block.mean(axis=1) - mean).sum(axis=1) for block in blocks
    )
    np.testing.assert_allclose(pooled.mean * pooled.dof + between, total, 1e-11)


@settings(deadline=None)
@given(sizes_of_blocks, sizes_of_blocks, st.integers(0, 99))
def test_pools_pool(first, second, seed):
    """Pooling pooled blocks, in any order, is pooling all of them."""
    a = [sample_estimate(block) for block in random_blocks(first, seed)]
    b = [sample_estimate(block) for block in random_blocks(second, seed + 100)]
    one, two = pool([pool(b), pool(a)]), pool(a + b)
    scale = two.m2.max()
    for name, tolerance in (
        ("n_replicas", 0),
        ("dof", 0),
        ("mean", 0),
        ("m2", 1e-12 * scale),
        ("m3", 1e-9 * scale**1.5),
        ("max", 0),
    ):
        np.testing.assert_allclose(getattr(one, name), getattr(two, name), 1e-11, tolerance)


def test_one_block_is_its_own_pool():
    block = sample_estimate(random_blocks([6], 0)[0])
    pooled = pool([block])
    for name in ("n_replicas", "dof", "mean", "m2", "m3", "max"):
        np.testing.assert_array_equal(getattr(pooled, name), getattr(block, name))


def test_unequal_blocks_pool_without_bias():
    parts, truth = zip(
        *(small_experiments((40_000, size), seed=size) for size in (2, 3, 7)), strict=True
    )
    pooled = pool([sample_estimate(part) for part in parts])
    assert_mean_is(pooled.mean, truth[0])


def test_pooling_does_not_see_that_blocks_have_other_means():
    """Only deviations within a block count: shifting one block changes nothing."""
    blocks = random_blocks([4, 5], 0)
    plain = pool([sample_estimate(block) for block in blocks])
    shifted = pool([sample_estimate(blocks[0]), sample_estimate(blocks[1] + 1024.0)])
    np.testing.assert_allclose(shifted.mean, plain.mean, 1e-11)


def test_a_lost_estimate_stays_lost():
    kept = sample_estimate(np.arange(12.0).reshape(1, 6, 2))
    lost = sample_estimate(np.full((1, 4, 2), np.nan))
    for blocks in ([kept, lost], [lost, kept]):
        pooled = pool(blocks)
        assert np.isnan([pooled.mean, pooled.m2, pooled.m3, pooled.max]).all()
        assert pooled.n_replicas.tolist() == [10]


def test_nothing_to_pool():
    with pytest.raises(ValueError, match="no block"):
        pool([])
