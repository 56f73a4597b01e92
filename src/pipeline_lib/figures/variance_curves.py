"""Variance of a stochastic gradient and of its full gradient against the iteration, by batch size.

Figures 1a, 2a and 2b are this drawing for different experiments and tensors.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pipeline_lib.estimation.statistics import FULL, STOCHASTIC
from pipeline_lib.figures.axes import direct_labels, key_below, log_ticks
from pipeline_lib.figures.intervals import Intervals, lost_runs
from pipeline_lib.figures.style import WIDTH, Colour, colours, figure_style

_POINTS = 22  # Monte-Carlo points drawn for each curve, evenly on the logarithmic axis
_POINT_SIZE = 2.5  # points
_LINE = 1.1


def draw(
    variance: pd.DataFrame,
    theory: pd.DataFrame,
    level: float,
    tensor: str,
    titles: tuple[str, str],
    note: str = "",
    init: int = 0,
) -> Figure:
    """Two panels: the stochastic gradient with ``titles[0]``, the full gradient with ``titles[1]``.

    ``variance`` and ``theory`` are the artefacts of those names, ``level`` is the confidence level
    of the former's intervals and ``note`` says which data it is. Where the exact variance is known
    at every step it is the line and the estimates are points; where it is known at a few steps, or
    at none, the estimates are the line. The stochastic gradient's estimator is ``sample`` in the
    first case, as in the paper, and else the more precise ``rao_blackwell``. A batch size at which
    runs diverged has no curve but a note. An estimate without an interval has no bar or band, and a
    note says how many runs one takes. The axis counts from 1, as the learning rates of Appendix B
    do, because it is logarithmic.
    """
    variance = variance[(variance["tensor"] == tensor) & (variance["init"] == init)]
    theory = theory[(theory["tensor"] == tensor) & (theory["init"] == init)]
    lost = variance[variance["n_diverged"] > 0]
    sizes = sorted(variance["b"].unique().tolist())
    # Where every example is in the batch all runs agree: a variance of 0 has no place here.
    silent = [b for b in sizes if (variance.loc[variance["b"] == b, "variance"] == 0).all()]
    drawn = [b for b in sizes if b not in {*lost["b"], *silent}]
    known_everywhere = theory["step"].max() >= variance["step"].max()
    shades = colours(sizes)
    intervals = Intervals(level, "variance", least_dof=2)
    with figure_style():
        figure, panels = plt.subplots(1, 2, figsize=(WIDTH, 3.4), sharex=True, sharey=True)
        ends: dict[int, float] = {}
        for axes, quantity, title in zip(panels, (STOCHASTIC, FULL), titles, strict=True):
            precise = quantity == STOCHASTIC and not known_everywhere
            estimator = "rao_blackwell" if precise else "sample"
            keep = (variance["quantity"] == quantity) & (variance["estimator"] == estimator)
            estimates = variance[keep & (variance["variance"] > 0)].sort_values("step")
            exact = theory[(theory["quantity"] == quantity) & (theory["variance"] > 0)]
            for b in drawn:
                here, truth = estimates[estimates["b"] == b], exact[exact["b"] == b]
                if known_everywhere:
                    axes.plot(truth["step"] + 1, truth["variance"], color=shades[b], lw=_LINE)
                    _points(axes, here, shades[b], intervals)
                    ends[b] = truth["variance"].iloc[-1]
                else:
                    at = here["step"] + 1
                    intervals.band(axes, at, here, shades[b], _LINE)
                    axes.plot(at, here["variance"], color=shades[b], lw=_LINE)
                    axes.plot(truth["step"] + 1, truth["variance"], "*", color=shades[b], ms=7)
                    ends[b] = here["variance"].iloc[-1]
            axes.set(xscale="log", yscale="log", title=title, xlabel="iteration t + 1")
            axes.margins(x=0.02)
        panels[0].set_ylabel("variance over runs")
        log_ticks(panels[0].xaxis)
        log_ticks(panels[0].yaxis)
        figure.canvas.draw()  # what hides an interval, and where labels stand, is seen in pixels
        words = ("point", "bar") if known_everywhere else ("line", "band")
        missing = [f"b = {b}: every example in each batch, variance 0" for b in silent]
        missing += lost_runs(variance, "step")
        handles = _key(intervals, known_everywhere)[theory.empty :]
        key_below(figure, handles, [note, *intervals.notes(*words), *missing])
        figure.canvas.draw()
        direct_labels(
            panels[1], [ends[b] for b in drawn], [f"b = {b}" for b in drawn],
            [shades[b] for b in drawn],
        )  # fmt: skip
    return figure


def _points(axes: Axes, estimates: pd.DataFrame, shade: Colour, intervals: Intervals) -> None:
    last = int(estimates["step"].max())
    shown = np.unique(np.geomspace(1, last + 1, _POINTS).round().astype(int)) - 1
    points = estimates[estimates["step"].isin(shown)]
    intervals.count(axes, points, _POINT_SIZE)
    axes.errorbar(
        points["step"] + 1,
        points["variance"],
        yerr=[points["variance"] - points["ci_low"], points["ci_high"] - points["variance"]],
        color=shade,
        fmt="o",
        ms=_POINT_SIZE,
        lw=0.8,
    )


def _key(intervals: Intervals, known_everywhere: bool) -> list[Artist]:
    grey = "0.3"
    if known_everywhere:
        exact = Line2D([], [], color=grey, lw=_LINE, label="exact")
        estimate = Line2D([], [], color=grey, ls="", marker="o", ms=_POINT_SIZE)
        estimate.set_label(f"Monte Carlo, bar: {intervals.label}")
        return [exact, estimate]
    exact = Line2D([], [], color=grey, ls="", marker="*", ms=7, label="exact")
    estimate = Line2D([], [], color=grey, lw=_LINE, label="Monte Carlo")
    return [exact, estimate, *intervals.key()]
