"""E5 to E10 on planted curves: each verdict, both ways, and what a smaller setting leaves of it."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pipeline_lib.artifacts.schemas import SCHEMAS
from pipeline_lib.claims.epochs import (
    errors_decrease,
    gap_increases,
    metric_comparisons,
    smallest_above_largest,
    training_loss_decreases,
)
from pipeline_lib.claims.ordering import decide, signs
from pipeline_lib.claims.overfitting import overfitted, validation_loss_stops
from pipeline_lib.claims.p_values import WELCH
from pipeline_lib.claims.paper_settings import FIGURE_3A, FIGURE_3B, FIGURE_4, FIGURE_5
from pipeline_lib.claims.reviews import decreasing_under_adam
from pipeline_lib.claims.setting import Setting, departures, shortfalls, verdict_in_setting
from pipeline_lib.estimation.metrics import metric_summary

SIZES, RUNS, EPOCHS = (64, 128, 256), 20, 12
HERE = Setting({"layers": [784, 10]}, SIZES, 1, RUNS, EPOCHS)
SPLITS = ("training", "validation", "distorted")


def falling(b, epoch):
    """A loss that falls with b and with the epoch."""
    return (2 - 0.1 * np.log2(b)) * 0.9**epoch


def rising(b, epoch):
    return (1 + 0.1 * np.log2(b)) * 0.9**epoch


def metrics(loss, error=None, sizes=SIZES, epochs=range(EPOCHS + 1), noise=0.01, seed=1):
    """A ``metric_summary`` of RUNS runs; ``loss(split)(b, epoch)`` is the truth, error likewise."""
    rng = np.random.default_rng(seed)
    frames = {}
    for b in sizes:
        parts = []
        for split in SPLITS:
            for epoch in epochs:
                spread = noise * rng.standard_normal((2, RUNS)) * (epoch > 0)
                truth = loss(split)(b, epoch), (error or loss)(split)(b, epoch)
                parts.append(
                    pd.DataFrame(
                        {
                            "replica": np.arange(RUNS),
                            "epoch": epoch,
                            "split": split,
                            "loss": truth[0] * (1 + spread[0]),
                            "error": truth[1] * (1 + spread[1]),
                        }
                    )
                )
        frames[0, b] = pd.concat(parts).assign(seed=0)
    return metric_summary(frames, 0.95)


FALLING, RISING = metrics(lambda _: falling), metrics(lambda _: rising)


def test_the_t_test_of_means_is_conservative_and_needs_spread():
    rng = np.random.default_rng(3)
    one, two = rng.normal(-1, 1, 9), rng.normal(0, 3, 14)

    def ends(end, x):
        return {
            f"estimate_{end}": x.mean(), f"std_error_{end}": stats.sem(x),
            f"n_runs_{end}": len(x), f"dof_{end}": len(x), f"reliable_{end}": True,
            f"exact_{end}": np.nan,
        }  # fmt: skip

    row = pd.DataFrame([ends("small", one) | ends("large", two)]).assign(test=WELCH)
    t = stats.ttest_ind(one, two, equal_var=False).statistic  # Welch's
    p_for, p_against = stats.t.sf(t, 8), stats.t.cdf(t, 8)
    outcome = decide(row)
    holm = max(p_for, 2 * p_against), 2 * p_against  # both directions are one family
    assert (outcome.p_for, outcome.p_against) == pytest.approx(holm, rel=1e-12)
    # runs that all end alike tell no spread
    still = row.assign(std_error_small=0.0, std_error_large=0.0)
    assert decide(still).n_open == 1
    assert decide(still.assign(std_error_large=0.1)).n_against == 1
    # both tests in one family
    both = pd.concat([row.assign(estimate_small=2.0), row], ignore_index=True)
    both.loc[0, "test"], both.loc[0, ["estimate_large", "std_error_large"]] = "log_ratio", (1, 0.1)
    assert list(signs(both.assign(std_error_small=0.1))) == [1, -1]


def test_comparisons_leave_out_the_start():
    found = metric_comparisons(FALLING, [("training", "error")])
    assert len(found) == EPOCHS * 2
    assert found["epoch"].min() == 1
    assert metric_comparisons(FALLING[FALLING["b"] == 64], [("training", "error")]).empty


def test_a_tie_at_0_is_no_decrease():
    table = FALLING.copy()
    perfect = (table["epoch"] == 7) & (table["b"] > 64) & (table["split"] == "training")
    table.loc[perfect & (table["metric"] == "error"), ["mean", "std_error"]] = 0.0
    found = errors_decrease(table, HERE, stated=HERE)
    assert found.verdict == "partly"
    assert found.p_value < 0.05
    assert found.scale_needed.startswith("means that differ")
    assert "is open in 1 of 24 comparisons (in 1 because both means are 0)" in found.evidence
    lost = (FALLING["epoch"] == 5) & (FALLING["b"] == 256) & (FALLING["metric"] == "loss")
    missing = FALLING.assign(mean=FALLING["mean"].mask(lost), std_error=1e-3)
    found = training_loss_decreases(missing, HERE, stated=HERE)
    assert "(in 1 because a mean is missing)" in found.evidence


@pytest.mark.parametrize("evaluate", [training_loss_decreases, errors_decrease])
def test_e7_and_e9_say_which_sentence_the_data_agree_with(evaluate):
    found = evaluate(FALLING, HERE, stated=HERE)
    assert found.verdict == "confirmed"
    assert found.p_value < 0.05
    assert "agree with Section 4.2" in found.evidence
    found = evaluate(RISING, HERE, stated=HERE, artefact="m.parquet")
    assert (found.verdict, found.artefact) == ("refuted", "m.parquet")
    assert "agree with the abstract" in found.evidence or "with Section 1" in found.evidence
    curves = 1 if evaluate is training_loss_decreases else 2
    assert found.n_comparisons == curves * 2 * EPOCHS
    assert evaluate(FALLING[FALLING["b"] == 64], HERE, stated=HERE).n_comparisons == 0


def test_e7_and_e9_say_after_which_epochs_they_are_settled():
    late = lambda b, epoch: falling(b if epoch > 4 and epoch != 8 else 64, epoch)  # noqa: E731
    part = lambda b, epoch: falling(min(b, 128) if epoch == 8 else b, epoch)  # noqa: E731
    for truth, told in (
        (falling, " All are settled after epochs 1 to 12."),
        (late, " All are settled after epochs 5 to 7, 9 to 12."),
        (part, " All are settled after epochs 1 to 7, 9 to 12; some are settled after epochs 8."),
    ):
        found = training_loss_decreases(metrics(lambda _, t=truth: t), HERE, stated=HERE)
        assert found.evidence.endswith(told), found.evidence
    flat = training_loss_decreases(metrics(lambda _: lambda b, epoch: 1.0), HERE, stated=HERE)
    assert flat.evidence.endswith("for the abstract (smaller batches, lower loss).")


def test_e9_looks_at_both_splits():
    mixed = metrics(lambda split: falling if split == "training" else rising)
    found = errors_decrease(mixed, HERE, stated=HERE)
    assert found.verdict == "refuted"
    assert f"training error falls in {2 * EPOCHS}, rises in 0" in found.evidence
    assert "Some agree with Section 4.2" in found.evidence
    assert training_loss_decreases(mixed, HERE, stated=HERE).verdict == "confirmed"


def gaps(slope, epochs):
    """A gap that changes with log2 b by ``slope`` from epoch 500 on, and by -slope before."""

    def error(split):
        if split == "training":
            return lambda b, epoch: 0.01
        sign = {True: 1, False: -1}
        return lambda b, epoch: 0.2 + slope * sign[epoch >= 500] * np.log2(b)

    return metrics(lambda _: falling, error, epochs=epochs)


def test_e6_begins_at_epoch_500():
    long = range(0, 1001, 100)
    here = dataclasses.replace(HERE, epochs=1000)
    found = gap_increases(gaps(0.01, long), here, stated=here)
    assert (found.verdict, found.n_comparisons) == ("confirmed", 2 * 6)
    assert gap_increases(gaps(-0.01, long), here, stated=here).verdict == "refuted"
    short = gap_increases(gaps(-0.01, range(0, 401, 100)), HERE, stated=here)
    assert (short.verdict, short.p_value) == ("not tested at this scale", None)
    assert "ends after 400 epochs" in short.evidence
    assert "rises in 8" in short.evidence
    assert short.scale_needed == "the paper's 1,000 epochs (here 12)"


def u_shaped(order, early=falling, at=(5, 5)):
    """Validation losses that rise from epoch 5 on, in the order given.

    ``at``: for b = 64, and for larger b.
    """

    def loss(split):
        if split != "validation":
            return falling

        def value(b, epoch):
            return early(b, epoch) + 1 if epoch < at[b > 64] else order(b) + 0.2 * epoch

        return value

    return metrics(loss)


def test_e8_needs_over_fitting_and_an_order_that_ends():
    stops = u_shaped(lambda b: 3 + 0.2 * np.log2(b))
    assert set(overfitted(stops)["epoch"]) == set(range(5, EPOCHS + 1))
    found = validation_loss_stops(stops, HERE, stated=HERE)
    assert found.verdict == "confirmed"
    assert found.p_value < 0.05
    assert "both over-fit, the first time after epoch 5" in found.evidence
    # alone b = 64 does so from epoch 5 on; a pair from 9 on
    late = validation_loss_stops(u_shaped(lambda b: 3 + 0.2 * np.log2(b), at=(5, 9)), HERE)
    assert "both over-fit, the first time after epoch 9" in late.evidence
    kept = validation_loss_stops(u_shaped(lambda b: 6 - 0.2 * np.log2(b)), HERE, stated=HERE)
    assert kept.verdict == "refuted"
    # the first half alone: kept it leaves the claim open, broken it refutes it
    fitting = validation_loss_stops(FALLING, HERE, stated=HERE)
    assert (fitting.verdict, fitting.n_comparisons) == ("not tested at this scale", 2 * EPOCHS)
    assert (fitting.p_value, fitting.scale_needed) == (None, "training that over-fits")
    assert f"falls in {2 * EPOCHS}, rises in 0" in fitting.evidence
    broken = validation_loss_stops(RISING, HERE, stated=HERE)
    assert (broken.verdict, broken.scale_needed) == ("refuted", None)
    assert broken.p_value < 0.05
    # an order that never was does not end
    never = validation_loss_stops(
        u_shaped(lambda b: 3 + 0.2 * np.log2(b), early=rising), HERE, stated=HERE
    )
    assert never.verdict == "partly"
    alone = validation_loss_stops(FALLING[FALLING["b"] == 64], HERE, stated=HERE)
    assert (alone.verdict, alone.n_comparisons) == ("not tested at this scale", 0)
    # a validation loss that rises while that of training does too is no over-fitting
    worse = metrics(lambda _: lambda b, epoch: 1.0 + 0.1 * epoch)
    assert overfitted(worse).empty
    # nor is noise: the smallest of many equal means is chosen, which the level allows for
    flat = lambda split: falling if split == "training" else lambda b, epoch: 1.0  # noqa: E731
    found = sum(len(overfitted(metrics(flat, seed=seed))) > 0 for seed in range(8))
    assert found <= 2


def variances(ratio, n_inits=5, steps=10, sizes=(64, 128), seed=1, runs=50):
    """``variance`` rows: the truth is 1 at 64 and ``ratio`` at 128, times 0.9 to 1.1 by init."""
    rng = np.random.default_rng(seed)
    parts = []
    for init, factor in enumerate(np.linspace(0.9, 1.1, n_inits)):
        for b, truth in zip(sizes, (1.0, ratio), strict=True):
            y = truth * factor * rng.chisquare(200, (steps + (b == sizes[0]), runs)) / 200
            parts.append(
                pd.DataFrame(
                    {
                        "init": init, "b": b, "step": np.arange(len(y)),
                        "epoch": np.arange(len(y)) // 2, "quantity": "stochastic_gradient",
                        "tensor": "all", "estimator": "sample", "variance": y.mean(axis=1),
                        "std_error": stats.sem(y, axis=1), "ci_low": 0.0, "ci_high": 9.0,
                        "n_runs": runs, "dof": runs - 1, "max_share": 0.1, "reliable": True,
                        "n_diverged": 0,
                    }
                )
            )  # fmt: skip
    return pd.concat(parts)[SCHEMAS["variance"].names]


def test_e5_crosses_the_initial_weights():
    here = dataclasses.replace(HERE, batch_sizes=(64, 128), initial_weights=5)
    found = smallest_above_largest(variances(0.5), here, stated=here)
    assert found.verdict == "confirmed"
    assert found.n_comparisons == 25 * 10  # at the steps that both record
    assert found.evidence.startswith("At 10 of 10 iterations")
    # each init alone is in order, but not across
    crossed = smallest_above_largest(variances(0.92), here, stated=here)
    assert crossed.verdict == "refuted"
    assert smallest_above_largest(variances(1.5), here, stated=here).verdict == "refuted"
    alone = smallest_above_largest(variances(0.5, sizes=(64, 32)), here, stated=here)
    assert (alone.verdict, alone.n_comparisons) == ("not tested at this scale", 0)
    fewer = smallest_above_largest(variances(0.5), here, stated=FIGURE_3A)
    assert fewer.verdict == "not tested at this scale"
    assert "60,000 training examples (here unknown)" in fewer.scale_needed


def epoch_means(variance):
    keys = ["init", "b", "epoch", "quantity", "tensor", "estimator"]
    groups = variance.groupby(keys)
    table = groups.agg(
        n_steps=("step", "size"), variance=("variance", "mean"), std_error=("std_error", "mean"),
        ci_low=("ci_low", "mean"), ci_high=("ci_high", "mean"), n_runs=("n_runs", "min"),
        dof=("dof", "min"),
        n_diverged=("n_diverged", "max"),
    )  # fmt: skip
    return table.reset_index()[SCHEMAS["epoch_variance"].names]


def test_e10_is_one_family_and_not_decided_on_other_data():
    stated = dataclasses.replace(FIGURE_5, runs=RUNS, epochs=EPOCHS)
    losses = metrics(lambda _: falling, sizes=(32, 64))
    estimates = variances(0.5, n_inits=1, sizes=(32, 64))
    estimates = estimates[estimates["step"] < 10]
    found = decreasing_under_adam(
        epoch_means(estimates), estimates, losses, stated, stated=stated, artefact="y"
    )
    assert (found.verdict, found.n_comparisons) == ("confirmed", 5 + 4 * EPOCHS)
    assert "Yelp Review Polarity, 10,000 training reviews" in found.evidence
    stand_in = dataclasses.replace(
        stated, problem=stated.problem | {"reviews": "snippets", "d_model": 32}
    )
    arguments = epoch_means(estimates), estimates, losses, stand_in
    found = decreasing_under_adam(*arguments, stated=stated)
    assert found.verdict == "not tested at this scale"
    expected = "the paper's reviews from Yelp Review Polarity (here snippets); width 384 (here 32)"
    assert found.scale_needed == expected
    swapped = losses.replace({"b": {32: 64, 64: 32}})
    opposite = decreasing_under_adam(*arguments[:2], swapped, stated, stated=stated)
    assert opposite.verdict == "refuted"
    # a flagged step leaves its epoch open
    flagged = estimates.assign(reliable=estimates["step"] != 3)
    found = decreasing_under_adam(arguments[0], flagged, losses, stated, stated=stated)
    assert "gradient variance falls in 4, rises in 0 and is open in 1 of 5" in found.evidence


def test_a_smaller_setting_is_less_evidence_and_another_problem_none():
    smaller = dataclasses.replace(FIGURE_4, runs=8, epochs=40, batch_sizes=(64, 128))
    # the number of runs is no part of it
    assert shortfalls(smaller, FIGURE_4) == ["b = 256, 512", "1,000 epochs (here 40)"]
    assert verdict_in_setting("confirmed", smaller, FIGURE_4)[0] == "partly"
    assert verdict_in_setting("refuted", smaller, FIGURE_4) == ("refuted", None)
    seldom = dataclasses.replace(
        FIGURE_3B, evaluate_every=1000, distorted_every=None, recorded_steps=1
    )
    assert shortfalls(seldom, FIGURE_3B) == [
        "losses every 100 epochs (here 1,000 epochs)", "gaps every 100 epochs (here never)",
        "12 recorded steps a decade (here 1)",
    ]  # fmt: skip
    assert shortfalls(dataclasses.replace(FIGURE_4, recorded_steps="every"), FIGURE_4) == []
    other = dataclasses.replace(FIGURE_4, problem={**FIGURE_4.problem, "layers": [784, 16, 10]})
    layers = "layers 784-1024-512-10 (here 784-16-10)"
    assert departures(other.problem, FIGURE_4.problem) == [layers]
    steps = FIGURE_5.problem | {"schedule": "constant", "eps": 1e-6, "clip_norm": 5.0}
    assert departures(steps, FIGURE_5.problem) == [
        "epsilon 1e-08 (here 1e-06)", "gradients clipped at 1 (here 5)",
        "warmup_linear learning rates (here constant)",
    ]  # fmt: skip
    for found in ("confirmed", "partly", "refuted"):  # either way alike
        assert verdict_in_setting(found, other, FIGURE_4)[0] == "not tested at this scale"
    assert verdict_in_setting("confirmed", FIGURE_4, FIGURE_4) == ("confirmed", None)
    assert verdict_in_setting("partly", FIGURE_4, FIGURE_4, "more runs") == ("partly", "more runs")
