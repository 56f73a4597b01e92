"""Figures 3b, 4a and 4b: losses, errors and the generalisation gap against the epoch, by b.

Losses are in nats, errors in per cent of the images, the gap in percentage points.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from pipeline_lib.errors import ConfigError
from pipeline_lib.estimation.metrics import GAP, TRAINING, VALIDATION
from pipeline_lib.figures.axes import direct_labels, key_below, log_ticks, percent_ticks
from pipeline_lib.figures.intervals import Intervals, lost_runs, unbroken_sizes
from pipeline_lib.figures.numbers import number, percent
from pipeline_lib.figures.style import WIDTH, Colour, colours, figure_style

_LINE = 0.9  # points


def draw_curves(
    summary: pd.DataFrame, metric: str, level: float, note: str = "", init: int = 0
) -> Figure:
    """Figure 4a (``metric`` loss) or 4b (error): training, validation and the latter's second half.

    ``summary`` is the artefact metric_summary, ``level`` the confidence level of its intervals and
    ``note`` says which data it is. The first two panels share a logarithmic axis. A mean of exactly
    0 has no logarithm: such epochs are left out there, as in the paper, and the figure says how
    many. The third panel enlarges what a box frames in the second, the second half of its epochs,
    where the curves are too close to be told apart. A batch size at which runs diverged has no
    curve but a note. Means without an interval have no band, and a note says how many runs one
    takes.
    """
    chosen = _chosen(summary, metric, init)
    shades = colours(sorted(chosen["b"].unique().tolist()))
    curves = chosen[chosen["b"].isin(unbroken_sizes(chosen))]
    validation = curves[curves["split"] == VALIDATION]
    late = validation[validation["epoch"] >= validation["epoch"].max() / 2]
    whole = {f"training {metric}": curves[curves["split"] == TRAINING]}
    whole[f"validation {metric}"] = validation
    intervals = Intervals(level, "mean", least_dof=1)
    left_out = []
    with figure_style():
        figure, panels = plt.subplots(1, 3, figsize=(WIDTH, 3.4))
        panels[1].sharey(panels[0])
        panels[1].tick_params(labelleft=False)
        for axes, (title, rows) in zip(panels, whole.items(), strict=False):
            left_out += _left_out(title, rows)
            _draw_curves(axes, _without_zeros(rows), shades, intervals)
            axes.set(title=title, yscale="log")
        _draw_curves(panels[2], late, shades, intervals)
        panels[2].set_title("second half, enlarged")
        _set_height(panels[0], pd.concat([_without_zeros(rows) for rows in whole.values()]))
        _frame(panels[1], panels[2])
        if metric == "error":
            percent_ticks(panels[2].yaxis)
        log_ticks(panels[0].yaxis, percent if metric == "error" else number)
        panels[0].set_ylabel(f"mean {metric} over runs")
        figure.canvas.draw()  # what hides an interval is seen in pixels
        handles = [
            Line2D([], [], color=shades[b], label=f"b = {b}") for b in unbroken_sizes(chosen)
        ]
        lines = [note, *left_out, *intervals.notes(), *lost_runs(chosen, "epoch")]
        key_below(figure, [*handles, *intervals.key()], lines)
    return figure


def draw_gap(
    summary: pd.DataFrame, first_epoch: int, level: float, note: str = "", init: int = 0
) -> Figure:
    """Figure 3b: accuracy on the training less that on the distorted images, from ``first_epoch``.

    Arguments as for `draw_curves`; the axis has percentage points. Raises ConfigError if no epoch
    that late has a gap.
    """
    chosen = _chosen(summary, GAP, init)
    chosen = chosen[chosen["epoch"] >= first_epoch]
    if chosen.empty:
        last = _chosen(summary, GAP, init)["epoch"].max()
        raise ConfigError(f"Figure 3b: no gap from epoch {first_epoch} on; the last is at {last}")
    shades = colours(sorted(chosen["b"].unique().tolist()))
    intervals = Intervals(level, "mean", least_dof=1)
    ends: dict[int, float] = {}
    with figure_style():
        figure, axes = plt.subplots(figsize=(WIDTH, 3.8))
        for b in unbroken_sizes(chosen):
            here = chosen[chosen["b"] == b]
            _draw_curve(axes, here, shades[b], intervals)
            axes.plot(here["epoch"], here["mean"], "o", color=shades[b], ms=3)
            ends[b] = here["mean"].iloc[-1]
        axes.yaxis.set_major_formatter(FuncFormatter(lambda gap, _: number(float(100 * gap))))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("epoch")
        axes.set_ylabel("accuracy on training − on distorted images,\npercentage points")
        axes.margins(x=0.02)
        figure.canvas.draw()  # what hides an interval is seen in pixels
        key = Line2D([], [], color="0.3", marker="o", ms=3, label="mean over runs")
        lines = [note, *intervals.notes(), *lost_runs(chosen, "epoch")]
        key_below(figure, [key, *intervals.key()], lines)
        figure.canvas.draw()  # labels are placed in pixels
        texts = [f"b = {b}" for b in ends]
        direct_labels(axes, list(ends.values()), texts, [shades[b] for b in ends])
    return figure


def _chosen(summary: pd.DataFrame, metric: str, init: int) -> pd.DataFrame:
    keep = (summary["metric"] == metric) & (summary["init"] == init)
    return summary[keep].sort_values("epoch")


def _left_out(title: str, rows: pd.DataFrame) -> list[str]:
    """A line on the epochs whose mean is 0, if there are any."""
    zero = rows[rows["mean"] == 0].groupby("b").size()
    if zero.empty:
        return []
    counts = ", ".join(f"{count:,} (b = {b})" for b, count in zero.items())
    n_epochs = rows["epoch"].nunique()
    return [f"{title} 0 in every run, not drawn: {counts} of {n_epochs:,} epochs"]


def _without_zeros(rows: pd.DataFrame) -> pd.DataFrame:
    zero = rows["mean"] == 0
    return rows.assign(**{name: rows[name].mask(zero) for name in ("mean", "ci_low", "ci_high")})


def _draw_curves(
    axes: Axes, rows: pd.DataFrame, shades: dict[int, Colour], intervals: Intervals
) -> None:
    """One curve for each b, over all epochs, also those left out."""
    for b in sorted(rows["b"].unique().tolist()):
        _draw_curve(axes, rows[rows["b"] == b], shades[b], intervals)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(3, integer=True, steps=[1, 2, 5, 10]))
    _set_reach(axes, rows["epoch"])


def _draw_curve(axes: Axes, rows: pd.DataFrame, shade: Colour, intervals: Intervals) -> None:
    intervals.band(axes, rows["epoch"], rows, shade, _LINE)
    axes.plot(rows["epoch"], rows["mean"], color=shade, lw=_LINE)
    # A line needs two points: one between two that are left out would not be seen.
    there = rows["mean"].notna()
    alone = there & ~there.shift(1, fill_value=False) & ~there.shift(-1, fill_value=False)
    if alone.any():
        axes.plot(rows["epoch"][alone], rows["mean"][alone], ".", color=shade, ms=2.5)


def _set_reach(axes: Axes, epochs: pd.Series) -> None:
    """Every epoch has its place, also those left out."""
    if epochs.empty:
        return
    first, last = epochs.min(), epochs.max()
    room = 0.02 * max(last - first, 1)
    axes.set_xlim(first - room, last + room)


def _frame(axes: Axes, enlarged: Axes) -> None:
    """Box in ``axes`` what ``enlarged`` shows, as far as it has a place there."""
    (left, right), (low, high) = enlarged.get_xlim(), enlarged.get_ylim()
    low = max(low, axes.get_ylim()[0])
    box = Rectangle((left, low), right - left, high - low, fill=False, color="0.5", lw=0.8)
    axes.add_patch(box)


def _set_height(axes: Axes, rows: pd.DataFrame) -> None:
    """The axis is set by the means and upper ends; lower ends can be 0 or below."""
    values = rows[["mean", "ci_high"]].to_numpy().ravel()
    values = values[(values > 0) & np.isfinite(values)]
    if len(values):
        room = max(1.1, (values.max() / values.min()) ** 0.04)
        axes.set_ylim(values.min() / room, values.max() * room)
