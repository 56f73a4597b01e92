"""Figure 1b: variance against the batch size, fitted polynomials beside the exact ones."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy import special  # scipy.stats takes a second to import

from pipeline_lib.estimation.statistics import ALL, STOCHASTIC
from pipeline_lib.figures.axes import key_below, log_ticks
from pipeline_lib.figures.numbers import interval_of, percent
from pipeline_lib.figures.style import SMALL, WIDTH, Colour, colours, figure_style

_GREY = (0.45, 0.45, 0.45)
_LEAST = 1e-4  # relative error at which the axis begins


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
    data it is. The left side shows the ``sample`` estimates. The right side shows, for the fits to
    either estimator, ``|fitted / exact - 1|`` at whole batch sizes as points and the half-width of
    its interval as a line: the interval holds the exact value where the point is below the line.
    Its quantile is Student's t, at the fewest degrees of freedom that an error of the fitted
    estimates has.
    """
    as_in_paper = (curves["basis"] == "inverse_b") & curves["constant"]
    fitted = curves[as_in_paper & (curves["init"] == init)]
    steps = sorted(fitted["step"].unique().tolist())
    shades = colours(steps)
    truth = theory[(theory["quantity"] == STOCHASTIC) & (theory["init"] == init)]
    estimates = variance[
        (variance["quantity"] == STOCHASTIC)
        & (variance["tensor"] == ALL)
        & (variance["init"] == init)
    ]
    points = estimates[estimates["estimator"] == "sample"]
    with figure_style():
        figure = plt.figure(figsize=(WIDTH, 4.8))
        grid = figure.add_gridspec(len(steps), 2)
        left = figure.add_subplot(grid[:, 0])
        errors: list[Axes] = []
        for row in range(len(steps)):
            shared = {"sharex": errors[0], "sharey": errors[0]} if errors else {}
            errors.append(figure.add_subplot(grid[row, 1], **shared))
        for step, axes in zip(steps, errors, strict=True):
            curve = fitted[fitted["step"] == step]
            plain = curve[curve["estimator"] == "sample"]
            exact = truth[truth["step"] == step].set_index("b")["variance"]
            between = exact.loc[plain["b"].min() : plain["b"].max()]
            left.plot(between.index, between, color=shades[step], lw=2.8, alpha=0.35)
            left.plot(plain["b"], plain["fitted"], color=shades[step], ls="--", lw=0.9)
            here = points[points["step"] == step]
            left.plot(here["b"], here["variance"], "o", color=shades[step], ms=2.2)
            precise = curve[curve["estimator"] == "rao_blackwell"]
            for shown, shade in ((precise, _GREY), (plain, shades[step])):
                fitted_to = estimates.merge(shown[["step", "estimator"]].drop_duplicates())
                _draw_error(axes, shown, exact, _quantile(fitted_to, level), shade)
            axes.text(
                0.98, 0.94, f"t = {step}", color=shades[step], fontsize=SMALL, ha="right",
                va="top", transform=axes.transAxes,
            )  # fmt: skip
        left.set(
            yscale="log",
            ylabel="variance over runs",
            title="stochastic gradient",
        )
        errors[0].set(title="|fitted / exact − 1|", yscale="log")
        errors[0].set_ylim(_LEAST, max(1.0, errors[0].get_ylim()[1]))
        log_ticks(errors[0].yaxis, percent)
        log_ticks(left.yaxis)
        last = float(fitted["b"].max())
        for axes in (left, *errors):
            axes.set_xscale("log")
            axes.set_xticks([b for b in (2, 5, 10, 20, 50, 100, 200, 500) if b <= last])
            axes.set_xticklabels([f"{b:g}" for b in axes.get_xticks()])
            axes.minorticks_off()
        for axes in errors[:-1]:
            axes.tick_params(labelbottom=False)
        for axes in (left, errors[-1]):
            axes.set_xlabel("batch size b")
        key_below(figure, _key(level), [note])
    return figure


def _key(level: float) -> list[Artist]:
    dark = "0.15"
    return [
        Line2D([], [], color=dark, lw=2.8, alpha=0.35, label="exact"),
        Line2D([], [], color=dark, ls="", marker="o", ms=2.2, label="Monte Carlo"),
        Line2D([], [], color=dark, ls="--", lw=0.9, label="polynomial fitted to it"),
        Line2D([], [], color=dark, ls="", marker=".", ms=3, label="right: error of the fit"),
        Line2D([], [], color=dark, lw=0.9, label=f"half-width of its {interval_of(level)}"),
        Line2D([], [], color=_GREY, marker=".", ms=3, lw=0.9, label="grey: fit to Rao–Blackwell"),
    ]


def _quantile(estimates: pd.DataFrame, level: float) -> float:
    """By how many standard errors of the fitted curve its interval reaches to either side."""
    dof = estimates.loc[estimates["std_error"] > 0, "dof"].min()
    return float(special.stdtrit(dof - 1, (1 + level) / 2))


def _draw_error(
    axes: Axes, curve: pd.DataFrame, exact: pd.Series, quantile: float, shade: Colour
) -> None:
    """Relative errors and half-widths at whole batch sizes where the exact variance is not 0."""
    at = curve[curve["b"].isin(exact.index[exact > 0])]
    truth = exact.loc[at["b"]].to_numpy()
    error = np.abs(at["fitted"] / truth - 1)
    half_width = quantile * at["std_error"] / truth
    axes.plot(at["b"], half_width, color=shade, lw=0.9)
    axes.plot(at["b"], error, ".", color=shade, ms=2)
