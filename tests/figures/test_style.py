"""What every figure shares: files, ticks, numbers, and what is said of intervals."""

import re
import struct
from xml.etree import ElementTree

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from pipeline_lib.figures import (
    epoch_panels,
    fig1b,
    gradient_variance,
    heavy_tails,
    initial_weights,
    training_curves,
    variance_curves,
)
from pipeline_lib.figures.axes import log_ticks
from pipeline_lib.figures.numbers import number, percent, sample_note, scale_note
from pipeline_lib.figures.style import SMALL, WIDTH, figure_style, save_figure

pytestmark = pytest.mark.slow

matplotlib.use("Agg")
SIZES = [4, 16, 64]
STEPS = np.array([0, 1, 9, 49])
LONG_NOTE = scale_note({"runs": (8, 100), "epochs": (40, 1000), "training images": (2560, 60000)})
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def variances(tensor="all", low=0.8, high=1.3, n_runs=10, dof=9, sizes=SIZES):
    """A ``variance`` table of both gradients and estimators; intervals low to high times it."""
    frames = []
    for b in sizes:
        for quantity, factor in (("stochastic_gradient", 1.0), ("full_gradient", 0.01)):
            for estimator in ("sample", "rao_blackwell"):
                values = factor * 8 / b / (1 + STEPS)
                frames.append(
                    pd.DataFrame(
                        {
                            "init": 0,
                            "b": b,
                            "step": STEPS,
                            "quantity": quantity,
                            "tensor": tensor,
                            "estimator": estimator,
                            "variance": values,
                            "ci_low": low * values,
                            "ci_high": high * values,
                            "n_runs": n_runs,
                            "dof": dof,
                            "n_diverged": 0,
                        }
                    )
                )
    return pd.concat(frames, ignore_index=True)


def exact(table, steps):
    kept = table[(table["estimator"] == "sample") & table["step"].isin(steps)]
    return kept[["init", "b", "step", "quantity", "tensor", "variance"]]


def metrics(low=0.9, high=1.1, n_runs=10):
    frames = []
    epochs = np.arange(7)
    for b in SIZES:
        for split in ("training", "validation", "distorted"):
            for metric in ("loss", "error", "gap"):
                mean = 0.05 + 0.3 * np.exp(-epochs * 4 / b)
                frames.append(
                    pd.DataFrame(
                        {
                            "init": 0,
                            "b": b,
                            "epoch": epochs,
                            "split": split,
                            "metric": metric,
                            "mean": mean,
                            "ci_low": low * mean,
                            "ci_high": high * mean,
                            "n_runs": n_runs,
                            "n_diverged": 0,
                        }
                    )
                )
    table = pd.concat(frames, ignore_index=True)
    return table[(table["metric"] == "gap") == (table["split"] == "distorted")]


def epoch_means(**changed):
    frames = []
    for quantity in ("stochastic_gradient", "clipped_gradient"):
        rows = variances(**changed)
        rows = rows[(rows["estimator"] == "sample") & (rows["quantity"] == "stochastic_gradient")]
        frames.append(rows.assign(quantity=quantity, epoch=rows["step"].map(list(STEPS).index)))
    return pd.concat(frames).drop(columns=["step", "dof"])


def curves_of_fits(last=400):
    b = np.arange(2.0, last + 1)
    rows = [
        {"estimator": estimator, "step": step, "error": error}
        for estimator, error in (("sample", 0.01), ("rao_blackwell", 0.001))
        for step in (10, 20, 30, 40)
    ]
    frames = [
        pd.DataFrame({"b": b, "fitted": (1 + row["error"]) * 9 / b, "std_error": 0.05 / b}).assign(
            init=0, basis="inverse_b", constant=True, estimator=row["estimator"], step=row["step"]
        )
        for row in rows
    ]
    return pd.concat(frames)


def draw_fig1b(last=400):
    b = np.arange(2, last + 1)
    theory = pd.concat(
        pd.DataFrame({"b": b, "variance": 9 / b}).assign(
            init=0, step=step, quantity="stochastic_gradient"
        )
        for step in (10, 20, 30, 40)
    )
    points = theory[theory["b"].isin([2, 16, 64, 400])]
    dof = np.where(points["b"] == 16, 6, 11)  # as of pooled groups of unequal number
    points = pd.concat(
        points.assign(tensor="all", estimator=estimator, std_error=0.1, dof=dof)
        for estimator in ("sample", "rao_blackwell")
    )
    return fig1b.draw(points, theory, curves_of_fits(last), 0.95, LONG_NOTE)


def draw_fig1a(**changed):
    table = variances(**changed)
    titles = ("stochastic gradient", "full gradient")
    return variance_curves.draw(table, exact(table, STEPS), 0.95, "all", titles, LONG_NOTE)


def draw_fig2(**changed):
    table = variances("W1", **changed)
    titles = ("stochastic gradient of W₁", "population gradient of W₁")
    return variance_curves.draw(table, exact(table, [0, 1]), 0.95, "W1", titles, LONG_NOTE)


def draw_fig5a(**changed):
    panels = epoch_panels.variance_panels(epoch_means(**changed))
    return epoch_panels.draw(panels, "variance, mean of the epoch", 0.95, LONG_NOTE)


def draw_fig5c(**changed):
    panels = epoch_panels.accuracy_panels(metrics(**changed))
    return epoch_panels.draw(panels, "mean accuracy over runs", 0.95, LONG_NOTE)


def draw_fig4(**changed):
    return training_curves.draw_curves(metrics(**changed), "error", 0.95, LONG_NOTE)


FIGURES = {
    "1a": draw_fig1a,
    "1b": draw_fig1b,
    "2": draw_fig2,
    "3a": lambda: initial_weights.draw(variances(), LONG_NOTE),
    "3b": lambda: training_curves.draw_gap(metrics(), 1, 0.95, LONG_NOTE),
    "4": draw_fig4,
    "5a": draw_fig5a,
    "5c": draw_fig5c,
    "6": lambda: gradient_variance.draw(variances(), 0.95, LONG_NOTE),
}
every_figure = pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)


def key_lines(figure):
    (legend,) = figure.legends
    return legend.get_title().get_text().splitlines()


def key_labels(figure):
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


@every_figure
def test_drawing_again_gives_the_same_bytes_whatever_the_settings_around(draw, tmp_path):
    """Fonts, resolution and names of elements do not depend on who saves, where or how often."""
    first = [tmp_path / "first.svg", tmp_path / "first.png"]
    save_figure(draw(), first)
    with matplotlib.rc_context({"savefig.dpi": 50, "font.size": 20, "svg.fonttype": "path"}):
        save_figure(draw(), [tmp_path / "second.svg", tmp_path / "second.png"])
    for path in first:
        again = path.with_stem("second")
        assert path.read_bytes() == again.read_bytes()


@every_figure
def test_an_svg_has_its_text_as_text_in_fonts_that_readers_have(draw, tmp_path):
    figure = draw()
    shown = {text.get_text() for text in figure.findobj(Text) if text.get_visible()}
    path = tmp_path / "figure.svg"
    save_figure(figure, [path])
    root = ElementTree.parse(path)
    written = list(root.iter(f"{SVG}text"))
    words = " ".join(element.text or "" for element in written)
    for axes in figure.axes:
        for text in (axes.get_title(), axes.get_xlabel()):
            assert text in words
    # Letters of mathematics would be single, and some in fonts that only matplotlib has.
    assert not list(root.iter(f"{SVG}tspan"))
    assert not any("$" in text for text in shown)
    styles = {element.get("style") for element in written}
    assert all("'DejaVu Sans', 'Verdana', sans-serif" in style for style in styles)


def test_a_png_is_1440_pixels_wide(tmp_path):
    path = tmp_path / "figure.png"
    save_figure(FIGURES["6"](), [path])
    assert struct.unpack(">I", path.read_bytes()[16:20]) == (1440,)


@every_figure
def test_text_is_within_the_figure_and_legible_at_400_pixels(draw):
    figure = draw()
    with figure_style():
        figure.canvas.draw()
    texts = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
    assert min(text.get_fontsize() for text in texts) >= SMALL
    box = figure.get_tightbbox()  # inches
    width, height = figure.get_size_inches()
    assert min(box.x0, box.y0) >= 0
    assert box.x1 <= width
    assert box.y1 <= height
    assert SMALL / 72 / WIDTH * 400 > 7  # pixels to the em


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (2560, "2,560"),
        (10, "10"),
        (999_999, "999,999"),
        (10_000_000, "10⁷"),
        (2_500_000, "2.5 × 10⁶"),
        (1_234_567, "1,234,567"),
        (0.05, "0.05"),
        (0.6, "0.6"),
        (1000.0, "1,000"),
        (257.4, "257"),
        (0.0, "0"),
        (-0.25, "−0.25"),
        (4.27e9, "4.27 × 10⁹"),
        (4e-5, "4 × 10⁻⁵"),
        (1e-4, "10⁻⁴"),
    ],
)
def test_numbers_are_written_one_way(value, written):
    assert number(value) == written


def test_a_share_is_written_in_per_cent():
    assert [percent(share) for share in (0.05, 1.0, 0.0012, 0)] == ["5 %", "100 %", "0.12 %", "0 %"]


def test_notes_name_the_paper_where_it_differs():
    numbers = {"runs": (8, 100), "epochs": (1000, 1000), "training images": (2560, 60000)}
    assert scale_note(numbers) == (
        "8 runs (paper: 100), 1,000 epochs, 2,560 training images (paper: 60,000)"
    )
    assert sample_note(100, 1000, 400, 500) == "100 runs (paper: 1,000), n = 400 (paper: 500)"
    assert sample_note(1000, 1000, 500, 500) == "1,000 runs, n = 500"
    assert sample_note(1000, 1000) == "1,000 runs"


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.2, 3, ["0.3", "1", "3"]),
        (0.5, 40, ["1", "3", "10", "30"]),
        (0.04, 0.95, ["0.05", "0.1", "0.2", "0.5"]),
        (8, 45, ["10", "20", "30"]),
        (0.61, 0.79, ["0.65", "0.7", "0.75"]),
        (1e-4, 150, ["10⁻⁴", "10⁻³", "10⁻²", "10⁻¹", "10⁰", "10¹", "10²"]),
        (1e-2, 2e10, ["10⁻²", "10⁰", "10²", "10⁴", "10⁶", "10⁸", "10¹⁰"]),
        (1, 2000, ["1", "10", "100", "1,000"]),
    ],
)
def test_ticks_of_logarithmic_axes_are_round_numbers(low, high, expected):
    _, axes = plt.subplots()
    axes.set(yscale="log", ylim=(low, high))
    log_ticks(axes.yaxis)
    axes.figure.canvas.draw()
    assert [label.get_text() for label in axes.get_yticklabels()] == expected
    assert axes.get_ylim() == (low, high)
    assert not any(label.get_text() for label in axes.yaxis.get_minorticklabels())


# Intervals


DRAWN_WITH_INTERVALS = {
    "1a": draw_fig1a,
    "2": draw_fig2,
    "5a": draw_fig5a,
    "6": lambda **changed: gradient_variance.draw(variances(**changed), 0.95),
}


@pytest.mark.parametrize("draw", DRAWN_WITH_INTERVALS.values(), ids=DRAWN_WITH_INTERVALS)
def test_a_variance_without_an_interval_has_no_band_and_a_note_says_what_it_takes(draw):
    figure = draw(low=np.nan, high=np.nan, n_runs=2, dof=1)
    for axes in figure.axes:
        assert not [area for area in axes.collections if len(area.get_paths()[0].vertices) > 2]
        assert len(axes.lines) >= len(SIZES)  # the estimates are drawn all the same
    assert "b = 4, 16, 64: no interval from 2 runs of each, it takes 3" in key_lines(figure)
    assert "95 % interval" not in key_labels(figure)


def test_groups_of_runs_take_a_run_each():
    """Two groups of one run: two means are taken out of two runs, four leave two."""
    figure = DRAWN_WITH_INTERVALS["6"](low=np.nan, high=np.nan, n_runs=2, dof=0)
    assert key_lines(figure) == ["b = 4, 16, 64: no interval from 2 runs of each, it takes 4"]


@pytest.mark.parametrize("draw", [draw_fig4, draw_fig5c])
def test_a_mean_of_one_run_has_no_interval(draw):
    figure = draw(low=np.nan, high=np.nan, n_runs=1)
    assert "b = 4, 16, 64: no interval from 1 run of each, it takes 2" in key_lines(figure)
    assert not any(axes.collections for axes in figure.axes)


def test_points_of_figure_heavy_tails_stay_where_there_is_no_interval():
    keys = pd.DataFrame({"b": [1, 2, 4], "step": 0, "tensor": "W1", "estimator": "sample"})
    exact = keys.assign(exact=[4.0, 2.0, 1.0])
    estimates = exact.assign(
        runs=2, variance=[3.0, 2.5, 0.9], ci_low=np.nan, ci_high=np.nan, reliable=False
    )
    repeats = exact.assign(runs=2, q05=0.1, median=1.0, q95=9.0)
    figure = heavy_tails.draw(estimates, repeats, 0.95)
    (points,) = [
        line
        for line in figure.axes[0].lines
        if line.get_markerfacecolor() == "white" and len(line.get_xdata())
    ]
    assert points.get_ydata().tolist() == [3.0, 2.5, 0.9]
    assert "b = 1, 2, 4: no interval from 2 runs of each, it takes 3" in key_lines(figure)
    assert "2 runs" in key_labels(figure)


def test_a_gap_of_intervals_is_counted():
    table = variances()
    whole = (table["quantity"] == "stochastic_gradient") & (table["estimator"] == "rao_blackwell")
    table.loc[whole & (table["b"] == 16) & (table["step"] == 9), ["ci_low", "ci_high"]] = np.nan
    figure = gradient_variance.draw(table, 0.95)
    assert key_lines(figure) == ["b = 16: no interval at 1 of 4 points"]
    assert "95 % interval" in key_labels(figure)


@pytest.mark.parametrize(
    ("relative", "expected"),
    [
        (0.3, []),
        (1e-4, ["every 95 % interval is narrower than its line"]),
    ],
)
def test_intervals_narrower_than_their_line_are_said_to_be(relative, expected):
    figure = gradient_variance.draw(variances(low=1 - relative, high=1 + relative), 0.95)
    assert key_lines(figure) == expected


def test_intervals_that_can_be_seen_in_part_are_said_to_be():
    table = variances(low=1 - 1e-4, high=1 + 1e-4)
    table.loc[table["step"] == 9, "ci_high"] *= 2
    figure = gradient_variance.draw(table, 0.95)
    expected = "where no band is seen, the 95 % interval is narrower than the line"
    assert key_lines(figure) == [expected]


# Figures one by one


def test_epochs_of_figures_5a_and_5c_are_the_same():
    """The artefact counts the epochs of a variance from 0; its first is the one that ends at 1."""
    variance, accuracy = draw_fig5a(), draw_fig5c()
    drawn = [list(line.get_xdata()) for line in variance.axes[0].lines]
    assert drawn == [[1, 2, 3, 4]] * len(SIZES)
    assert variance.axes[0].get_xlim()[0] < 0
    assert [axes.get_ylim() for axes in variance.axes] == [variance.axes[0].get_ylim()] * 2
    assert list(accuracy.axes[0].lines[0].get_xdata()) == list(range(7))
    assert accuracy.axes[0].yaxis.get_major_formatter()(0.9) == "90 %"


def test_panels_of_figure_4_share_an_axis_and_a_box_frames_what_is_enlarged():
    figure = draw_fig4()
    training, validation, enlarged = figure.axes
    assert training.get_ylim() == validation.get_ylim()
    (box,) = validation.patches
    low, high = enlarged.get_ylim()
    low = max(low, validation.get_ylim()[0])
    np.testing.assert_allclose([box.get_y(), box.get_y() + box.get_height()], [low, high])
    figure.canvas.draw()
    labels = [*training.get_yticklabels(), *enlarged.get_yticklabels()]
    assert all(re.fullmatch(r"[\d.]+ %", label.get_text()) for label in labels)


def test_figure_1b_shows_errors_half_widths_and_no_size_beyond_the_data():
    figure = draw_fig1b(last=400)
    left, *errors = figure.axes
    assert [label.get_text() for label in left.get_xticklabels()][-1] == "200"
    assert len({axes.get_ylim() for axes in errors}) == 1
    for axes in errors:
        grey_width, grey, width, points = axes.lines
        np.testing.assert_allclose(points.get_ydata(), 0.01)
        np.testing.assert_allclose(grey.get_ydata(), 0.001)
        quantile = 2.570582  # of Student's t with 5 degrees of freedom, not the normal 1.96
        np.testing.assert_allclose(width.get_ydata(), quantile * 0.05 / 9, rtol=1e-6)
        np.testing.assert_allclose(grey_width.get_ydata(), width.get_ydata())
        assert min(axes.get_ylim()) < 0.001 < 0.01 < max(axes.get_ylim())


def test_figure_1a_names_a_size_without_variance_and_draws_the_exact_line():
    table = variances(sizes=[4, 16])
    silent = variances(sizes=[500])
    silent[["variance", "ci_low", "ci_high"]] = 0.0
    table = pd.concat([table, silent])
    figure = variance_curves.draw(table, exact(table, STEPS), 0.95, "all", ("a", "b"))
    assert "b = 500: every example in each batch, variance 0" in key_lines(figure)
    assert [text.get_text() for text in figure.axes[1].texts] == ["b = 4", "b = 16"]
