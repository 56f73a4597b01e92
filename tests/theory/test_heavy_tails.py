import logging
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from pipeline_lib.estimation.inference import holm, p_value, variance_interval
from pipeline_lib.estimation.reliability import reliability
from pipeline_lib.seeding import seed_sequence
from pipeline_lib.theory.batch_polynomial import value_at
from pipeline_lib.theory.heavy_tails import (
    ScalarTraining,
    contributions,
    draw_factors,
    estimate,
    gradients,
    repeat_estimates,
)
from pipeline_lib.theory.scalar_network import ScalarNetwork, variance_at_step

NETWORK = ScalarNetwork(Fraction(3, 2), Fraction(-1, 2), 1)
FIFTH = [Fraction(1, 5)] * 2
FIELDS = ("n_replicas", "dof", "mean", "m2", "m3", "max")


def exact(step, b):
    variance = variance_at_step(NETWORK, FIFTH, step)
    return np.array([float(value_at(p, b)) for p in (variance.g1, variance.g2)])


def streamed_factors(seed, b, n_runs, sizes, n_steps):
    """The s that `estimate` draws, (steps, runs) for each chunk."""
    for index, size in enumerate(sizes):
        generator = np.random.default_rng(seed_sequence(seed, "heavy_tails", b, n_runs, index))
        yield np.stack([draw_factors(generator, b, (size,)) for _ in range(n_steps)])


@pytest.mark.parametrize("b", [1, 2, 5])
def test_factors_are_chi_squared_over_b(b):
    s = draw_factors(np.random.default_rng(3), b, (40, 500))
    assert s.shape == (40, 500)
    assert stats.kstest(s.ravel() * b, stats.chi2(b).cdf).pvalue > 1e-3


def test_gradients_by_hand():
    factors = iter(np.array([[1.0, 3.0], [2.0, 0.5]]))
    pairs = list(gradients(NETWORK, [Fraction(1, 5)], lambda: next(factors)))
    assert len(pairs) == 2
    # w = (3/2, −1/2): e = −7/4, G = (7/8, −21/8); then w − s G / 5
    np.testing.assert_allclose(pairs[0][0], [[0.875, 0.875], [-2.625, -2.625]], rtol=1e-15)
    np.testing.assert_allclose(pairs[0][1], [[0.875, 2.625], [-2.625, -7.875]], rtol=1e-15)
    w = np.array([[1.325, 0.975], [0.025, 1.075]])
    e = w[0] * w[1] - 1
    np.testing.assert_allclose(pairs[1][0], [w[1] * e, w[0] * e], rtol=1e-14)
    np.testing.assert_allclose(pairs[1][1], [w[1] * e * [2, 0.5], w[0] * e * [2, 0.5]], rtol=1e-14)


@pytest.mark.parametrize("b", [1, 4])
def test_without_noise_in_the_weights_the_conditional_variance_is_exact(b):
    start, *_ = estimate(ScalarTraining(NETWORK, FIFTH, 0), b, 1000, seed=1)
    # Var s = 2/b, G = (7/8, −21/8)
    closed_form = 2 / b * np.array([49 / 64, 441 / 64])
    moments = start.estimates["rao_blackwell"]
    np.testing.assert_allclose(moments.mean, closed_form, rtol=1e-12)
    np.testing.assert_allclose(moments.m2, 0, atol=1e-20)
    sample = start.estimates["sample"]
    p = p_value(1000, sample.mean, sample.m2, sample.m3, closed_form)
    assert holm(p).min() > 1e-3


def test_light_tails_agree_with_the_exact_variance():
    steps = estimate(ScalarTraining(NETWORK, FIFTH, 1), 16, 100_000, seed=2)
    p = []
    for one in steps:
        for name in ("sample", "rao_blackwell"):
            if (one.step, name) == (0, "rao_blackwell"):
                continue  # constant: compared above
            moments = one.estimates[name]
            truth = exact(one.step, 16)
            # Tight enough that the p-value has power: a wrong factor 1 + 1/b would be caught.
            error = np.sqrt(moments.m2) / moments.n_replicas / truth
            assert np.all(error < 0.01)
            p.append(p_value(moments.n_replicas, moments.mean, moments.m2, moments.m3, truth))
    assert holm(p).min() > 1e-3


@pytest.mark.parametrize("step", [1, 2])
def test_both_estimators_have_the_same_mean(step):
    """Paired differences over many small experiments: far tighter than either against truth."""
    repeats = repeat_estimates(ScalarTraining(NETWORK, FIFTH, step), 16, 20, 20_000, seed=3)[
        step
    ].estimates
    difference = repeats["sample"].mean - repeats["rao_blackwell"].mean
    error = difference.std(axis=1, ddof=1) / np.sqrt(difference.shape[1])
    assert np.all(np.abs(difference.mean(axis=1)) < 4 * error)
    assert np.all(error < 0.005 * exact(step, 16))
    spread = {name: one.mean.std(axis=1) for name, one in repeats.items()}
    assert np.all(spread["rao_blackwell"] < 0.9 * spread["sample"])


def test_chunks_pool_to_the_direct_computation():
    b, n_runs, seed = 3, 1000, 5
    sizes = [334, 333, 333]
    steps = estimate(ScalarTraining(NETWORK, FIFTH, 2), b, n_runs, seed, chunk=400)
    draws = list(streamed_factors(seed, b, n_runs, sizes, 3))
    for t in range(3):
        squares, values, weights = np.zeros(2), [], []
        for s in draws:
            stream = iter(s)
            population, g = list(gradients(NETWORK, FIFTH, lambda it=stream: next(it)))[t]
            squares += ((g - g.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
            values.append(contributions(population, g, b)["sample"])
            # sum of squares over runs less one per chunk, hence the common factor
            size = s[0].shape[-1]
            weights.append(np.full(size, (1 - 1 / size) / (1 - len(sizes) / n_runs)))
        pooled = steps[t].estimates["sample"]
        y = np.concatenate(values, axis=1)
        assert np.all(pooled.n_replicas == n_runs)
        assert np.all(pooled.dof == n_runs - len(sizes))
        np.testing.assert_allclose(pooled.mean, squares / (n_runs - len(sizes)), rtol=1e-12)
        centred, weight = y - pooled.mean[:, None], np.concatenate(weights)
        np.testing.assert_allclose(pooled.m2, (weight * centred**2).sum(axis=1), rtol=1e-10)
        np.testing.assert_allclose(pooled.m3, (weight * centred**3).sum(axis=1), rtol=1e-10)
        np.testing.assert_allclose(pooled.max, y.max(axis=1), rtol=1e-12)


def test_repeats_are_separate_experiments():
    """One group and many groups of repeats: shapes, and the same as numpy's variance."""
    b, n_runs = 4, 50
    one = repeat_estimates(
        ScalarTraining(NETWORK, FIFTH, 1), b, n_runs, 7, seed=6, chunk=2 * n_runs
    )
    assert one[1].estimates["sample"].mean.shape == (2, 7)
    name = ("heavy_tails_repeats", b, n_runs, 7)
    expected = []
    for index, size in enumerate([2, 2, 2, 1]):
        generator = np.random.default_rng(seed_sequence(6, *name, index))
        draws = iter([draw_factors(generator, b, (size, n_runs)) for _ in range(2)])
        _, g = list(gradients(NETWORK, FIFTH[:1], lambda it=draws: next(it)))[1]
        expected.append(g.var(axis=-1, ddof=1))
    np.testing.assert_allclose(
        one[1].estimates["sample"].mean, np.concatenate(expected, axis=1), rtol=1e-12
    )


def test_seeds_reproduce_and_separate():
    def numbers(b, n_runs, seed):
        one = estimate(ScalarTraining(NETWORK, FIFTH, 2), b, n_runs, seed, chunk=100)[2].estimates[
            "sample"
        ]
        return np.stack([getattr(one, name) for name in FIELDS])

    first = numbers(2, 200, 1)
    np.testing.assert_array_equal(first, numbers(2, 200, 1))
    assert np.all(first[2] != numbers(2, 200, 2)[2])
    # Another number of runs is another experiment: its first chunk is not the same runs.
    assert np.all(first[5] != numbers(2, 300, 1)[5])
    # The chunks of one experiment differ too.
    chunks = list(streamed_factors(1, 2, 200, [100, 100], 1))
    assert not np.any(chunks[0] == chunks[1])


@pytest.mark.parametrize(("b", "least_caught"), [(1, 0.97), (2, 0.65)])
def test_a_thousand_runs_miss_the_variance_and_the_flag_tells(b, least_caught):
    """Claim H1, layer 1: measured over 4,000 repeats, 99 % (b = 1) and 73 % (b = 2) are caught."""
    moments = repeat_estimates(ScalarTraining(NETWORK, FIFTH, 2), b, 1000, 1000, seed=7)[
        2
    ].estimates["sample"]
    interval = variance_interval(moments.n_replicas, moments.mean, moments.m2, moments.m3)
    below = interval.high[0] < exact(2, b)[0]
    assert below.mean() > 0.98
    flagged = ~reliability(moments.n_replicas, moments.mean, moments.max)[1][0]
    assert flagged[below].mean() > least_caught
    # The typical estimate is wrong by orders of magnitude, not by a few standard errors.
    assert np.median(moments.mean[0]) < exact(2, b)[0] / 1000


def test_an_unseen_tail_leaves_no_trace():
    """b = 2, layer 2: nearly every interval misses, yet most samples look as light as at large b.

    Some 16 % are flagged. No function of the runs can do much better: it takes the exact value.
    """
    moments = repeat_estimates(ScalarTraining(NETWORK, FIFTH, 2), 2, 1000, 1000, seed=8)[
        2
    ].estimates["sample"]
    interval = variance_interval(moments.n_replicas, moments.mean, moments.m2, moments.m3)
    assert np.mean(interval.high[1] < exact(2, 2)[1]) > 0.98
    # At b = 4, where the intervals hold, the median relative standard error is 9 %.
    assert np.median(interval.std_error[1] / moments.mean[1]) < 0.15


def test_the_flag_is_silent_where_intervals_hold():
    moments = repeat_estimates(ScalarTraining(NETWORK, FIFTH, 2), 16, 1000, 1000, seed=9)[
        2
    ].estimates
    for one in moments.values():
        interval = variance_interval(one.n_replicas, one.mean, one.m2, one.m3)
        truth = exact(2, 16)[:, None]
        missed = (interval.high < truth) | (interval.low > truth)
        assert np.all(missed.mean(axis=1) < 0.08)
        assert np.mean(~reliability(one.n_replicas, one.mean, one.max)[1]) < 0.01


def test_overflow_is_reported_and_never_averaged(caplog):
    """A huge learning rate: e grows to the power three at each step and leaves float64."""
    rates = [Fraction(10**60)] * 2
    with caplog.at_level(logging.WARNING):
        steps = estimate(ScalarTraining(NETWORK, rates, 2), 4, 300, seed=1, chunk=100)
    assert [one.n_diverged for one in steps] == [0, 300, 300]
    assert np.all(np.isfinite(steps[0].estimates["sample"].mean))
    for name in ("sample", "rao_blackwell"):
        assert np.all(np.isnan(steps[1].estimates[name].mean))
    assert "b = 4: 300 of 300 runs are not finite at step 1" in caplog.text


def test_repeats_lose_only_those_that_overflow():
    """At this rate some runs overflow and others do not; repeats without one keep an estimate."""
    rates = [Fraction(10**51), Fraction(0)]
    one = repeat_estimates(ScalarTraining(NETWORK, rates, 1), 1, 2, 400, seed=1)[1]
    kept = np.isfinite(one.estimates["sample"].mean)
    assert 0 < one.n_diverged < 800
    assert 0 < kept[0].sum() < 400
    np.testing.assert_array_equal(kept[0], kept[1])
    assert (~kept[0]).sum() <= one.n_diverged <= 2 * (~kept[0]).sum()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: estimate(ScalarTraining(NETWORK, FIFTH, 2), 1, 1, seed=1), "at least 2, got 1"),
        (
            lambda: estimate(ScalarTraining(NETWORK, FIFTH, 3), 1, 10, seed=1),
            "step 3 needs 3 learning rates",
        ),
        (
            lambda: repeat_estimates(ScalarTraining(NETWORK, FIFTH, 2), 1, 10, 0, seed=1),
            "positive, got 0",
        ),
        (lambda: estimate(ScalarTraining(NETWORK, FIFTH, 2), 0, 10, seed=1), "positive, got 0"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
