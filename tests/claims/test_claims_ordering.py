"""Families of comparisons: planted orders, planted violations, too few runs, exact values."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pipeline_lib.claims.comparisons import best_estimator, neighbours, pairs
from pipeline_lib.claims.ordering import decide
from pipeline_lib.claims.own import decreasing_variance
from pipeline_lib.estimation.aggregation import variance_table
from pipeline_lib.estimation.inference import decreasing_p_value, variance_interval
from pipeline_lib.estimation.reliability import Estimate, reliability
from pipeline_lib.estimation.statistics import GradientRecord, statistics_rows
from pipeline_lib.estimation.variance import vector_moments

STEPS = 12


def table(truth, n_runs, seed=1, estimator="sample", dof=8, tensor="all"):
    """Estimates from `n_runs` runs of chi-squared contributions; ``truth[b]`` is (STEPS,)."""
    rng = np.random.default_rng(seed)
    parts = []
    for b, means in truth.items():
        y = np.asarray(means)[:, None] * rng.chisquare(dof, (len(means), n_runs)) / dof
        deviations = y - y.mean(axis=1, keepdims=True)
        m2, m3 = (deviations**2).sum(axis=1), (deviations**3).sum(axis=1)
        interval = variance_interval(n_runs, y.mean(axis=1), m2, m3)
        share, reliable = reliability(n_runs, y.mean(axis=1), y.max(axis=1))
        parts.append(
            pd.DataFrame(
                {
                    "init": 0,
                    "b": b,
                    "step": np.arange(len(means)),
                    "epoch": pd.array([pd.NA] * len(means), dtype="Int32"),
                    "quantity": "stochastic_gradient",
                    "tensor": tensor,
                    "estimator": estimator,
                    "variance": y.mean(axis=1),
                    "std_error": interval.std_error,
                    "ci_low": interval.low,
                    "ci_high": interval.high,
                    "n_runs": n_runs,
                    "dof": n_runs - 1,
                    "max_share": share,
                    "reliable": reliable,
                    "n_diverged": 0,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def falling(power=1.0, steps=STEPS):
    decay = 0.9 ** np.arange(steps)
    return {b: decay / b**power for b in (1, 2, 4, 8)}


def exact_of(truth):
    rows = [
        (0, b, step, "stochastic_gradient", "all", value)
        for b, values in truth.items()
        for step, value in enumerate(values)
    ]
    return pd.DataFrame(rows, columns=["init", "b", "step", "quantity", "tensor", "variance"])


def test_a_planted_order_is_confirmed():
    outcome = decide(neighbours(table(falling(), 400)))
    assert outcome.verdict == "confirmed"
    assert outcome.n_comparisons == outcome.n_for == 3 * STEPS
    assert outcome.p_for < 0.05
    assert not outcome.exact
    assert outcome.scale_needed() is None


def test_one_planted_violation_refutes():
    truth = falling()
    truth[4] = truth[4].copy()
    truth[4][7] = 1.5 * truth[2][7]
    outcome = decide(neighbours(table(truth, 400)))
    assert outcome.verdict == "refuted"
    assert outcome.n_against == 1
    assert outcome.p_value == outcome.p_against < 0.05


def test_the_other_direction_swaps_the_outcome():
    comparisons = neighbours(table(falling(), 400))
    assert decide(comparisons, direction="increasing").verdict == "refuted"
    rising = {1 / b: values for b, values in falling().items()}
    assert decide(neighbours(table(rising, 400)), direction="increasing").verdict == "confirmed"


def test_some_comparisons_without_power_leave_the_claim_partly_open():
    truth = falling()
    truth[8] = 0.999 * truth[4]
    outcome = decide(neighbours(table(truth, 400)), alpha=0.01)
    assert outcome.verdict == "partly"
    assert outcome.n_open == STEPS
    assert outcome.n_for == 2 * STEPS
    assert outcome.runs_needed > 400
    assert outcome.scale_needed().startswith("about ")
    assert "runs" in outcome.scale_needed()


def test_no_power_at_all_is_not_a_test():
    outcome = decide(neighbours(table(falling(power=0.01), 30)))
    assert outcome.verdict == "not tested at this scale"
    assert outcome.scale_needed() is not None


def test_a_true_tie_is_seldom_refuted():
    # 5 % of families at most, whatever their size: P(more than 9 of 60) is below 0.002
    flat = {b: np.ones(STEPS) for b in (1, 2, 4)}
    refuted = sum(decide(neighbours(table(flat, 100, seed))).n_against > 0 for seed in range(60))
    assert refuted <= 9


def test_unreliable_and_missing_estimates_stay_in_the_family_undecided():
    rows = table(falling(), 400)
    rows.loc[(rows["b"] == 1) & (rows["step"] == 3), "reliable"] = False
    rows.loc[(rows["b"] == 8) & (rows["step"] == 5), ["variance", "std_error"]] = np.nan
    rows = rows[~((rows["b"] == 4) & (rows["step"] == 9))]
    outcome = decide(neighbours(rows))
    assert outcome.n_comparisons == 3 * STEPS
    assert outcome.n_unusable == outcome.n_open == 4
    assert outcome.verdict == "partly"
    assert outcome.p_for == 1.0


def test_exact_values_settle_what_they_cover():
    truth = falling()
    rows = table(truth, 400)
    exact = exact_of(truth)
    outcome = decide(neighbours(rows, exact))
    assert outcome.exact
    assert outcome.verdict == "confirmed"
    assert outcome.p_value is None
    half = decide(neighbours(rows, exact[exact["step"] < 6]))
    assert (half.n_exact, half.exact, half.verdict) == (18, False, "confirmed")

    exact.loc[(exact["b"] == 2) & (exact["step"] == 2), "variance"] *= 3
    assert decide(neighbours(rows, exact)).verdict == "refuted"
    exact.loc[(exact["b"] == 2) & (exact["step"] == 2), "variance"] = truth[4][2]
    assert decide(neighbours(rows, exact)).verdict == "partly"


def test_the_p_value_is_of_what_the_verdict_rests_on():
    truth = falling()
    rows = table(truth, 400)
    exact = exact_of(truth)
    exact = exact[exact["step"] < 6]
    exact.loc[(exact["b"] == 2) & (exact["step"] == 2), "variance"] *= 3
    by_exact_values = decide(neighbours(rows, exact))
    assert (by_exact_values.verdict, by_exact_values.n_exact_against) == ("refuted", 1)
    assert by_exact_values.p_value is None  # the tests are all in favour
    truth[8] = 0.999 * truth[4]
    some = decide(neighbours(table(truth, 400)))
    assert some.verdict == "partly"
    assert some.p_value == some.p_for_least < 0.05 < some.p_for
    none = decide(neighbours(table(falling(power=0.01), 30)))
    assert (none.verdict, none.p_value) == ("not tested at this scale", None)


def test_no_number_of_runs_settles_a_tie():
    rows = table(falling(), 400)
    perfect = (rows["step"] == 5) & (rows["b"] > 2)
    rows.loc[perfect, ["variance", "std_error"]] = 0.0
    outcome = decide(neighbours(rows).assign(test="welch"))
    assert (outcome.verdict, outcome.n_open, outcome.n_tied) == ("partly", 1, 1)
    assert outcome.scale_needed().startswith("means that differ")


def test_p_values_are_those_of_inference():
    rows = table(falling(power=0.1), 50)
    comparisons = neighbours(rows)
    outcome = decide(comparisons)
    raw = []
    for step in range(STEPS):
        at = rows[rows["step"] == step].set_index("b")
        for small, large in ((1, 2), (2, 4), (4, 8)):
            ends = [
                Estimate(at.loc[b, "variance"], at.loc[b, "std_error"], 49) for b in (small, large)
            ]
            raw += [decreasing_p_value(*ends), decreasing_p_value(*reversed(ends))]
    p, largest = np.sort(raw), np.max(raw[::2])
    adjusted = np.minimum(np.maximum.accumulate(np.arange(len(p), 0, -1) * p), 1)
    # both directions are one family
    assert outcome.p_for == pytest.approx(adjusted[np.searchsorted(p, largest)], rel=1e-9)
    # and these agree with a plain z test of the log ratio to the order of the skewness
    one, two = rows[rows["b"] == 1].iloc[0], rows[rows["b"] == 2].iloc[0]
    spread = np.hypot(one["std_error"] / one["variance"], two["std_error"] / two["variance"])
    plain = stats.norm.sf(np.log(one["variance"] / two["variance"]) / spread)
    assert raw[0] == pytest.approx(plain, abs=0.02)


def test_the_full_gradient_at_step_0_is_not_compared():
    rows = table(falling(), 400).assign(quantity="full_gradient")
    assert len(neighbours(rows)) == 3 * (STEPS - 1)


def test_every_initial_weights_against_every_other():
    rows = pd.concat([table(falling(), 400, seed).assign(init=seed) for seed in range(3)])
    rows = rows.rename(columns={"variance": "estimate"}).assign(exact=np.nan)
    crossed = pairs(rows[rows["b"] == 4], rows[rows["b"] == 8], ["step", "quantity", "tensor"])
    assert len(crossed) == 9 * STEPS
    assert decide(crossed).verdict == "confirmed"


def test_the_better_estimator_is_taken_where_there_is_one():
    plain = table(falling(), 50)
    better = table(falling(), 50, estimator="rao_blackwell")
    better = better[better["step"] > 4]
    chosen = best_estimator(pd.concat([plain, better]))
    assert len(chosen) == len(plain)
    assert (chosen[chosen["step"] > 4]["estimator"] == "rao_blackwell").all()
    assert (chosen[chosen["step"] <= 4]["estimator"] == "sample").all()


def falling_vectors(runs, p, rng):
    """``variance`` rows of Gaussian gradients whose variance is 1/b."""
    blocks = {}
    for b in (1, 2, 4, 8):
        vectors = rng.standard_normal((STEPS, runs, p)) / np.sqrt(b)
        moments = {("stochastic_gradient", "all"): vector_moments(vectors)}
        record = GradientRecord(np.arange(STEPS), moments, np.ones((STEPS, runs), bool))
        blocks[0, b] = [statistics_rows(record, np.zeros(STEPS, np.int64))]
    return variance_table(blocks, 0.95)


def test_two_runs_refute_nothing_that_is_true():
    """Both contributions of a pair are equal: their spread of 0 is no certainty."""
    rng = np.random.default_rng(5)
    for _ in range(5):
        found = decreasing_variance(falling_vectors(2, 50, rng), "mine")
        assert (found.verdict, found.p_value) == ("not tested at this scale", None)
        assert "at so few runs, with such a spread, no test keeps its level" in found.evidence
        assert found.scale_needed == "about 4 runs a batch size for half of what is open"


def test_as_many_runs_as_it_takes_are_enough():
    """What is said to be needed is, up to chance: half of what was open is then decided."""
    rng = np.random.default_rng(6)
    few = decide(neighbours(falling_vectors(6, 8, rng)))
    assert few.n_unusable > 0
    assert few.verdict == "not tested at this scale"
    enough = decide(neighbours(falling_vectors(2 * few.runs_needed, 8, rng)))
    assert enough.n_unusable == 0
    assert enough.n_for > 0
    assert enough.n_against == 0


def test_bad_input_is_refused():
    rows = table(falling(), 50)
    with pytest.raises(ValueError, match="more than one row"):
        neighbours(pd.concat([rows, rows]))
    with pytest.raises(ValueError, match="alpha"):
        decide(neighbours(rows), alpha=1.0)
    nothing = decide(neighbours(rows[rows["b"] == 1]))
    assert nothing.verdict == "not tested at this scale"
    assert nothing.n_comparisons == 0
