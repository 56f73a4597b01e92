"""Figure 1b: variance against the batch size, fitted polynomials beside the exact ones."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter, ScalarFormatter
from scipy import special  # scipy.stats takes a second to import

from pipeline_lib.estimation.statistics import ALL, STOCHASTIC
from pipeline_lib.figures.style import WIDTH, Colour, colours, figure_style


def draw(
    variance: pd.DataFrame,
    theory: pd.DataFrame,
    curves: pd.DataFrame,
    level: float,
    note: str = "",
    init: int = 0,
) -> Figure:
    """Fits in 1/b with a constant, as in the paper, against the exact variance.

    ``variance``, ``theory`` and ``curves`` are the artefacts variance, theory and fitted_curves;
    ``level`` is the confidence level of the pointwise intervals on the right; ``note`` says which
    data it is. The left side shows the ``sample`` estimates, the right side the errors of the fits
    to either estimator.
    """
    as_in_paper = (curves["basis"] == "inverse_b") & curves["constant"]
    fitted = curves[as_in_paper & (curves["init"] == init)]
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
        figure = plt.figure(figsize=(WIDTH, 3.6))
        grid = figure.add_gridspec(len(steps), 2, width_ratios=[1, 1.05])
        left = figure.add_subplot(grid[:, 0])
        errors = [figure.add_subplot(grid[row, 1]) for row in range(len(steps))]
        for step, axes in zip(steps, errors, strict=True):
            curve = fitted[fitted["step"] == step]
            plain = curve[curve["estimator"] == "sample"]
            exact = truth[truth["step"] == step].set_index("b")["variance"]
            shown = exact.loc[plain["b"].min() : plain["b"].max()]
            left.plot(shown.index, shown, color=shades[step], lw=2.8, alpha=0.35)
            left.plot(plain["b"], plain["fitted"], color=shades[step], ls="--", lw=0.9)
            here = points[points["step"] == step]
            left.plot(here["b"], here["variance"], "o", color=shades[step], ms=2.2)
            precise = curve[curve["estimator"] == "rao_blackwell"]
            _draw_error(axes, precise, exact, level, "0.35")
            reach = _draw_error(axes, plain, exact, level, shades[step])
            axes.set_ylim(-1.1 * reach, 1.1 * reach)
            axes.set_ylabel(f"t = {step}", color=shades[step], rotation=0, ha="right", va="center")
        for axes in (left, *errors):
            axes.set_xscale("log")
            axes.set_xticks([2, 5, 10, 20, 50, 100, 200, 480])
            axes.xaxis.set_major_formatter(ScalarFormatter())
            axes.minorticks_off()
        for axes in errors[:-1]:
            axes.tick_params(labelbottom=False)
        errors[-1].set_xlabel("batch size b")
        errors[0].set_title(f"fitted / exact \u2212 1, {100 * level:g} % interval")
        left.set(
            yscale="log",
            xlabel="batch size b",
            ylabel=r"$\mathrm{var}(g_t \mid \mathcal{F}_0)$",
            title="variance of the stochastic gradient",
        )
        _key(left, note)
    return figure


def _key(axes: Axes, note: str) -> None:
    axes.plot([], [], color="0.3", lw=2.8, alpha=0.35, label="exact")
    axes.plot([], [], "o", color="0.3", ms=2.2, label="Monte Carlo")
    axes.plot([], [], color="0.3", ls="--", lw=0.9, label="polynomial fitted to it")
    axes.plot([], [], ".", color="0.35", ms=2, label="grey, right: fit to Rao\u2013Blackwell")
    axes.legend(loc="lower left", title=note or None, title_fontsize=7, fontsize=7)


def _draw_error(
    axes: Axes, curve: pd.DataFrame, exact: pd.Series, level: float, shade: Colour | str
) -> float:
    """Relative errors at whole batch sizes where exact is not zero; how far they reach, up to 1."""
    at = curve[curve["b"].isin(exact.index[exact > 0])]
    truth = exact.loc[at["b"]].to_numpy()
    error = at["fitted"] / truth - 1
    half_width = special.ndtri((1 + level) / 2) * at["std_error"] / truth
    axes.vlines(at["b"], error - half_width, error + half_width, color=shade, lw=0.7, alpha=0.6)
    axes.plot(at["b"], error, ".", color=shade, ms=2)
    axes.axhline(0, color="0.4", lw=0.6)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    return max(0.05, min(1.0, float((error.abs() + half_width).max())))
