"""Figure 1a: variance of the stochastic and of the full gradient against the iteration."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline_lib.figures.style import WIDTH, colours, direct_labels, figure_style
from pipeline_lib.statistics import ALL, FULL, STOCHASTIC

_TITLES = {
    STOCHASTIC: r"stochastic gradient, $\mathrm{var}(g_t \mid \mathcal{F}_0)$",
    FULL: r"full gradient, $\mathrm{var}(\nabla L(w_t) \mid \mathcal{F}_0)$",
}
_POINTS = 22  # Monte-Carlo points drawn for each curve, evenly on the logarithmic axis


def draw(variance: pd.DataFrame, theory: pd.DataFrame, level: float, init: int = 0) -> Figure:
    """Exact curves with Monte-Carlo points and intervals over them, for every b estimated.

    ``variance`` and ``theory`` are the artefacts of those names, ``level`` the confidence level of
    the former's intervals. The iteration is counted from 1,
    as in the learning rate 1/(2t) of Appendix B.1, because the axis is logarithmic.
    """
    sizes = sorted(variance["b"].unique().tolist())
    shades = colours(sizes)
    with figure_style():
        figure, panels = plt.subplots(1, 2, figsize=(WIDTH, 3.1), sharex=True, sharey=True)
        for axes, quantity in zip(panels, (STOCHASTIC, FULL), strict=True):
            keep = (variance["quantity"] == quantity) & (variance["estimator"] == "sample")
            estimates = variance[keep & (variance["tensor"] == ALL) & (variance["init"] == init)]
            exact = theory[
                (theory["quantity"] == quantity)
                & (theory["init"] == init)
                & theory["b"].isin(sizes)
            ]
            ends = []
            for b in sizes:
                curve = exact[exact["b"] == b]
                _draw_size(axes, estimates[estimates["b"] == b], curve, shades[b])
                ends.append(curve["variance"].iloc[-1])
            axes.set(
                xscale="log", yscale="log", title=_TITLES[quantity], xlabel="iteration (first = 1)"
            )
            axes.margins(x=0.02)
        panels[0].set_ylabel("variance over runs")
        key = [
            panels[0].plot([], [], color="0.3")[0],
            panels[0].errorbar([], [], yerr=[], color="0.3", fmt="o", ms=2.5, lw=0.8),
        ]
        panels[0].legend(key, ["exact", f"Monte Carlo, {level:.0%} interval"], loc="lower left")
        figure.canvas.draw()
        direct_labels(panels[1], ends, [f"b = {b}" for b in sizes], [shades[b] for b in sizes])
    return figure


def _draw_size(
    axes: Axes, estimates: pd.DataFrame, exact: pd.DataFrame, shade: tuple[float, float, float]
) -> None:
    positive = exact[exact["variance"] > 0]
    axes.plot(positive["step"] + 1, positive["variance"], color=shade)
    # Zero variances, of the full gradient at the initial weights, have no place on the log axis.
    estimates = estimates[estimates["variance"] > 0].sort_values("step")
    axes.fill_between(
        estimates["step"] + 1,
        estimates["ci_low"],
        estimates["ci_high"],
        color=shade,
        alpha=0.25,
        lw=0,
    )
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
