"""Figures 3a, 3b, 4a, 4b and 6: what is drawn is what the tables hold."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from pipeline_lib.errors import ConfigError
from pipeline_lib.estimation.statistics import FULL
from pipeline_lib.figures import gradient_variance, initial_weights
from pipeline_lib.figures.numbers import scale_note
from pipeline_lib.figures.style import colours, save_figure
from pipeline_lib.figures.training_curves import draw_curves, draw_gap

matplotlib.use("Agg")
SIZES = [64, 128, 256]


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def variance_rows(init, b, steps, values, **changed):
    values = np.asarray(values, dtype=float)
    return pd.DataFrame(
        {
            "init": init,
            "b": b,
            "step": steps,
            "quantity": "stochastic_gradient",
            "tensor": "all",
            "estimator": "sample",
            "variance": values,
            "ci_low": 0.8 * values,
            "ci_high": 1.3 * values,
            "n_runs": 10,
            "n_diverged": 0,
        }
        | changed
    )


def curve(init, b, seed=0):
    """Steps spread over three decades, fewer for larger b."""
    steps = np.unique(np.geomspace(1, 64_000 / b, 12).round().astype(int)) - 1
    noise = np.random.default_rng([seed, init, b]).normal(size=len(steps))
    return variance_rows(init, b, steps, 8 / b / (1 + steps / 50) * np.exp(0.1 * noise))


def summary_rows(b, split, metric, epochs, means, half_width=0.1, n_diverged=0):
    means = np.asarray(means, dtype=float)
    return pd.DataFrame(
        {
            "init": 0,
            "b": b,
            "epoch": epochs,
            "split": split,
            "metric": metric,
            "mean": means,
            "ci_low": means * (1 - half_width),
            "ci_high": means * (1 + half_width),
            "n_runs": 10,
            "n_diverged": n_diverged,
        }
    )


@pytest.fixture
def summary():
    epochs = np.arange(9)
    parts = []
    for b in SIZES:
        for split in ("training", "validation"):
            for metric in ("loss", "error"):
                offset = (split == "validation") * 0.02 + (metric == "loss") * 0.01
                means = np.exp(-epochs * 64 / b) + offset
                parts.append(summary_rows(b, split, metric, epochs, means))
        parts.append(summary_rows(b, "distorted", "gap", [0, 4, 8], [0.0, 0.03, 0.02 + b / 1e5]))
    return pd.concat(parts, ignore_index=True)


def of_colour(artists, shade):
    """The artists of that colour, of whatever transparency."""

    def colour(artist):
        if hasattr(artist, "get_xdata"):
            return to_rgb(artist.get_color())
        return tuple(artist.get_facecolor()[0][:3])

    return [artist for artist in artists if np.allclose(colour(artist), shade)]


def line_of(axes, shade):
    (line,) = of_colour([line for line in axes.lines if line.get_linestyle() == "-"], shade)
    return line


def edges_of(axes, shade):
    """(x, low, high) of the one band of that colour."""
    (area,) = of_colour(axes.collections, shade)
    corners = np.concatenate([path.vertices for path in area.get_paths()])
    x = np.unique(corners[:, 0])
    both = [corners[corners[:, 0] == at, 1] for at in x]
    return x, np.array([c.min() for c in both]), np.array([c.max() for c in both])


def key_text(figure):
    (legend,) = figure.legends
    title = legend.get_title().get_text()
    return " ".join(title.split()), [text.get_text() for text in legend.get_texts()]


def test_figure_6_draws_estimates_and_intervals_of_the_whole_stochastic_gradient(tmp_path):
    curves = {b: curve(0, b) for b in SIZES}
    others = [
        curve(1, 64),
        curve(0, 64, seed=1).assign(tensor="W1"),
        curve(0, 64, seed=2).assign(quantity=FULL),
    ]
    table = pd.concat([*curves.values(), *others]).sample(frac=1, random_state=0)
    figure = gradient_variance.draw(table, 0.9, "8 runs")
    (axes,) = figure.axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert len(axes.lines) == len(axes.collections) == 3
    for b, shade in colours(SIZES).items():
        line = line_of(axes, shade)
        np.testing.assert_array_equal(line.get_xdata(), curves[b]["step"] + 1)
        np.testing.assert_array_equal(line.get_ydata(), curves[b]["variance"])
        x, low, high = edges_of(axes, shade)
        np.testing.assert_array_equal(x, curves[b]["step"] + 1)
        np.testing.assert_array_equal(low, curves[b]["ci_low"])
        np.testing.assert_array_equal(high, curves[b]["ci_high"])
    assert key_text(figure) == ("8 runs", ["variance over runs", "90 % interval"])
    save_figure(figure, [tmp_path / "fig6.svg"])
    assert (tmp_path / "fig6.svg").stat().st_size > 10_000


def test_labels_stand_at_the_height_where_curves_start():
    table = pd.concat([curve(0, b) for b in SIZES])
    (axes,) = gradient_variance.draw(table, 0.95).axes
    starts = table[table["step"] == 0].set_index("b")["variance"]
    heights = {text.get_text(): text.get_position()[1] for text in axes.texts}
    assert list(heights) == [f"b = {b}" for b in SIZES]
    to_axes = axes.transData + axes.transAxes.inverted()
    for b in SIZES:
        assert heights[f"b = {b}"] == pytest.approx(to_axes.transform((1, starts[b]))[1], abs=0.01)


@pytest.mark.parametrize("draw", [lambda v: gradient_variance.draw(v, 0.95), initial_weights.draw])
def test_a_batch_size_that_diverged_is_named_and_not_drawn(draw):
    lost = curve(0, 64)
    late = lost["step"] >= 100
    lost.loc[late, ["variance", "ci_low", "ci_high"]] = np.nan
    lost.loc[late, "n_diverged"] = 3
    figure = draw(pd.concat([lost, curve(0, 128)]))
    first = lost.loc[late, "step"].min() + 1
    assert key_text(figure)[0] == f"b = 64: 3 of 10 runs diverged, the first by iteration {first}"
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == ["b = 128"]
    assert len(axes.lines) == 1


def test_a_variance_of_zero_has_no_curve():
    silent = variance_rows(0, 320, [0, 10], [0.0, 0.0])
    (axes,) = gradient_variance.draw(pd.concat([curve(0, 64), silent]), 0.95).axes
    assert [text.get_text() for text in axes.texts] == ["b = 64"]
    assert axes.get_ylim()[0] > 1e-6


def test_figure_3a_draws_the_median_and_the_range_over_initial_weights():
    steps = [0, 1, 9]
    values = {
        64: [[5.0, 4.0, 3.0], [9.0, 8.0, 7.0], [6.0, 9.0, 2.0]],
        128: [[2.0, 2.5, 1.5], [1.0, 1.5, 1.0], [3.0, 1.0, 0.5]],
    }
    table = pd.concat(
        variance_rows(init, b, steps, row)
        for b, rows in values.items()
        for init, row in enumerate(rows)
    )
    figure = initial_weights.draw(table, "3 initial weights")
    (axes,) = figure.axes
    expected = {
        64: ([6.0, 8.0, 3.0], [5.0, 4.0, 2.0], [9.0, 9.0, 7.0]),
        128: ([2.0, 1.5, 1.0], [1.0, 1.0, 0.5], [3.0, 2.5, 1.5]),
    }
    for b, shade in colours([64, 128]).items():
        median, lowest, highest = expected[b]
        line = line_of(axes, shade)
        assert line.get_xdata().tolist() == [1, 2, 10]
        assert line.get_ydata().tolist() == median
        x, low, high = edges_of(axes, shade)
        assert (x.tolist(), low.tolist(), high.tolist()) == ([1, 2, 10], lowest, highest)
    assert key_text(figure)[0] == "3 initial weights"


@pytest.mark.parametrize("metric", ["loss", "error"])
def test_figure_4_draws_means_and_intervals(summary, metric, tmp_path):
    figure = draw_curves(summary, metric, 0.9, "10 runs")
    titles = [f"training {metric}", f"validation {metric}", "second half, enlarged"]
    assert [axes.get_title() for axes in figure.axes] == titles
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "log", "linear"]
    for axes, split, first in zip(
        figure.axes, ("training", "validation", "validation"), (0, 0, 4), strict=True
    ):
        for b, shade in colours(SIZES).items():
            keep = (summary["split"] == split) & (summary["metric"] == metric)
            rows = summary[keep & (summary["b"] == b) & (summary["epoch"] >= first)]
            line = line_of(axes, shade)
            np.testing.assert_array_equal(line.get_xdata(), rows["epoch"])
            np.testing.assert_array_equal(line.get_ydata(), rows["mean"])
            x, low, high = edges_of(axes, shade)
            np.testing.assert_array_equal(x, rows["epoch"])
            np.testing.assert_array_equal(low, rows["ci_low"])
            np.testing.assert_array_equal(high, rows["ci_high"])
    labels = ["b = 64", "b = 128", "b = 256", "90 % interval"]
    assert key_text(figure) == ("10 runs", labels)
    save_figure(figure, [tmp_path / "fig4.svg"])
    assert (tmp_path / "fig4.svg").stat().st_size > 10_000


def test_epochs_without_an_error_are_left_out_and_counted(summary):
    """b = 64 has no training error at epochs 4, 6, 7 and 8; the point at 5 stands alone."""
    here = (summary["split"] == "training") & (summary["metric"] == "error")
    gone = here & (summary["b"] == 64) & summary["epoch"].isin([4, 6, 7, 8])
    gone |= here & (summary["b"] == 128) & (summary["epoch"] == 8)
    summary.loc[gone, ["mean", "ci_low", "ci_high"]] = 0.0
    figure = draw_curves(summary, "error", 0.95)
    axes = figure.axes[0]
    shade = colours(SIZES)[64]
    drawn = line_of(axes, shade).get_ydata()
    assert np.isnan(drawn).tolist() == [False] * 4 + [True, False, True, True, True]
    (dot,) = [line for line in of_colour(axes.lines, shade) if line.get_marker() == "."]
    assert dot.get_xdata().tolist() == [5]
    assert edges_of(axes, shade)[1].min() > 0
    # All epochs keep their place.
    assert axes.get_xlim() == figure.axes[1].get_xlim()
    text, _ = key_text(figure)
    assert text == ("training error 0 in every run, not drawn: 4 (b = 64), 1 (b = 128) of 9 epochs")


def test_a_lower_end_below_zero_does_not_stretch_the_axis(summary):
    here = (summary["split"] == "training") & (summary["metric"] == "error")
    summary.loc[here, "ci_low"] = -1e-3
    summary.loc[here & (summary["epoch"] == 3), "ci_low"] = 1e-30
    axes = draw_curves(summary, "error", 0.95).axes[0]
    lowest = summary.loc[here, "mean"].min()
    assert lowest / 2 < axes.get_ylim()[0] < lowest


def test_a_curve_without_any_error_is_only_counted(summary):
    here = (summary["split"] == "training") & (summary["metric"] == "error")
    summary.loc[here & (summary["b"] == 64), ["mean", "ci_low", "ci_high"]] = 0.0
    text, _ = key_text(draw_curves(summary, "error", 0.95))
    assert "not drawn: 9 (b = 64) of 9 epochs" in text


@pytest.mark.parametrize("sizes", [[64], SIZES])
def test_runs_that_diverged_are_named(summary, sizes):
    """No curve in either panel, even if only the validation loss was lost; or no curve at all."""
    lost = summary["b"].isin(sizes) & (summary["metric"] == "loss") & (summary["epoch"] >= 5)
    lost &= summary["split"] == "validation"
    summary.loc[lost, ["mean", "ci_low", "ci_high"]] = np.nan
    summary.loc[lost, "n_diverged"] = 2
    figure = draw_curves(summary, "loss", 0.95)
    text, labels = key_text(figure)
    for b in sizes:
        assert f"b = {b}: 2 of 10 runs diverged, the first by epoch 5" in text
        assert f"b = {b}" not in labels
    for axes in figure.axes:
        assert len(axes.lines) == 3 - len(sizes)


def test_figure_3b_draws_the_gap_from_the_first_epoch(summary):
    figure = draw_gap(summary, 4, 0.95, "10 runs")
    (axes,) = figure.axes
    for b, shade in colours(SIZES).items():
        means = [0.03, 0.02 + b / 1e5]
        assert line_of(axes, shade).get_xdata().tolist() == [4, 8]
        np.testing.assert_array_equal(line_of(axes, shade).get_ydata(), means)
        x, low, high = edges_of(axes, shade)
        assert x.tolist() == [4, 8]
        np.testing.assert_allclose(low, np.multiply(means, 0.9), rtol=1e-14)
        np.testing.assert_allclose(high, np.multiply(means, 1.1), rtol=1e-14)
    assert [text.get_text() for text in axes.texts] == [f"b = {b}" for b in SIZES]
    assert axes.get_ylabel().endswith("percentage points")
    assert axes.yaxis.get_major_formatter()(0.025) == "2.5"
    assert key_text(figure) == ("10 runs", ["mean over runs", "95 % interval"])


def test_there_is_no_figure_3b_after_the_last_gap(summary):
    with pytest.raises(ConfigError, match="no gap from epoch 9 on; the last is at 8"):
        draw_gap(summary, 9, 0.95)


def test_a_long_note_stays_within_the_figure(summary):
    """Six batch sizes that all lose epochs, at the longest."""
    rows = summary[(summary["split"] != "distorted") & (summary["b"] == 64)]
    table = pd.concat([rows.assign(b=2**k) for k in range(6, 12)])
    zero = (table["split"] == "training") & (table["epoch"] > 2)
    table.loc[zero, ["mean", "ci_low", "ci_high"]] = 0.0
    figure = draw_curves(table, "error", 0.95, scale_note({"runs": (8, 100)}))
    figure.canvas.draw()
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1
    assert box.y0 >= 0
