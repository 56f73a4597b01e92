"""The figure of the gradient noise scale: what is drawn is what the table holds."""

from itertools import pairwise

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from pipeline_lib.estimation.statistics import ALL
from pipeline_lib.figures import noise_scale
from pipeline_lib.figures.style import colours

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def rows(b, values, **changed):
    values = np.asarray(values, dtype=float)
    return pd.DataFrame(
        {
            "init": 0,
            "b": b,
            "step": np.arange(len(values)),
            "tensor": ALL,
            "noise_scale": values,
            "ci_low": 0.7 * values,
            "ci_high": 1.4 * values,
            "n_runs": 10,
            "exact": False,
            "reliable": True,
            "n_diverged": 0,
        }
        | changed
    )


def lines_of(figure):
    """Curves and horizontal lines by colour."""
    curves, levels = {}, {}
    for line in figure.axes[0].get_lines():
        x, y = (np.asarray(values, dtype=float) for values in line.get_data())
        if len(x) == 2 and y[0] == y[1]:
            levels[to_rgb(line.get_color())] = y[0]
        else:
            curves[to_rgb(line.get_color())] = x, y
    return curves, levels


def notes_of(figure):
    return figure.legends[0].get_title().get_text()


def labels_of(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_curves_and_batch_sizes_have_the_same_colours():
    table = pd.concat([rows(4, [3, 5, 20]), rows(64, [3, 8, 40]), rows(64, [9, 9, 9], init=1)])
    figure = noise_scale.draw(table, 0.95, "three steps")
    curves, levels = lines_of(figure)
    for b, shade in colours([4, 64]).items():
        here = table[(table["b"] == b) & (table["init"] == 0)]
        np.testing.assert_array_equal(curves[to_rgb(shade)][0], [1, 2, 3])
        np.testing.assert_array_equal(curves[to_rgb(shade)][1], here["noise_scale"])
        assert levels[to_rgb(shade)] == b
    assert labels_of(figure) == ["b = 4", "b = 64"]
    assert len(figure.axes[0].collections) == 2
    assert notes_of(figure) == "three steps"
    low, high = figure.axes[0].get_ylim()
    assert low < 2.1
    assert high > 64


def test_unreliable_points_are_left_out_and_counted():
    table = rows(4, [3, 5, 20, 30], reliable=[True, False, True, True])
    figure = noise_scale.draw(table, 0.95)
    ((_, drawn),) = lines_of(figure)[0].values()
    np.testing.assert_array_equal(np.isnan(drawn), [False, True, False, False])
    assert "left out: 1 of 4 points" in notes_of(figure)


def test_without_a_reliable_point_there_are_the_batch_sizes_alone():
    table = pd.concat([rows(b, [3, 5, 20], reliable=False) for b in (4, 64)])
    figure = noise_scale.draw(table, 0.95)
    assert "left out: 6 of 6 points" in notes_of(figure)
    assert labels_of(figure) == ["b = 4", "b = 64"]
    assert figure.axes[0].get_xlim()[1] > 3


def test_lost_runs_are_noted_and_have_no_curve():
    lost = {"n_diverged": [0, 0, 1], "reliable": [True, True, False]}
    figure = noise_scale.draw(pd.concat([rows(4, [3, 5, np.nan], **lost), rows(8, [4] * 3)]), 0.95)
    assert len(lines_of(figure)[0]) == 1
    assert labels_of(figure) == ["b = 4", "b = 8"]
    assert "b = 4: 1 of 10 runs diverged, the first by iteration 3" in notes_of(figure)
    assert "left out" not in notes_of(figure)


def test_exact_values_have_no_band():
    exact = {"exact": True, "n_runs": pd.array([pd.NA] * 3, dtype="Int32")}
    figure = noise_scale.draw(rows(4, [3, 5, 20], **exact), 0.95, "exact")
    assert not figure.axes[0].collections
    key = [text.get_text() for text in figure.legends[0].get_texts()]
    assert key == ["exact noise scale", "batch size of the same colour"]
    assert notes_of(figure) == "exact"


def test_labels_of_many_batch_sizes_do_not_touch():
    table = pd.concat([rows(b, [3, 5, 20]) for b in range(40, 500, 20)])
    figure = noise_scale.draw(table, 0.95)
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    heights = sorted((box.y0, box.y1) for box in boxes)
    assert len(boxes) > 4
    assert all(above[0] >= below[1] for below, above in pairwise(heights))
    assert "b = 480" in labels_of(figure)
