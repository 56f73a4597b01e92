"""Variance of a stochastic gradient and of its full gradient against the iteration, by batch size.

Figures 1a, 2a and 2b are this drawing for different experiments and tensors.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline_lib.estimation.statistics import FULL, STOCHASTIC
from pipeline_lib.figures.style import (
    WIDTH,
    Colour,
    band,
    bandless,
    colours,
    direct_labels,
    figure_style,
    lost_runs,
)

_POINTS = 22  # Monte-Carlo points drawn for each curve, evenly on the logarithmic axis


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
    at every step it is the line and the estimates are points; where it is known at a few steps the
    estimates are the line. The stochastic gradient's estimator is ``sample`` in the first case, as
    in the paper, and the more precise ``rao_blackwell`` in the second. A batch size at which runs
    diverged has no curve but a note. The axis counts from 1, as the learning rates of Appendix B
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
    with figure_style():
        figure, panels = plt.subplots(1, 2, figsize=(WIDTH, 3.1), sharex=True, sharey=True)
        ends: dict[int, float] = {}
        for axes, quantity, title in zip(panels, (STOCHASTIC, FULL), titles, strict=True):
            precise = quantity == STOCHASTIC and not known_everywhere
            estimator = "rao_blackwell" if precise else "sample"
            keep = (variance["quantity"] == quantity) & (variance["estimator"] == estimator)
            estimates = variance[keep & (variance["variance"] > 0)].sort_values("step")
            exact = theory[(theory["quantity"] == quantity) & (theory["variance"] > 0)]
            for b in drawn:
                here, truth = estimates[estimates["b"] == b], exact[exact["b"] == b]
                band(axes, here["step"] + 1, here["ci_low"], here["ci_high"], shades[b])
                if known_everywhere:
                    axes.plot(truth["step"] + 1, truth["variance"], color=shades[b])
                    _points(axes, here, shades[b])
                    ends[b] = truth["variance"].iloc[-1]
                else:
                    axes.plot(here["step"] + 1, here["variance"], color=shades[b])
                    axes.plot(truth["step"] + 1, truth["variance"], "*", color=shades[b], ms=7)
                    ends[b] = here["variance"].iloc[-1]
            axes.set(xscale="log", yscale="log", title=title, xlabel="iteration t + 1")
            axes.margins(x=0.02)
        panels[0].set_ylabel("variance over runs")
        _key(panels[0], level, known_everywhere, note)
        _note_missing(panels[1], variance, silent)
        figure.canvas.draw()
        direct_labels(
            panels[1], [ends[b] for b in drawn], [f"b = {b}" for b in drawn],
            [shades[b] for b in drawn],
        )  # fmt: skip
    return figure


def _points(axes: Axes, estimates: pd.DataFrame, shade: Colour) -> None:
    last = int(estimates["step"].max())
    shown = np.unique(np.geomspace(1, last + 1, _POINTS).round().astype(int)) - 1
    points = estimates[estimates["step"].isin(shown)]
    axes.errorbar(
        points["step"] + 1,
        points["variance"],
        yerr=[points["variance"] - points["ci_low"], points["ci_high"] - points["variance"]],
        color=shade,
        fmt="o",
        ms=2.5,
        lw=0.8,
    )


def _key(axes: Axes, level: float, known_everywhere: bool, note: str) -> None:
    grey = "0.3"
    estimate = f"Monte Carlo, {100 * level:g} % interval"
    if known_everywhere:
        axes.plot([], [], color=grey, label="exact")
        axes.errorbar([], [], yerr=[], color=grey, fmt="o", ms=2.5, lw=0.8, label=estimate)
    else:
        axes.plot([], [], "*", color=grey, ms=7, label="exact")
        axes.plot([], [], color=grey, label=estimate)
    axes.legend(loc="lower left", title=note or None, title_fontsize=8)


def _note_missing(axes: Axes, variance: pd.DataFrame, silent: list[int]) -> None:
    """Say which batch sizes have no curve and why."""
    notes = [f"b = {b}: every example in each batch, variance 0" for b in silent]
    notes += lost_runs(variance, "step", space="\n") + bandless(variance, space="\n")
    if notes:
        axes.text(
            0.03, 0.03, "\n".join(notes), transform=axes.transAxes, fontsize=7, color="0.3"
        )  # fmt: skip
