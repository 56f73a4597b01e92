"""The closed recursions against enumeration of every mini-batch sequence."""

from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.theory import regression_covariance
from pipeline_lib.theory.linear_regression import (
    batch_factor,
    conditional_variance,
    exact_moments,
)

RATES = np.array([0.5, 0.25, 1 / 6])


def problem(n, p, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p)) + 0.3
    return x, rng.normal(size=n), rng.normal(size=p)


def enumerate_moments(x, y, w0, rates, b):
    """Averages over all C(n, b)^t equally likely histories, straight from the definitions."""
    n = len(x)
    batches = [list(batch) for batch in combinations(range(n), b)]
    weights = np.array([w0])
    stochastic, full, loss = [], [], []
    for rate in rates:
        residual = weights @ x.T - y  # (histories, n)
        per_sample = residual[:, :, None] * x  # (histories, n, p)
        gradient = per_sample.mean(axis=1)
        g = np.stack([per_sample[:, batch].mean(axis=1) for batch in batches], axis=1)
        every = g.reshape(-1, x.shape[1])
        stochastic.append(((every - every.mean(axis=0)) ** 2).sum(axis=1).mean())
        full.append(((gradient - gradient.mean(axis=0)) ** 2).sum(axis=1).mean())
        loss.append(0.5 * (residual**2).mean())
        weights = (weights[:, None, :] - rate * g).reshape(-1, x.shape[1])
    return np.array(stochastic), np.array(full), np.array(loss)


@pytest.mark.parametrize("n", [4, 5])
@pytest.mark.parametrize("p", [1, 2, 3])
def test_recursion_equals_enumeration(n, p):
    x, y, w0 = problem(n, p, seed=10 * n + p)
    sizes = np.arange(1, n + 1)
    moments = exact_moments(x, y, w0, RATES, sizes)
    assert moments.stochastic_gradient.shape == (3, n)
    for j, b in enumerate(sizes):
        stochastic, full, loss = enumerate_moments(x, y, w0, RATES, b)
        # atol only matters where the truth is zero: b = n, and the full gradient at t = 0
        np.testing.assert_allclose(moments.stochastic_gradient[:, j], stochastic, 1e-12, 1e-26)
        np.testing.assert_allclose(moments.full_gradient[:, j], full, 1e-12, 1e-26)
        np.testing.assert_allclose(moments.expected_loss[:, j], loss, 1e-12)


@pytest.mark.parametrize("chunk", [1, 7, 30])  # steps
def test_steps_in_chunks_are_steps_in_one(chunk, monkeypatch):
    arguments = (*problem(20, 3), 0.2 / np.arange(1, 31), [1, 4, 20])
    whole = exact_moments(*arguments)
    monkeypatch.setattr(regression_covariance, "CHUNK_BYTES", 8 * 6 * 3 * chunk)
    parts = exact_moments(*arguments)
    for name in ("stochastic_gradient", "full_gradient", "expected_loss", "example_variance"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), 1e-14, err_msg=name)


def test_collinear_features_equal_enumeration():
    x, y, w0 = problem(5, 2)
    x = np.column_stack([x, x[:, 0] - 2 * x[:, 1]])
    w0 = np.append(w0, 0.5)
    moments = exact_moments(x, y, w0, RATES, [2])
    stochastic, full, loss = enumerate_moments(x, y, w0, RATES, 2)
    np.testing.assert_allclose(moments.stochastic_gradient[:, 0], stochastic, 1e-12)
    np.testing.assert_allclose(moments.full_gradient[1:, 0], full[1:], 1e-12)
    np.testing.assert_allclose(moments.expected_loss[:, 0], loss, 1e-12)


def test_batch_factor_is_the_variance_of_a_sample_mean():
    values = np.array([1.0, 4.0, -2.0, 0.5, 7.0])
    for b in range(1, 6):
        means = [values[list(batch)].mean() for batch in combinations(range(5), b)]
        expected = np.var(means) / np.var(values)
        np.testing.assert_allclose(batch_factor(b, 5), expected, 1e-13, 1e-30)


def test_conditional_variance_equals_enumeration():
    x, y, _ = problem(5, 3)
    weights = np.random.default_rng(1).normal(size=(4, 3))
    for b in (1, 2, 4):
        truth = [enumerate_moments(x, y, w, [0.1], b)[0][0] for w in weights]
        np.testing.assert_allclose(conditional_variance(x, y, weights, b), truth, 1e-12)


def test_variance_does_not_cancel_for_a_large_offset():
    # The same weights shifted by 1e6 leave all variances unchanged; E|w|² − |E w|² would lose
    # twelve digits of them. The data are integers so that the shifted problem is exact.
    x = np.array([[1.0, 2], [3, -1], [0, 1], [2, 2], [-1, 4]])
    y, w0 = np.array([1.0, 0, 2, -1, 3]), np.array([1.0, -2])
    shift = np.array([1e6, -1e6])
    near = exact_moments(x, y, w0, RATES, [1, 2, 3])
    far = exact_moments(x, y + x @ shift, w0 + shift, RATES, [1, 2, 3])
    np.testing.assert_allclose(far.stochastic_gradient, near.stochastic_gradient, 1e-8)
    np.testing.assert_allclose(far.full_gradient, near.full_gradient, 1e-8)


def exact_fractions(x, y, w0, rate, b, steps):
    """tr of the covariances of g_t and of ∇L(w_t), and E L(w_t), in rational arithmetic.

    Second moments of (w, 1) close: with z_i = (x_i, −y_i) a sample's gradient is x_i (z_i·(w, 1)).
    """
    n, p = x.shape
    z = np.column_stack([x, -y])
    v = np.append(w0, Fraction(1))
    second, mean = np.outer(v, v), v
    factor = Fraction(n - b, b * (n - 1))
    to_gradient = x.T @ z / Fraction(n)
    update = np.vstack([np.eye(p, dtype=int) * Fraction(1), np.zeros(p, dtype=int)]) * rate
    for _ in range(steps):
        full = to_gradient @ second @ to_gradient.T
        of_one = (x.T * np.diag(z @ second @ z.T)) @ x / Fraction(n)
        noise = factor * (of_one - full)
        gradient = to_gradient @ mean
        stochastic = np.trace(noise + full) - gradient @ gradient
        variance = np.trace(full) - gradient @ gradient
        loss = np.trace(z @ second @ z.T) / (2 * n)
        advance = np.eye(p + 1, dtype=int) * Fraction(1) - update @ to_gradient
        mean = advance @ mean
        second = advance @ second @ advance.T + update @ noise @ update.T
    return [float(value) for value in (stochastic, variance, loss)]


def test_features_of_very_different_scale():
    # Second moments from 1 to 1.6e13: the eigenvectors of H are known to its largest entry alone.
    years = np.array([1961, 1974, 1983, 1990, 1999, 2007, 2015, 2020])
    x = np.vectorize(Fraction)(np.column_stack([years**0, years, years**2]))
    y, w0 = np.array([0, 1, 1, 0, 1, 0, 1, 1]), np.array([Fraction(1)] * 3)
    rate, steps = Fraction(1, 2**44), 30
    moments = exact_moments(x.astype(float), y, [1, 1, 1], [float(rate)] * steps, [2])
    truth = exact_fractions(x, y + Fraction(0), w0, rate, 2, steps)
    found = moments.stochastic_gradient, moments.full_gradient, moments.expected_loss
    for name, values, exact in zip(("stochastic", "full", "loss"), found, truth, strict=True):
        np.testing.assert_allclose(values[-1, 0], exact, 1e-12, err_msg=name)


def test_directions_without_error_stay_without_error_where_others_diverge():
    x, rates = np.array([[3, 0], [-3, 0], [0, 0.1], [0, -0.1]]), np.ones(2000)
    moments = exact_moments(x, [3, -3, 1, 0], [1, 0], rates, [1, 4])
    assert np.isfinite(moments.expected_loss).all()
    assert not exact_moments([[1], [2], [3]], [0, 0, 0], [0], 10 * rates, [1]).expected_loss.any()


@pytest.mark.parametrize("noise", [0, 1])
def test_late_steps_keep_their_digits(noise):
    # Without noise the targets are met exactly: all gradients vanish in the end, and their
    # variance, 1e-11 of the first one, keeps the digits that residuals of 1e-16 leave.
    integers = np.array([[1, 2], [3, -1], [0, 1], [2, 2], [-1, 4]])
    x = np.vectorize(Fraction)(integers)
    y = x @ np.array([Fraction(2), Fraction(-1)]) + noise * np.array([1, 0, -1, 2, 0])
    w0, rate, steps = np.array([Fraction(1), Fraction(3)]), Fraction(1, 16), 60
    moments = exact_moments(integers, y.astype(float), [1, 3], [1 / 16] * steps, [2])
    stochastic, full, _ = exact_fractions(x, y, w0, rate, 2, steps)
    if not noise:
        assert stochastic < 2e-11 * moments.stochastic_gradient[0, 0]
    np.testing.assert_allclose(moments.stochastic_gradient[-1, 0], stochastic, 1e-10)
    np.testing.assert_allclose(moments.full_gradient[-1, 0], full, 1e-10)


problems = st.builds(
    lambda n, p, seed: problem(n, p, seed),
    st.integers(3, 12),
    st.integers(1, 4),
    st.integers(0, 2**32 - 1),
)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=problems, seed=st.integers(0, 1000))
def test_properties(data, seed):
    x, y, w0 = data
    n = len(x)
    rates = 0.5 / np.arange(1, 9)
    sizes = np.arange(1, n + 1)
    moments = exact_moments(x, y, w0, rates, sizes)
    stochastic, full = moments.stochastic_gradient, moments.full_gradient

    assert np.all(stochastic[:, -1] == 0)
    assert np.all(full[:, -1] == 0)
    assert np.all(full[0] == 0)
    scaled = stochastic[0, :-1] / batch_factor(sizes[:-1], n)
    np.testing.assert_allclose(scaled, scaled[0], 1e-13)
    # the sample gradients differ, so Corollary 1 holds with strict inequality
    assert np.all(np.diff(stochastic, axis=1) < 0)
    assert np.all(np.diff(full[1:], axis=1) < 0)
    # noise can only raise the expected loss above that of full-batch descent
    assert np.all(moments.expected_loss[1:, :-1] > moments.expected_loss[1:, -1:])

    order = np.random.default_rng(seed).permutation(n)
    shuffled = exact_moments(x[order], y[order], w0, rates, sizes)
    np.testing.assert_allclose(shuffled.stochastic_gradient, stochastic, 1e-10)
    np.testing.assert_allclose(shuffled.full_gradient, full, 1e-10)
    np.testing.assert_allclose(shuffled.expected_loss, moments.expected_loss, 1e-10)


def test_full_batch_loss_is_gradient_descent():
    x, y, w = problem(30, 4)
    rates = 0.1 / np.arange(1, 21)
    loss = exact_moments(x, y, w, rates, [30]).expected_loss[:, 0]
    for t, rate in enumerate(rates):
        residual = x @ w - y
        np.testing.assert_allclose(loss[t], 0.5 * np.mean(residual**2), 1e-12)
        w = w - rate * x.T @ residual / 30


@pytest.mark.parametrize("bad", [0, -1, 6, 2.5, np.nan])
def test_batch_size_out_of_range(bad):
    x, y, w = problem(5, 2)
    with pytest.raises(ValueError, match=r"batch size must be a whole number in \[1, 5\]"):
        batch_factor(bad, 5)
    with pytest.raises(ValueError, match="batch size must be"):
        exact_moments(x, y, w, RATES, [1, bad])
    with pytest.raises(ValueError, match="batch size must be"):
        conditional_variance(x, y, w[None], bad)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": np.ones(5)}, "features must have shape"),
        ({"features": np.ones((5, 0))}, "features must have shape"),
        ({"features": np.ones((1, 2)), "target": np.ones(1)}, "n must be at least 2, got 1"),
        ({"target": np.ones(4)}, r"target must have shape \(5,\), got \(4,\)"),
        ({"initial_weights": np.ones(3)}, r"initial_weights must have shape \(2,\)"),
        ({"target": np.array([1, 2, np.inf, 3, 4])}, "target must be finite"),
        ({"learning_rates": np.ones((2, 2))}, "learning_rates must be"),
        ({"learning_rates": [0.1, np.nan]}, "learning_rates must be"),
        ({"batch_sizes": 3}, "batch_sizes must have shape"),
    ],
)
def test_bad_input(change, message):
    x, y, w = problem(5, 2)
    good = {
        "features": x,
        "target": y,
        "initial_weights": w,
        "learning_rates": RATES,
        "batch_sizes": [1, 2],
    }
    exact_moments(**good)
    with pytest.raises(ValueError, match=message):
        exact_moments(**(good | change))


def test_small_n_and_bad_weights():
    x, y, w = problem(5, 2)
    with pytest.raises(ValueError, match="n must be at least 2, got 1"):
        batch_factor(1, 1)
    with pytest.raises(ValueError, match=r"weights must have shape \(R, p\)"):
        conditional_variance(x, y, w, 2)


def test_divergence_is_marked_where_it_happens_and_nowhere_else():
    x, y, w = problem(5, 2)
    moments = exact_moments(x, y, w, np.full(120, 30.0), [1, 5])
    for values in (moments.stochastic_gradient, moments.full_gradient, moments.expected_loss):
        assert np.isfinite(values[:3]).all()
        assert np.isnan(values[-1, 0])
        # Once lost, a batch size stays lost.
        assert (np.diff(np.isnan(values).astype(int), axis=0) >= 0).all()
    assert (moments.stochastic_gradient[:3, 1] == 0).all()
