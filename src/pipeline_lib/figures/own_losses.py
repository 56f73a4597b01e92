"""Losses and errors of an experiment of the user's own against the epoch, by batch size."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from pipeline_lib.estimation.metrics import TRAINING, VALIDATION, metrics_with_values
from pipeline_lib.figures.axes import key_below
from pipeline_lib.figures.intervals import Intervals, lost_runs, unbroken_sizes
from pipeline_lib.figures.style import WIDTH, colours, figure_style

_LINE = 0.9  # points
_MARKED = 30  # epochs up to which each has a marker


def draw(summary: pd.DataFrame, level: float, note: str = "", init: int = 0) -> Figure:
    """A row of panels for the loss and one for the error, where there is one: both splits.

    ``summary`` is the artefact metric_summary, ``level`` the confidence level of its intervals and
    ``note`` says which data it is. Axes are linear: a loss of the user's own may be 0 or below. A
    batch size at which runs diverged has no curve but a note.
    """
    summary = summary[summary["init"] == init]
    metrics = metrics_with_values(summary)
    shades = colours(sorted(summary["b"].unique().tolist()))
    losses = summary[summary["metric"] == "loss"]
    sizes = unbroken_sizes(losses)
    intervals = Intervals(level, "mean", least_dof=1)
    marker = "o" if summary["epoch"].nunique() <= _MARKED else ""
    with figure_style():
        figure, grid = plt.subplots(
            len(metrics), 2, figsize=(WIDTH, 0.6 + 2.3 * len(metrics)), sharex=True, sharey="row",
            squeeze=False,
        )  # fmt: skip
        for row, metric in zip(grid, metrics, strict=True):
            for axes, split in zip(row, (TRAINING, VALIDATION), strict=True):
                rows = summary[(summary["metric"] == metric) & (summary["split"] == split)]
                for b in sizes:
                    here = rows[rows["b"] == b].sort_values("epoch")
                    intervals.band(axes, here["epoch"], here, shades[b], _LINE)
                    axes.plot(
                        here["epoch"], here["mean"], marker=marker, color=shades[b], ms=2.5,
                        lw=_LINE,
                    )  # fmt: skip
                axes.set_title(f"{split} {metric}")
            row[0].set_ylabel(f"mean {metric} over runs")
        for axes in grid[-1]:
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.canvas.draw()  # what hides an interval is seen in pixels
        handles = [Line2D([], [], color=shades[b], lw=_LINE, label=f"b = {b}") for b in sizes]
        lines = [note, *intervals.notes(), *lost_runs(losses, "epoch")]
        key_below(figure, [*handles, *intervals.key()], lines)
    return figure
