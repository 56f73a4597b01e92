"""Figures of exact results: what is drawn, read back from the axes."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from pipeline_lib.estimation.statistics import STOCHASTIC
from pipeline_lib.figures import b0_counterexample, equal_epochs, sampling_schemes
from pipeline_lib.figures.equal_epochs import SCHEME_LOOKS
from pipeline_lib.theory.counterexample import counterexample_table
from pipeline_lib.theory.regression_moments import RegressionProblem
from pipeline_lib.theory.scheme_tables import (
    SchemeRuns,
    equal_epochs_table,
    sampling_schemes_table,
)


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    return RegressionProblem(
        rng.standard_normal((6, 2)), rng.standard_normal(6), rng.standard_normal(2)
    )


def test_equal_epochs_marks_the_lowest_of_each_curve(problem):
    table = equal_epochs_table(problem, [0.05, 0.2], [1, 2, 6], 3)
    figure = equal_epochs.draw(table, "six rows")
    assert [axes.get_title() for axes in figure.axes] == ["learning rate 0.05", "learning rate 0.2"]
    lines = figure.axes[1].get_lines()
    assert len(lines) == 2 * len(SCHEME_LOOKS)
    for scheme, curve, least in zip(SCHEME_LOOKS, lines[::2], lines[1::2], strict=True):
        rows = table[
            (table["scheme"] == scheme) & (table["learning_rate"] == 0.2) & (table["epoch"] == 3)
        ].sort_values("b")
        np.testing.assert_array_equal(curve.get_ydata(), rows["loss"])
        assert least.get_ydata() == [rows["loss"].min()]
    plt.close(figure)


def test_the_counterexample_shows_estimates_beside_exact_values():
    table = counterexample_table([1, 2, 3, 4], [2], 500, 0, 0.95)
    figure = b0_counterexample.draw(table, 500, 0.95)
    exact = table[(table["quantity"] == STOCHASTIC) & (table["tensor"] == "W1")]
    lines = figure.axes[0].get_lines()
    np.testing.assert_array_equal(lines[0].get_ydata(), exact["exact"])
    np.testing.assert_array_equal(lines[1].get_ydata(), exact["variance"].dropna())
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "W1, 500 runs, 95 % interval" in texts
    plt.close(figure)
    figure = b0_counterexample.draw(table, 500, 0.999)
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "W1, 500 runs, 99.9 % interval" in texts
    plt.close(figure)


def test_schemes_are_shown_whole_and_as_a_share_of_the_first(problem):
    table = sampling_schemes_table(problem, [0.2] * 6, [1, 2], SchemeRuns(50, 0, 0.95))
    figure = sampling_schemes.draw(table, 6, 50, 0.95)
    above, below = figure.axes[0], figure.axes[2]
    assert above.get_title() == "b = 1, 6 iterations an epoch"
    index = list(SCHEME_LOOKS).index("fresh")
    np.testing.assert_array_equal(below.get_lines()[index].get_ydata(), np.ones(6))
    rows = table[(table["scheme"] == "fresh") & (table["b"] == 1)]
    np.testing.assert_array_equal(above.get_lines()[index].get_ydata(), rows["variance"])
    assert len(below.collections) == 2  # bands of the two schemes that are estimated
    plt.close(figure)
    # a band with a gap is drawn, and said to have one
    estimated = (table["estimator"] == "rao_blackwell") & (table["b"] == 1)
    lost = estimated & (table["scheme"] == "epochs") & table["step"].isin([2, 3])
    ends = ["std_error", "ci_low", "ci_high"]
    figure = sampling_schemes.draw(
        table.mask(lost, table.assign(**dict.fromkeys(ends, np.nan))), 6, 50, 0.999
    )
    assert len(figure.axes[0].collections) == 2
    said = figure.legends[0].get_title().get_text()
    assert "50 runs, 99.9 % intervals" in said
    assert "b = 1: no interval at 2 of 12 points" in said
    plt.close(figure)
