from dataclasses import replace
from fractions import Fraction

import matplotlib
import numpy as np
import pandas as pd
import pytest
from flint import fmpq, fmpq_poly

from pipeline_lib.estimation.inference import variance_interval
from pipeline_lib.estimation.reliability import Estimate, precise, reliability
from pipeline_lib.figures.heavy_tails import draw
from pipeline_lib.figures.style import save_figure
from pipeline_lib.theory.batch_polynomial import coefficients
from pipeline_lib.theory.heavy_tails import ScalarTraining, estimate, repeat_estimates
from pipeline_lib.theory.scalar_network import ScalarNetwork, variances
from pipeline_lib.theory.scalar_tables import (
    coefficient_table,
    degree_rows,
    exact_variance_table,
    heavy_tails_table,
    repeats_table,
)

NETWORK = ScalarNetwork(Fraction(3, 2), Fraction(-1, 2), 1)
FIFTH = [Fraction(1, 5)] * 3
KEY = ["step", "quantity", "tensor"]
FIELDS = {
    ("stochastic_gradient", "W1"): "g1",
    ("stochastic_gradient", "W2"): "g2",
    ("full_gradient", "W1"): "population_g1",
    ("full_gradient", "W2"): "population_g2",
}


@pytest.fixture(scope="module")
def exact():
    return variances(NETWORK, FIFTH, 3)


@pytest.fixture(scope="module")
def estimates():
    return heavy_tails_table(
        ScalarTraining(NETWORK, FIFTH, 2), [1, 2, 3, 9, 16], [1000, 20_000], 3, 0.9
    )


@pytest.fixture(scope="module")
def repeats():
    return repeats_table(ScalarTraining(NETWORK, FIFTH, 2), [1, 2, 3, 9, 16], 200, 300, 3, 0.9)


def test_coefficients_are_the_polynomials(exact):
    table = coefficient_table(exact)
    groups = table.groupby(KEY)
    assert len(groups) == 16
    for (step, quantity, tensor), rows in groups:
        polynomial = getattr(exact[step], FIELDS[quantity, tensor])
        expected = coefficients(polynomial) or [Fraction(0)]
        assert rows["power"].tolist() == list(range(len(expected)))
        assert [Fraction(text) for text in rows["coefficient_rational"]] == expected
        assert rows["coefficient"].tolist() == [float(value) for value in expected]


def test_variance_of_the_start_by_hand(exact):
    table = coefficient_table(exact[:1]).set_index(["quantity", "tensor", "power"]).sort_index()
    rational = table["coefficient_rational"]
    # (2/b) G² with G = (7/8, −21/8); the population gradient is not random
    assert rational["stochastic_gradient", "W1", 1] == "49/32"
    assert rational["stochastic_gradient", "W2", 1] == "441/32"
    assert rational["full_gradient", "W1"].tolist() == ["0"]


def test_degrees_and_bounds(exact):
    table = degree_rows(exact).set_index(KEY)
    stochastic = table.xs("stochastic_gradient", level="quantity")
    assert stochastic["degree"].unstack()["W1"].tolist() == [1, 6, 23, 76]
    assert (table["degree"] == table["tight"]).all()
    # Theorem 4: the stated bound fails from t = 2 on, the one of its display holds.
    assert (stochastic["degree"] <= stochastic["bound_stated"]).groupby("step").all().tolist() == [
        True,
        True,
        False,
        False,
    ]
    assert stochastic["bound_stated"].unstack()["W2"].tolist() == [2, 6, 18, 54]
    assert (table["degree"] <= table["bound_formula"]).all()


def test_decreasing_from_is_that_of_each_polynomial(exact):
    """A case in which b₀ is above 1, beside the constant variance that has none."""
    bump = replace(exact[0], g2=fmpq_poly([0, 1, -1]))
    table = degree_rows([bump]).set_index(["quantity", "tensor"])
    row = table.loc[("stochastic_gradient", "W2")]
    # y − y² rises in y = 1/b up to 1/2, so it decreases in b from b = 2 on; at b = 1 it is 0
    assert row["decreasing_from_real_low"] <= 2 <= row["decreasing_from_real_high"]
    assert row["decreasing_from_real_high"] - row["decreasing_from_real_low"] < 1e-9
    assert row["decreasing_from_integer"] == 2
    assert table.loc[("stochastic_gradient", "W1"), "decreasing_from_integer"] == 1
    constant = table.loc[("full_gradient", "W1")]
    assert constant["degree"] == 0
    assert pd.isna(constant["decreasing_from_integer"])
    assert pd.isna(constant["decreasing_from_real_low"])
    assert table["decreasing_from_integer"].dtype == "Int32"


def test_exact_variances(exact):
    table = exact_variance_table(exact, [1, 2, 7]).set_index(["b", *KEY])["variance"]
    assert len(table) == 3 * 16
    assert table[1, 2, "stochastic_gradient", "W1"] == pytest.approx(4.2687e9, rel=1e-4)
    assert table[2, 2, "stochastic_gradient", "W1"] == pytest.approx(257.13, rel=1e-4)
    for (b, step, quantity, tensor), value in table.items():
        polynomial = getattr(exact[step], FIELDS[quantity, tensor])
        assert value == float(
            sum((c / Fraction(b) ** k for k, c in enumerate(coefficients(polynomial))), Fraction(0))
        )


def test_beyond_float64_is_infinite(exact):
    huge = type(exact[0])(
        0, *(getattr(exact[0], name) * fmpq(10) ** 400 for name in FIELDS.values())
    )
    values = exact_variance_table([huge], [1]).set_index(["quantity", "tensor"])["variance"]
    assert values["stochastic_gradient", "W1"] == np.inf
    assert values["full_gradient", "W1"] == 0


def test_heavy_tails_rows_are_the_estimates(estimates):
    rows = estimates.set_index(["b", "step", "tensor", "runs", "estimator"])
    assert rows.index.is_unique
    assert len(rows) == 5 * 3 * 2 * 2 * 2
    for n_runs in (1000, 20_000):
        one = estimate(ScalarTraining(NETWORK, FIFTH, 2), 2, n_runs, 3)[2].estimates[
            "rao_blackwell"
        ]
        assert (one.conditional_m2 > 0).all()
        interval = variance_interval(
            n_runs, one.mean, one.m2, one.m3, 0.9, conditional_m2=one.conditional_m2
        )
        share, light = reliability(n_runs, one.mean, one.max)
        reliable = light & precise(Estimate(one.mean, interval.std_error, n_runs - 1))
        row = rows.loc[(2, 2, "W2", n_runs, "rao_blackwell")]
        assert row["variance"] == one.mean[1]
        assert row["std_error"] == interval.std_error[1]
        assert (row["ci_low"], row["ci_high"]) == (interval.low[1], interval.high[1])
        assert (row["max_share"], row["reliable"]) == (share[1], reliable[1])
    assert (estimates["n_diverged"] == 0).all()


def test_heavy_tails_exact_and_covered(estimates, exact):
    truth = exact_variance_table(exact, [1, 2, 3, 9, 16])
    truth = truth[truth["quantity"] == "stochastic_gradient"]
    joined = estimates.merge(truth, on=["b", "step", "tensor"], suffixes=("", "_exact"))
    assert len(joined) == len(estimates)
    assert (joined["exact"] == joined["variance_exact"]).all()
    # At the start the conditional variance is exact: a rounding error is not a miss.
    start = estimates[(estimates["step"] == 0) & (estimates["estimator"] == "rao_blackwell")]
    assert start["covered"].all()
    rest = estimates.drop(start.index)
    inside = (rest["ci_low"] <= rest["exact"]) & (rest["exact"] <= rest["ci_high"])
    assert (rest["covered"] == inside).all()
    small = rest[(rest["step"] == 2) & (rest["b"] <= 2)]
    assert not small["covered"].any()
    assert rest.loc[rest["b"] == 16, "covered"].mean() > 0.6


def test_repeats_rows_are_the_shares(repeats, exact):
    rows = repeats.set_index(["b", "step", "tensor", "estimator"])
    assert rows.index.is_unique
    assert len(rows) == 5 * 3 * 2 * 2
    one = repeat_estimates(ScalarTraining(NETWORK, FIFTH, 2), 1, 200, 300, 3)[1].estimates["sample"]
    interval = variance_interval(200, one.mean, one.m2, one.m3, 0.9)
    truth = rows.loc[(1, 1, "W1", "sample"), "exact"]
    below, above = interval.high[0] < truth, interval.low[0] > truth
    light = reliability(200, one.mean, one.max)[1]
    flagged = ~(light & precise(Estimate(one.mean, interval.std_error, 199)))[0]
    row = rows.loc[(1, 1, "W1", "sample")]
    assert 0 < below.sum() < 300  # so that the shares below say something
    assert row["missed_below"] == below.mean()
    assert row["missed_above"] == above.mean()
    assert row["flagged"] == flagged.mean()
    assert row["flagged_of_missed_below"] == flagged[below].mean()
    np.testing.assert_array_equal(
        row[["q05", "median", "q95"]].to_numpy(float), np.quantile(one.mean[0], [0.05, 0.5, 0.95])
    )
    assert rows.loc[(2, 2, "W1", "sample"), "missed_below"] > 0.98
    constant = rows.loc[(2, 0, "W1", "rao_blackwell")]
    assert (constant["missed_below"], constant["missed_above"]) == (0, 0)
    assert np.isnan(constant["flagged_of_missed_below"])


def test_overflow_leaves_no_estimate():
    rates = [Fraction(10**60)]
    table = heavy_tails_table(ScalarTraining(NETWORK, rates, 1), [4], [50], 1, 0.9).set_index(
        ["step", "tensor"]
    )
    lost = table.loc[1]
    assert (lost["n_diverged"] == 50).all()
    assert lost[["variance", "std_error", "ci_low", "ci_high", "max_share"]].isna().all(axis=None)
    assert not lost[["reliable", "covered"]].any(axis=None)
    repeated = (
        repeats_table(ScalarTraining(NETWORK, rates, 1), [4], 50, 20, 1, 0.9)
        .set_index("step")
        .loc[1]
    )
    assert (repeated["flagged"] == 1).all()
    assert (repeated[["missed_below", "missed_above"]] == 0).all(axis=None)
    assert repeated[["q05", "median", "q95"]].isna().all(axis=None)


def test_figure_shows_truth_estimates_and_flags(estimates, repeats, tmp_path):
    matplotlib.use("Agg")
    figure = draw(estimates, repeats, 0.9)
    assert [axes.get_title() for axes in figure.axes] == ["t = 0", "t = 1", "t = 2"]
    last = figure.axes[2]
    assert [text.get_text() for text in last.get_xticklabels()] == ["1", "2", "4", "8", "16"]
    chosen = estimates[
        (estimates["step"] == 2)
        & (estimates["tensor"] == "W1")
        & (estimates["estimator"] == "sample")
    ]
    markers = [line for line in last.lines if line.get_linestyle() == "None"]
    drawn = {True: [], False: []}
    for line in markers:
        drawn[line.get_markerfacecolor() != "white"].extend(line.get_ydata())
    for reliable in (True, False):
        expected = chosen.loc[chosen["reliable"] == reliable, "variance"]
        np.testing.assert_array_equal(sorted(drawn[reliable]), sorted(expected))
    assert any(np.max(line.get_ydata(), initial=0) > 4e9 for line in last.lines)
    assert "4.27 × 10⁹" in [text.get_text() for text in last.texts]
    low, high = last.get_ylim()
    assert low < chosen["variance"].min()
    assert high > chosen["exact"].max()
    save_figure(figure, [tmp_path / "heavy_tails.svg"])
    assert (tmp_path / "heavy_tails.svg").stat().st_size > 10_000
