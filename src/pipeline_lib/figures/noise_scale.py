"""The gradient noise scale against the iteration, beside the batch sizes that were trained with."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pipeline_lib.estimation.statistics import ALL
from pipeline_lib.figures.axes import direct_labels, key_below, log_ticks
from pipeline_lib.figures.intervals import Intervals, lost_runs, unbroken_sizes
from pipeline_lib.figures.numbers import number
from pipeline_lib.figures.style import WIDTH, colours, figure_style

_LINE = 1.1  # points
_POINT_SIZE = 2.0
_MOST_POINTS = 100  # of a curve whose estimates are marked
_LABEL_HEIGHT = 11  # points from one label to the next


def draw(table: pd.DataFrame, level: float, note: str = "", init: int = 0) -> Figure:
    """B_simple of all parameters together, a curve for each batch size, from w_0 number ``init``.

    ``table`` is the artefact ``noise_scale``, ``level`` the confidence level of its intervals and
    ``note`` says which data it is. Dashed lines of the same colours are the batch sizes: above its
    own line a curve says that the mini-batch is mostly noise, below it mostly signal. Estimates
    that are not reliable are left out, and a note counts them. A batch size at which runs diverged
    has no curve but a note.
    """
    table = table[(table["tensor"] == ALL) & (table["init"] == init)].sort_values("step")
    sizes = sorted(table["b"].unique().tolist())
    shades = colours(sizes)
    intervals = Intervals(level, "noise_scale", least_dof=1)
    exact = bool(table["exact"].all())
    with figure_style():
        figure, axes = plt.subplots(figsize=(WIDTH, 3.6))
        whole = unbroken_sizes(table)
        for b in sizes:
            axes.axhline(b, color=shades[b], lw=0.7, ls=(0, (4, 3)))
            if b not in whole:
                continue
            here = table[table["b"] == b]
            # A gap where estimates are left out.
            shown = here.assign(noise_scale=here["noise_scale"].where(here["reliable"]))
            at = shown["step"] + 1
            if not exact:
                intervals.band(axes, at, _with_gaps(shown), shades[b], _LINE)
            marked = not exact and len(shown) <= _MOST_POINTS
            axes.plot(
                at, shown["noise_scale"], color=shades[b], lw=_LINE,
                marker="o" if marked else None, ms=_POINT_SIZE,
            )  # fmt: skip
        axes.set(
            xscale="log", yscale="log", xlabel="iteration t + 1",
            ylabel="gradient noise scale, examples",
        )  # fmt: skip
        # Set by hand: there may be no point to draw.
        first, last = table["step"].min() + 1, table["step"].max() + 1
        margin = max((last / first) ** 0.02, 1.05)
        axes.set_xlim(first / margin, last * margin)
        log_ticks(axes.xaxis)
        log_ticks(axes.yaxis)
        figure.canvas.draw()  # what hides an interval, and where labels stand, is seen in pixels
        notes = [] if exact else intervals.notes()
        lines = [note, *notes, *_left_out(table), *lost_runs(table, "step")]
        key_below(figure, [*_key(exact), *intervals.key()], lines)
        figure.canvas.draw()
        labelled = _apart(axes, sizes)
        texts = [f"b = {b}" for b in labelled]
        direct_labels(axes, labelled, texts, [shades[b] for b in labelled])
    return figure


def _with_gaps(shown: pd.DataFrame) -> pd.DataFrame:
    there = shown["noise_scale"].notna()
    return shown.assign(**{end: shown[end].where(there) for end in ("ci_low", "ci_high")})


def _left_out(table: pd.DataFrame) -> list[str]:
    """A line on unreliable estimates, at batch sizes that lost no run."""
    whole = table[table["b"].isin(unbroken_sizes(table))]
    count = int((~whole["reliable"]).sum())
    if not count:
        return []
    return [
        f"left out: {number(count)} of {number(len(whole))} points, whose runs are too few or too "
        "unlike to rely on"
    ]


def _apart(axes: Axes, sizes: list[int]) -> list[int]:
    """The batch sizes whose labels do not touch, from the largest down."""
    to_pixels, gap = axes.transData.transform, _LABEL_HEIGHT * axes.figure.dpi / 72
    chosen: list[int] = []
    lowest = np.inf
    for b in reversed(sizes):
        height = float(to_pixels((1.0, b))[1])
        if height <= lowest - gap:
            chosen.append(b)
            lowest = height
    return chosen[::-1]


def _key(exact: bool) -> list[Artist]:
    grey = "0.3"
    of_curve = "exact noise scale" if exact else "noise scale, mean over runs"
    return [
        Line2D([], [], color=grey, lw=_LINE, label=of_curve),
        Line2D([], [], color=grey, lw=0.7, ls=(0, (4, 3)), label="batch size of the same colour"),
    ]
