"""Coverage, size and calibration by seeded simulation; degenerate cases and definitions exactly."""

from collections.abc import Callable
from itertools import combinations, pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from pipeline_lib.estimation.inference import (
    _cubic_inverse,
    decreasing_p_value,
    holm,
    p_value,
    sidak_level,
    standard_error,
    variance_interval,
)
from pipeline_lib.estimation.reliability import (
    SHARE_FLOOR,
    Estimate,
    decisive,
    error_bound,
    precise,
    reliability,
    runs_to_decide,
)

pytestmark = pytest.mark.slow

Array = NDArray[np.float64]
Sampler = Callable[[np.random.Generator, int, int], Array]
SCALES = 2.0 ** (-np.arange(8) / 2)


def deviations(g: Array) -> Array:
    """R/(R−1)|g_r − ḡ|² for gradients of shape (repeats, R, dimension)."""
    n = g.shape[1]
    return n / (n - 1) * ((g - g.mean(1, keepdims=True)) ** 2).sum(-1)


def gaussian(r: np.random.Generator, k: int, n: int) -> Array:
    return deviations(r.standard_normal((k, n, 8)) * SCALES) / (SCALES**2).sum()


def chi_squared(r: np.random.Generator, k: int, n: int) -> Array:
    return deviations(r.standard_normal((k, n, 1)))


def lognormal(r: np.random.Generator, k: int, n: int) -> Array:
    return np.exp(r.standard_normal((k, n)) - 0.5)


def product(r: np.random.Generator, k: int, n: int) -> Array:
    return deviations(np.prod(r.standard_normal((k, n, 3)), -1)[..., None])


def power_18(r: np.random.Generator, k: int, n: int) -> Array:
    return r.standard_normal((k, n)) ** 18 / 34459425.0  # 17!!


def uniform(r: np.random.Generator, k: int, n: int) -> Array:
    return 2 * r.random((k, n))


LAWS: dict[str, Sampler] = {
    "gaussian": gaussian,
    "chi_squared": chi_squared,
    "lognormal": lognormal,
    "product": product,
    "power_18": power_18,
    "uniform": uniform,
}


def statistics(law: str, n: int, repeats: int, seed: int) -> tuple[Array, Array, Array, Array]:
    """mean, m2, m3 and the largest contribution of `repeats` samples; every law has mean 1."""
    rng = np.random.default_rng(seed)
    parts = []
    chunk = max(1, 200_000 // n)
    for start in range(0, repeats, chunk):
        y = LAWS[law](rng, min(chunk, repeats - start), n)
        d = y - y.mean(1, keepdims=True)
        parts.append(np.stack([y.mean(1), (d**2).sum(1), (d**3).sum(1), y.max(1)]))
    mean, m2, m3, largest = np.concatenate(parts, 1)
    return mean, m2, m3, largest


def binomial_error(p: float, repeats: int) -> float:
    return float(np.sqrt(p * (1 - p) / repeats))


# The claimed least coverage of a nominal 95 % interval. Tails heavier than exponential cost a
# little, and no interval here may exceed the nominal level by more than a point and a half.
COVERAGE = [
    ("gaussian", 30, 6000, 0.94),
    ("gaussian", 100, 4000, 0.945),
    ("gaussian", 1000, 1500, 0.945),
    ("chi_squared", 30, 10000, 0.95),
    ("chi_squared", 100, 10000, 0.945),
    ("chi_squared", 1000, 4000, 0.945),
    ("chi_squared", 10000, 800, 0.945),
    ("lognormal", 30, 10000, 0.93),
    ("lognormal", 100, 10000, 0.935),
    ("lognormal", 1000, 4000, 0.945),
    ("lognormal", 10000, 800, 0.945),
    ("product", 30, 10000, 0.895),
    ("product", 100, 10000, 0.94),
    ("product", 1000, 3000, 0.935),
    ("uniform", 30, 10000, 0.95),
]


@pytest.mark.parametrize(("law", "n", "repeats", "claim"), COVERAGE)
def test_coverage_of_the_95_percent_interval(law: str, n: int, repeats: int, claim: float) -> None:
    mean, m2, m3, _ = statistics(law, n, repeats, seed=1)
    interval = variance_interval(n, mean, m2, m3)
    coverage = np.mean((interval.low <= 1) & (interval.high >= 1))
    assert coverage > claim - 3.5 * binomial_error(claim, repeats)
    assert coverage < 0.965 + 3.5 * binomial_error(0.965, repeats)


@pytest.mark.parametrize("law", ["gaussian", "chi_squared", "lognormal"])
def test_one_sided_errors_are_balanced_at_a_thousand_runs(law: str) -> None:
    repeats = 3000
    mean, m2, m3, _ = statistics(law, 1000, repeats, seed=2)
    interval = variance_interval(1000, mean, m2, m3)
    band = 3.5 * binomial_error(0.025, repeats) + 0.005  # lognormal: 0.5 % more from above
    assert abs(np.mean(interval.low > 1) - 0.025) < band
    assert abs(np.mean(interval.high < 1) - 0.025) < band


def test_candidates_on_skewed_data() -> None:
    """The percentages of the docstring: 100 runs of (x1 x2 x3)², nominal 95 %."""
    n, repeats = 100, 10000
    mean, m2, m3, _ = statistics("product", n, repeats, seed=3)
    q = stats.t.ppf(0.975, n - 1)
    se = np.sqrt(m2 / (n * (n - 1)))
    relative = se / mean
    skew = m3 / n / (m2 / n) ** 1.5
    a = (skew / 3 - relative * np.sqrt(n) / 2) / np.sqrt(n)
    b = skew / (6 * np.sqrt(n))
    chosen = variance_interval(n, mean, m2, m3)
    ends = {
        "t": (mean - q * se, mean + q * se),
        "log t": (mean * np.exp(-q * relative), mean * np.exp(q * relative)),
        "log Hall": (
            mean * np.exp(-relative * _cubic_inverse(np.full(repeats, q), a, b)),
            mean * np.exp(-relative * _cubic_inverse(np.full(repeats, -q), a, b)),
        ),
        "Hall": (chosen.low, chosen.high),
    }
    coverage = {name: np.mean((low <= 1) & (high >= 1)) for name, (low, high) in ends.items()}
    stated = {"t": 0.79, "log t": 0.84, "log Hall": 0.85, "Hall": 0.94}
    for name, claim in stated.items():
        assert abs(coverage[name] - claim) < 3.5 * binomial_error(claim, repeats) + 0.005, name


@pytest.mark.parametrize(("law", "n"), [("chi_squared", 30), ("lognormal", 100)])
def test_beats_the_t_interval_for_skewed_data(law: str, n: int) -> None:
    repeats = 10000
    mean, m2, m3, _ = statistics(law, n, repeats, seed=4)
    interval = variance_interval(n, mean, m2, m3)
    half = stats.t.ppf(0.975, n - 1) * interval.std_error
    plain = np.mean(np.abs(mean - 1) <= half)
    chosen = np.mean((interval.low <= 1) & (interval.high >= 1))
    assert chosen - plain > 3.5 * np.sqrt(2) * binomial_error(0.95, repeats)
    assert abs(chosen - 0.95) < abs(plain - 0.95)


def test_interval_leans_upwards_for_bounded_contributions() -> None:
    mean, m2, m3, _ = statistics("uniform", 30, 10000, seed=16)
    interval = variance_interval(30, mean, m2, m3)
    from_below = np.mean(interval.low > 1)
    assert 2 * np.mean(interval.high < 1) < from_below < 0.05


def test_unseen_tails_defeat_the_interval_but_raise_the_flag() -> None:
    mean, m2, m3, largest = statistics("power_18", 1000, 1000, seed=5)
    interval = variance_interval(1000, mean, m2, m3)
    assert 0.4 < np.mean(interval.high < 1) < 0.7
    _, reliable = reliability(1000, mean, largest)
    assert np.mean(~reliable) > 0.99


@pytest.mark.parametrize("n", [30, 100, 1000, 10000])
@pytest.mark.parametrize("law", ["chi_squared", "gaussian"])
def test_flag_is_silent_for_gaussian_gradients(law: str, n: int) -> None:
    repeats = {30: 10000, 100: 4000, 1000: 1000, 10000: 100}[n]
    mean, _, _, largest = statistics(law, n, repeats, seed=6)
    share, reliable = reliability(n, mean, largest)
    assert np.mean(~reliable) < 0.01
    if n >= 1000:  # too few repeats to see a rate of 1 %; the shares are far from the threshold
        assert share.max() < 0.5 * SHARE_FLOOR


def test_reliability_by_hand() -> None:
    share, reliable = reliability(
        [1000, 1000, 50, 10, 1, 100], [1.0, 1.0, 1.0, 0.0, 1.0, np.nan], [99, 101, 5, 0, 1, 1]
    )
    np.testing.assert_allclose(share, [0.099, 0.101, 0.1, 0, np.nan, np.nan])
    assert reliable.tolist() == [True, False, True, True, False, False]


def test_agrees_with_definition_of_hall_transformation() -> None:
    """Against the closed form of Hall (1992), with skewness above the imposed bound."""
    n = 400
    y = np.exp(np.random.default_rng(7).standard_normal(n))
    d = y - y.mean()
    s, m2, m3 = y.std(ddof=1), (d**2).sum(), (d**3).sum()
    g = stats.skew(y, bias=False)
    assert g > 2 * s / y.mean()
    z = stats.t.ppf([0.95, 0.05], n - 1)
    w = z / np.sqrt(n) - g / (6 * n)
    expected = y.mean() - s * 3 / g * (np.cbrt(1 + g * w) - 1)
    interval = variance_interval(n, y.mean(), m2, m3, level=0.9, dof=n)  # of independent y
    np.testing.assert_allclose([interval.low, interval.high], expected, rtol=1e-12)
    np.testing.assert_allclose(interval.std_error, s / np.sqrt(n), rtol=1e-12)


def test_interval_is_monotone_in_level_nonnegative_and_equivariant() -> None:
    mean, m2, m3, _ = statistics("product", 30, 200, seed=8)
    levels = [0.5, 0.8, 0.95, 0.99, 0.9999, 1 - 1e-9]
    intervals = [variance_interval(30, mean, m2, m3, level) for level in levels]
    for narrow, wide in pairwise(intervals):
        assert np.all(wide.low <= narrow.low)
        assert np.all(wide.high > narrow.high)
    assert np.all(intervals[-1].low >= 0)
    assert np.all(intervals[-1].low < mean)
    for scale in (1e-90, 1e90):
        scaled = variance_interval(30, mean * scale, m2 * scale**2, m3 * scale**3)
        np.testing.assert_allclose(scaled.high, intervals[2].high * scale, rtol=1e-10)


def test_degenerate_intervals_and_broadcasting() -> None:
    interval = variance_interval([10, 10, 10, 1, 10], [2, 0, np.nan, 2, 2], [0, 0, 1, 0, np.nan], 0)
    np.testing.assert_array_equal(interval.low, [2, 0, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(interval.high, interval.low)
    np.testing.assert_array_equal(interval.std_error, [0, 0, np.nan, np.nan, np.nan])
    assert variance_interval(np.full((3, 1), 9), np.ones(4), 2.0, 1.0).low.shape == (3, 4)
    two = variance_interval(2, 1.0, 0.5, 0.0)  # a pair: both contributions are one number
    assert np.isnan([two.std_error, two.low, two.high]).all()
    three = variance_interval(3, 1.0, 0.5, 0.0)
    assert 0 <= three.low < 1 < three.high < np.inf
    pairs = variance_interval([4, 4], 1.0, 0.5, 0.0, dof=[3, 2])
    assert pairs.high[0] < pairs.high[1] < np.inf
    for level in (0.0, 1.0, 95.0):
        with pytest.raises(ValueError, match="level must lie"):
            variance_interval(10, 1.0, 1.0, 0.0, level)


def test_p_value_agrees_with_the_interval() -> None:
    mean, m2, m3, _ = statistics("lognormal", 40, 300, seed=9)
    nulls = np.linspace(0.2, 3, 57)[:, None]
    for level in (0.9, 0.95, 0.999):
        interval = variance_interval(40, mean, m2, m3, level)
        outside = (nulls < interval.low) | (nulls > interval.high)
        rejected = p_value(40, mean, m2, m3, nulls) < 1 - level
        assert 0 < outside.sum() < outside.size
        np.testing.assert_array_equal(rejected, outside)
    edge = variance_interval(40, mean, m2, m3)
    np.testing.assert_allclose(p_value(40, mean, m2, m3, edge.high), 0.05, rtol=1e-9)


def test_p_value_is_uniform_under_the_null() -> None:
    mean, m2, m3, _ = statistics("gaussian", 1000, 2000, seed=10)
    p = p_value(1000, mean, m2, m3, 1.0)
    assert stats.kstest(p, "uniform").pvalue > 1e-3
    assert stats.kstest(p_value(1000, mean, m2, m3, 1.02), "uniform").pvalue < 1e-6


def test_degenerate_p_values() -> None:
    p = p_value([9, 9, 1, 9], [2, 2, 2, np.nan], 0.0, 0.0, [2, 3, 2, 2])
    np.testing.assert_array_equal(p, [1, 0, np.nan, np.nan])
    p = decreasing_p_value(Estimate([2, 2, 1], 0, 8), Estimate([1, 2, 2], 0, 8))
    np.testing.assert_array_equal(p, [0, 1, 1])
    # b = n: the second variance is exactly zero, so any spread at all in the first decides.
    p = decreasing_p_value(Estimate([1, 0], [2, 0], 8), Estimate([0, 1], [0, 2], 8))
    np.testing.assert_array_equal(p, [0, 1])
    one = Estimate(2.0, 0.5, 8)
    for other in (Estimate(np.nan, 1, 8), Estimate(1, np.nan, 8), Estimate(1, 0.1, 1)):
        assert np.isnan(decreasing_p_value(one, other))
        assert np.isnan(decreasing_p_value(other, one))
    # spread in one of them alone
    assert 0 < decreasing_p_value(one, Estimate(1.0, 0.0, 8)) < 0.5


def estimate(law: str, n: int, repeats: int, seed: int, scale: float = 1.0) -> Estimate:
    """``repeats`` estimates of the variance ``scale`` from n runs in one group."""
    mean, m2, _, _ = statistics(law, n, repeats, seed)
    return Estimate(scale * mean, scale * standard_error(n, m2, n - 1), n - 1)


@pytest.mark.parametrize("level", [0.05, 1e-2, 1e-3])
@pytest.mark.parametrize(
    ("law_1", "law_2", "n_1", "n_2"),
    [
        ("gaussian", "gaussian", 4, 4),
        ("gaussian", "gaussian", 8, 8),
        ("gaussian", "gaussian", 4, 30),
        ("chi_squared", "chi_squared", 4, 4),
        ("chi_squared", "chi_squared", 8, 8),
        ("chi_squared", "chi_squared", 100, 100),
        ("gaussian", "chi_squared", 30, 30),
        ("chi_squared", "gaussian", 100, 30),
    ],
)
def test_the_test_for_decrease_keeps_its_level(
    law_1: str, law_2: str, n_1: int, n_2: int, level: float
) -> None:
    """For squared lengths of Gaussian vectors, in one dimension and in many."""
    repeats = 60_000 if n_1 < 100 else 20_000
    p = decreasing_p_value(estimate(law_1, n_1, repeats, 11), estimate(law_2, n_2, repeats, 12))
    assert np.mean(p < level) < level + 3.5 * binomial_error(level, repeats)


def test_unseen_tails_defeat_the_test_unless_precision_is_asked_for() -> None:
    repeats = 20_000
    light, heavy = estimate("gaussian", 30, repeats, 11), estimate("product", 30, repeats, 12)
    p = decreasing_p_value(light, heavy)
    assert np.mean(p < 0.01) > 0.02
    tested = decisive(light) & decisive(heavy)
    assert np.mean((p < 0.01) & tested) < 0.001


def test_decrease_has_power_in_one_direction_and_is_scale_free() -> None:
    one, larger = (
        estimate("chi_squared", 1000, 300, 14),
        estimate("chi_squared", 1000, 300, 13, 1.5),
    )
    p = decreasing_p_value(larger, one)
    assert np.mean(p < 0.01) > 0.95  # log 1.5 is 6.4 standard errors
    assert np.all(decreasing_p_value(one, larger) > 0.9)
    units = [
        decreasing_p_value(*(Estimate(c * e.mean, c * e.std_error, e.dof) for e in (larger, one)))
        for c in (1.0, 1e-90, 1e90)
    ]
    for other in units[1:]:
        np.testing.assert_allclose(units[0], other, rtol=1e-6)


def test_decrease_is_the_larger_of_a_t_and_an_f_test() -> None:
    """Against scipy, from the definition."""
    for (v_1, error_1, dof_1), (v_2, error_2, dof_2) in (
        ((1.3, 0.2, 7), (1.0, 0.3, 11)),
        ((1.03, 1e-2, 5), (1.0, 2e-2, 5)),
        ((1.5, 0.5, 300), (1.0, 0.4, 200)),
    ):
        relative = [error_1 / v_1, error_2 / v_2]
        t = np.log(v_1 / v_2) / np.hypot(*relative)
        free = [
            2 / (r**2 * (dof - 1) / stats.chi2.ppf(0.05, dof - 1))
            for r, dof in zip(relative, (dof_1, dof_2), strict=True)
        ]
        expected = max(stats.t.sf(t, min(dof_1, dof_2) - 1), stats.f.sf(v_1 / v_2, *free))
        p = decreasing_p_value(Estimate(v_1, error_1, dof_1), Estimate(v_2, error_2, dof_2))
        np.testing.assert_allclose(p, expected, rtol=1e-9)
    # where F has a million degrees of freedom and more it is lognormal
    near = [
        decreasing_p_value(Estimate(1 + 3 * e, e, 10_000), Estimate(1.0, e, 10_000))
        for e in (7.0e-4, 7.1e-4)
    ]
    np.testing.assert_allclose(*near, rtol=5e-3)


def test_standard_errors_by_simulation() -> None:
    """The mean of SE² is the variance of the estimate: one group, pairs, conditional variances."""
    rng = np.random.default_rng(17)
    for groups, size in ((1, 3), (1, 8), (2, 2), (6, 2), (3, 5)):
        g = rng.standard_normal((60_000, groups, size, 4)) * SCALES[:4]
        y = deviations(g.reshape(-1, size, 4)).reshape(60_000, -1)
        mean = y.mean(1)
        m2 = ((y - mean[:, None]) ** 2).sum(1)
        square = standard_error(groups * size, m2, groups * (size - 1)) ** 2
        np.testing.assert_allclose(square.mean(), mean.var(), rtol=0.03)
    # a conditional variance that goes with the run's own deviation, as it does in training
    for size in (3, 8):
        x = rng.standard_normal((200_000, size))
        conditional = np.exp(0.5 * x)
        d = x - x.mean(1, keepdims=True)
        y = conditional + size / (size - 1) * d**2
        parts = [((one - one.mean(1, keepdims=True)) ** 2).sum(1) for one in (y, conditional)]
        square = standard_error(size, parts[0], size - 1, parts[1]) ** 2
        np.testing.assert_allclose(square.mean(), y.mean(1).var(), rtol=0.03)


def test_there_is_no_error_with_one_degree_of_freedom() -> None:
    error = standard_error([2, 2, 3, 4, 4], [0.0, 1.0, 0.0, 1.0, np.nan], [1, 1, 2, 2, 3])
    np.testing.assert_array_equal(np.isnan(error), [True, True, False, False, True])
    assert error[2] == 0
    assert error[3] == 0.5
    # parts that vary against each other never give a negative square
    assert standard_error(3, 0.0, 2, 5.0) == 0


def test_bounds_of_errors_hold() -> None:
    """Exactly for independent normal contributions; more often for deviations from one mean."""
    rng = np.random.default_rng(18)
    for n in (4, 8):
        g = rng.standard_normal((2_000, n, 1000))
        y = deviations(g) / 1000
        error = standard_error(n, ((y - y.mean(1, keepdims=True)) ** 2).sum(1), n - 1)
        truth = np.sqrt(2 / (1000 * (n - 1)))
        held = np.mean(error * error_bound(n - 1) > truth)
        assert held > 0.95 - 3.5 * binomial_error(0.95, 2_000)
        y = 1 + 0.01 * rng.standard_normal((20_000, n))
        error = y.std(1, ddof=1) / np.sqrt(n)
        held = np.mean(error * error_bound(n) > 0.01 / np.sqrt(n))
        assert abs(held - 0.95) < 3.5 * binomial_error(0.95, 20_000)


def test_precision_by_hand() -> None:
    bound = float(error_bound(7))
    assert bound == pytest.approx(np.sqrt(6 / stats.chi2.ppf(0.05, 6)), rel=1e-12)
    just = np.array([0.399, 0.401]) / bound
    assert precise(Estimate(1.0, just, 7)).tolist() == [True, False]
    assert decisive(Estimate(1.0, np.array([0.199, 0.201]) / bound, 7)).tolist() == [True, False]
    many = 0.15 / float(error_bound(10_000))  # and at many runs less
    assert precise(Estimate(1.0, [0.99 * many, 1.01 * many], 10_000)).tolist() == [True, False]
    # too few runs, no error, nothing at all
    assert precise(Estimate([1, 1, np.nan, 0], [0, np.nan, 0, 0], [2, 9, 9, 9])).tolist() == [
        False, False, False, True,
    ]  # fmt: skip


def test_the_runs_that_it_takes_are_enough_and_not_many_more() -> None:
    for relative, dof in ((0.5, 7), (0.2, 3), (0.05, 99), (1.2, 2)):
        needed = float(runs_to_decide(Estimate(1.0, relative, dof)))
        for factor, expected in ((1.05, True), (0.9, False)):
            n = max(factor * needed, 4.5 if expected else 0.0)
            shrunk = relative * np.sqrt(dof / (n - 1))
            if n >= 4:
                assert bool(decisive(Estimate(1.0, shrunk, n - 1))) is expected, (relative, n)
    assert runs_to_decide(Estimate(1.0, 1e-6, 99)) == 4
    assert np.isnan(runs_to_decide(Estimate(1.0, np.nan, 1)))


def closed_testing(p: Array) -> Array:
    """Adjusted p-value: the largest Bonferroni p-value over the subsets that contain it."""
    adjusted = np.zeros(p.size)
    for size in range(1, p.size + 1):
        for subset in combinations(range(p.size), size):
            members = list(subset)
            value = min(1.0, size * float(p[members].min()))
            adjusted[members] = np.maximum(adjusted[members], value)
    return adjusted


def test_holm_by_hand_and_by_closed_testing() -> None:
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([[0.01, np.nan], [0.6, 0.02]]), [[0.03, np.nan], [0.6, 0.04]])
    rng = np.random.default_rng(15)
    for m in (1, 2, 5, 8):
        p = rng.random(m) ** 3
        p[-1] = p[0]  # a tie
        np.testing.assert_allclose(holm(p), closed_testing(p), rtol=1e-14)
    assert np.isnan(holm([np.nan])).all()
    assert holm([]).shape == (0,)
    with pytest.raises(ValueError, match="p-values must lie"):
        holm([0.5, 1.5])


def test_sidak_level() -> None:
    assert sidak_level(0.95, 20) ** 20 == pytest.approx(0.95, rel=1e-14)
    assert sidak_level(0.9, 1) == 0.9
    with pytest.raises(ValueError, match="at least 1, got 0"):
        sidak_level(0.95, 0)
