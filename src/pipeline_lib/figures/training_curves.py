"""Figures 3b, 4a and 4b: losses, errors and the generalisation gap against the epoch, by b."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from pipeline_lib.errors import ConfigError
from pipeline_lib.estimation.metrics import GAP, TRAINING, VALIDATION
from pipeline_lib.figures.style import (
    WIDTH,
    Colour,
    band,
    colours,
    direct_labels,
    figure_style,
    key_below,
    lost_runs,
    unbroken_sizes,
)


def draw_curves(
    summary: pd.DataFrame, metric: str, level: float, note: str = "", init: int = 0
) -> Figure:
    """Figure 4a (``metric`` loss) or 4b (error): training, validation and the latter's second half.

    ``summary`` is the artefact metric_summary, ``level`` the confidence level of its intervals and
    ``note`` says which data it is. The first two panels have logarithmic axes. A mean of exactly 0
    has no logarithm: such epochs are left out there, as in the paper, and the figure says how many.
    The third panel is the second half of the second, where the curves are too close to be told
    apart on its axis. A batch size at which runs diverged has no curve but a note.
    """
    chosen = _chosen(summary, metric, init)
    shades = colours(sorted(chosen["b"].unique().tolist()))
    curves = chosen[chosen["b"].isin(unbroken_sizes(chosen))]
    validation = curves[curves["split"] == VALIDATION]
    late = validation[validation["epoch"] >= validation["epoch"].max() / 2]
    parts = {
        f"training {metric}": curves[curves["split"] == TRAINING],
        f"validation {metric}": validation,
        f"validation {metric}, second half": late,
    }
    left_out = []
    with figure_style():
        figure, panels = plt.subplots(1, 3, figsize=(WIDTH, 3.2))
        for axes, (title, rows) in zip(panels, parts.items(), strict=True):
            logarithmic = rows is not late
            if logarithmic:
                left_out += _left_out(title, rows)
                rows = _without_zeros(rows)
                axes.set_yscale("log")
            for b, here in rows.groupby("b"):
                _draw_curve(axes, here, shades[b])
            axes.set(title=title, xlabel="epoch")
            _set_reach(axes, rows["epoch"])
            if logarithmic:
                _set_height(axes, rows)
        panels[0].set_ylabel("mean over runs")
        handles = [
            Line2D([], [], color=shades[b], label=f"b = {b}") for b in unbroken_sizes(chosen)
        ]
        band_key = Patch(color="0.3", alpha=0.25, lw=0, label=f"{100 * level:g} % interval")
        key_below(figure, [*handles, band_key], [note, *left_out, *lost_runs(chosen, "epoch")])
    return figure


def draw_gap(
    summary: pd.DataFrame, first_epoch: int, level: float, note: str = "", init: int = 0
) -> Figure:
    """Figure 3b: accuracy on the training less that on the distorted images, from ``first_epoch``.

    Arguments as for `draw_curves`. Raises ConfigError if no epoch that late has a gap.
    """
    chosen = _chosen(summary, GAP, init)
    chosen = chosen[chosen["epoch"] >= first_epoch]
    if chosen.empty:
        last = _chosen(summary, GAP, init)["epoch"].max()
        raise ConfigError(f"Figure 3b: no gap from epoch {first_epoch} on; the last is at {last}")
    shades = colours(sorted(chosen["b"].unique().tolist()))
    ends: dict[int, float] = {}
    with figure_style():
        figure, axes = plt.subplots(figsize=(WIDTH, 3.6))
        for b in unbroken_sizes(chosen):
            here = chosen[chosen["b"] == b]
            _draw_curve(axes, here, shades[b])
            axes.plot(here["epoch"], here["mean"], "o", color=shades[b], ms=3)
            ends[b] = here["mean"].iloc[-1]
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set(xlabel="epoch", ylabel="accuracy, training less distorted")
        axes.margins(x=0.02)
        label = f"mean over runs, {100 * level:g} % interval"
        key = Line2D([], [], color="0.3", marker="o", ms=3, label=label)
        key_below(figure, [key], [note, *lost_runs(chosen, "epoch")])
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


def _draw_curve(axes: Axes, rows: pd.DataFrame, shade: Colour) -> None:
    band(axes, rows["epoch"], rows["ci_low"], rows["ci_high"], shade)
    axes.plot(rows["epoch"], rows["mean"], color=shade, lw=0.9)
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


def _set_height(axes: Axes, rows: pd.DataFrame) -> None:
    """The axis is set by the means and upper ends; lower ends can be 0 or below."""
    values = rows[["mean", "ci_high"]].to_numpy().ravel()
    values = values[(values > 0) & np.isfinite(values)]
    if len(values):
        room = max(1.1, (values.max() / values.min()) ** 0.04)
        axes.set_ylim(values.min() / room, values.max() * room)
