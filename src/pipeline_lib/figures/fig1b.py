"""Figure 1b: variance against the batch size, fitted polynomials beside the exact ones."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter, ScalarFormatter
from scipy import stats

from pipeline_lib.figures.style import WIDTH, Colour, colours, figure_style
from pipeline_lib.statistics import ALL, STOCHASTIC


def draw(
    variance: pd.DataFrame,
    theory: pd.DataFrame,
    curves: pd.DataFrame,
    level: float,
    init: int = 0,
) -> Figure:
    """Fits in 1/b with a constant, as in the paper, of the ``sample`` estimates.

    ``variance``, ``theory`` and ``curves`` are the artefacts variance, theory and fitted_curves;
    ``level`` is the confidence level of the pointwise bands of the right panel.
    """
    fitted = curves[
        (curves["basis"] == "inverse_b")
        & curves["constant"]
        & (curves["estimator"] == "sample")
        & (curves["init"] == init)
    ]
    steps = sorted(fitted["step"].unique().tolist())
    shades = colours(steps)
    truth = theory[(theory["quantity"] == STOCHASTIC) & (theory["init"] == init)]
    points = variance[
        (variance["quantity"] == STOCHASTIC)
        & (variance["tensor"] == ALL)
        & (variance["estimator"] == "sample")
        & (variance["init"] == init)
    ]
    with figure_style():
        figure = plt.figure(figsize=(WIDTH, 3.4))
        grid = figure.add_gridspec(len(steps), 2, width_ratios=[1, 1.05])
        left = figure.add_subplot(grid[:, 0])
        errors = [figure.add_subplot(grid[row, 1]) for row in range(len(steps))]
        for step, axes in zip(steps, errors, strict=True):
            curve = fitted[fitted["step"] == step].set_index("b")
            exact = truth[truth["step"] == step].set_index("b")["variance"].loc[curve.index]
            left.plot(exact.index, exact, color=shades[step], lw=2.8, alpha=0.35)
            left.plot(curve.index, curve["fitted"], color=shades[step], ls="--", lw=0.9)
            here = points[points["step"] == step]
            left.plot(here["b"], here["variance"], "o", color=shades[step], ms=2.2)
            _draw_error(axes, curve, exact, level, shades[step])
            axes.plot(here["b"], np.zeros(len(here)), "|", color="0.3", ms=4)
            axes.set_ylabel(f"t = {step}", color=shades[step], rotation=0, ha="right", va="center")
        for axes in (left, *errors):
            axes.set_xscale("log")
            axes.set_xticks([2, 5, 10, 20, 50, 100, 200, 480])
            axes.xaxis.set_major_formatter(ScalarFormatter())
            axes.minorticks_off()
        for axes in errors[:-1]:
            axes.tick_params(labelbottom=False)
        errors[-1].set_xlabel("batch size b (ticks inside: the sizes fitted)")
        errors[0].set_title(f"fitted / exact \u2212 1, with {level:.0%} band")
        left.set(
            yscale="log",
            xlabel="batch size b",
            ylabel=r"$\mathrm{var}(g_t \mid \mathcal{F}_0)$",
            title="variance of the stochastic gradient",
        )
        key = [
            left.plot([], [], color="0.3", lw=2.8, alpha=0.35, label="exact")[0],
            left.plot([], [], color="0.3", ls="--", lw=0.9, label="fitted polynomial")[0],
            left.plot([], [], "o", color="0.3", ms=2.2, label="Monte Carlo")[0],
            *(left.plot([], [], color=shades[t], label=f"t = {t}")[0] for t in steps),
        ]
        left.legend(handles=key, loc="lower left")
    return figure


def _draw_error(
    axes: Axes,
    curve: pd.DataFrame,
    exact: pd.Series,
    level: float,
    shade: Colour,
) -> None:
    known = exact > 0
    ratio = (curve["fitted"] / exact)[known] - 1
    half_width = (stats.norm.ppf((1 + level) / 2) * curve["std_error"] / exact)[known]
    axes.fill_between(
        ratio.index, ratio - half_width, ratio + half_width, color=shade, alpha=0.25, lw=0
    )
    axes.plot(ratio.index, ratio, color=shade)
    axes.axhline(0, color="0.4", lw=0.6)
    reach = max(0.05, min(1.0, float((ratio.abs() + half_width).max())))
    axes.set_ylim(-1.1 * reach, 1.1 * reach)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
