"""Variance of the stochastic gradient of every parameter tensor, a panel each, by batch size."""

import math

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pipeline_lib.estimation.statistics import ALL, STOCHASTIC
from pipeline_lib.figures.axes import key_below, log_ticks
from pipeline_lib.figures.gradient_variance import estimates_of
from pipeline_lib.figures.intervals import Intervals, lost_runs, unbroken_sizes
from pipeline_lib.figures.style import WIDTH, colours, figure_style

MOST = 18
"""Panels of a figure; more could not be read."""
_COLUMNS = 3
_LETTERS = 30  # of a panel's title
_LINE = 0.9  # points


def draw(variance: pd.DataFrame, level: float, note: str = "", init: int = 0) -> Figure:
    """Estimates of ``var(g_t | F_0)`` by tensor, in the order of their names.

    ``variance`` is the artefact of that name, ``level`` the confidence level of its intervals and
    ``note`` says which data it is. All panels share the axis of iterations; each has its own of
    variances. Of more than `MOST` tensors those with the largest variance at step 0 are drawn, and
    a line says so. A batch size at which runs diverged has no curve but a note.
    """
    variance = variance[variance["init"] == init]
    names, left_out = _chosen(variance)
    shades = colours(sorted(variance["b"].unique().tolist()))
    sizes = unbroken_sizes(variance)
    intervals = Intervals(level, "variance", least_dof=2)
    n_columns = 2 if len(names) == 4 else min(_COLUMNS, len(names))
    n_rows = math.ceil(len(names) / n_columns)
    with figure_style():
        figure, grid = plt.subplots(
            n_rows, n_columns, figsize=(WIDTH, 0.6 + 1.6 * n_rows), sharex=True, squeeze=False
        )
        for axes, name in zip(grid.flat, names, strict=False):
            estimates = estimates_of(variance, name)
            for b in sizes:
                here = estimates[estimates["b"] == b]
                intervals.band(axes, here["step"] + 1, here, shades[b], _LINE)
                axes.plot(here["step"] + 1, here["variance"], color=shades[b], lw=_LINE)
            axes.set(xscale="log", yscale="log")
            axes.set_title(name if len(name) <= _LETTERS else f"…{name[1 - _LETTERS :]}")
            log_ticks(axes.yaxis)
        log_ticks(grid[0, 0].xaxis)
        for axes in grid.flat[len(names) :]:
            axes.set_visible(False)
        for column in range(n_columns):  # the lowest panel of each
            lowest = grid[(len(names) - 1 - column) // n_columns, column]
            lowest.set_xlabel("iteration t + 1")
            lowest.tick_params(labelbottom=True)
        figure.supylabel("variance over runs", fontsize="medium")
        figure.canvas.draw()  # what hides an interval is seen in pixels
        handles = [Line2D([], [], color=shades[b], lw=_LINE, label=f"b = {b}") for b in sizes]
        whole = variance[variance["tensor"] == ALL]
        lines = [note, *left_out, *intervals.notes(), *lost_runs(whole, "step")]
        key_below(figure, [*handles, *intervals.key()], lines)
    return figure


def _chosen(variance: pd.DataFrame) -> tuple[list[str], list[str]]:
    """The tensors to draw, and a line on those that are left out."""
    first = variance[(variance["quantity"] == STOCHASTIC) & (variance["step"] == 0)]
    first = first[(first["estimator"] == "sample") & (first["tensor"] != ALL)]
    largest = first.groupby("tensor", observed=True)["variance"].max()
    if largest.empty:  # one that has no name of its own
        return [ALL], []
    kept = largest.sort_values(ascending=False, kind="stable").index[:MOST]
    if len(largest) <= MOST:
        return sorted(kept), []
    told = f"{MOST} of {len(largest)} tensors, those of the largest variance at iteration 1"
    return sorted(kept), [told]
