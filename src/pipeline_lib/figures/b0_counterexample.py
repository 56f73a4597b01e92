"""The network whose variances rise from b = 1 to b = 2: exact values and Monte Carlo."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from pipeline_lib.estimation.statistics import FULL, STOCHASTIC
from pipeline_lib.figures.axes import key_below, log_ticks
from pipeline_lib.figures.numbers import interval_of, number
from pipeline_lib.figures.style import WIDTH, figure_style, shades

_TITLES = {
    STOCHASTIC: "stochastic gradient at t = 1",
    FULL: "population gradient at t = 1",
}


def draw(table: pd.DataFrame, n_runs: int, level: float) -> Figure:
    """Variances at t = 1 against b, a panel for each gradient.

    ``table`` is the artefact b0_counterexample, with estimates of ``n_runs`` runs and intervals at
    ``level``.
    """
    tensors = sorted(table["tensor"].astype(str).unique())
    colour = shades(len(tensors) + 1)
    sizes = sorted(table["b"].unique().tolist())
    with figure_style():
        figure, grid = plt.subplots(1, 2, figsize=(WIDTH, 3.1), sharex=True)
        for quantity, axes in zip(_TITLES, grid, strict=True):
            rows = table[table["quantity"] == quantity]
            for k, tensor in enumerate(tensors):
                curve = rows[rows["tensor"] == tensor].sort_values("b")
                style = "-" if k == 0 else "--"
                axes.plot(curve["b"], curve["exact"], color=colour[k], ls=style, marker=".", ms=5)
                seen = curve.dropna(subset="variance")
                # beside the exact value, so that both can be read
                at = seen["b"] * 2.0 ** (0.09 * (1 if k else -1))
                axes.vlines(at, seen["ci_low"], seen["ci_high"], color=colour[k], lw=1.2)
                axes.plot(at, seen["variance"], "D" if k else "o", color=colour[k], ms=4, mfc="w")
            axes.set(title=_TITLES[quantity], xlabel="batch size b", xscale="log", yscale="log")
            axes.set_xscale("log", base=2)
            ticks = [b for b in sizes if b & (b - 1) == 0 or b == 3]
            axes.set_xticks(ticks, [str(b) for b in ticks])
            axes.xaxis.set_minor_locator(NullLocator())
            log_ticks(axes.yaxis)
        grid[0].set_ylabel("variance over runs")
        handles = [
            Line2D(
                [], [], color=colour[k], ls="--" if k else "-", marker=".", ms=5,
                label=f"{tensor}, exact",
            )
            for k, tensor in enumerate(tensors)
        ] + [
            Line2D(
                [], [], color=colour[k], ls="", marker="D" if k else "o", ms=4, mfc="w",
                label=f"{tensor}, {number(n_runs)} runs, {interval_of(level)}",
            )
            for k, tensor in enumerate(tensors)
        ]  # fmt: skip
        key_below(figure, handles, [])
    return figure
