"""Monte Carlo against the exact variance of the scalar two-layer network, for small b."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import NullLocator

from pipeline_lib.figures.axes import key_below, log_ticks
from pipeline_lib.figures.intervals import Intervals
from pipeline_lib.figures.numbers import number
from pipeline_lib.figures.style import SMALL, WIDTH, Colour, colours, figure_style

_MARKERS = ("o", "s", "D", "^", "v")
_SHADE = "0.6"
_POINT_SIZE = 3.6  # points
_OWN_AXES = "each step has an axis of its own: the variances are orders of magnitude apart"
_DODGE = 0.13  # between the estimates of one b, in units of log2 b


def draw(
    estimates: pd.DataFrame,
    repeats: pd.DataFrame,
    level: float,
    tensor: str = "W1",
    estimator: str = "sample",
) -> Figure:
    """`var(g_t | F_0)` of one layer against b, a panel for each step.

    ``estimates`` and ``repeats`` are the artefacts heavy_tails and heavy_tails_repeats, ``level``
    the confidence level of the former's intervals. Hollow markers: flagged by
    `reliability.reliability` or `reliability.precise`. Steps without an estimate, where runs
    overflow, show the exact line.
    """
    here = estimates[(estimates["tensor"] == tensor) & (estimates["estimator"] == estimator)]
    spread = repeats[(repeats["tensor"] == tensor) & (repeats["estimator"] == estimator)]
    steps = sorted(here["step"].unique().tolist())
    counts = sorted(here["runs"].unique().tolist())
    shades = colours(counts)
    intervals = Intervals(level, "variance", least_dof=2)
    with figure_style():
        figure, grid = plt.subplots(1, len(steps), figsize=(WIDTH, 3.9), sharex=True, squeeze=False)
        for step, axes in zip(steps, grid[0], strict=True):
            _draw_spread(axes, spread[spread["step"] == step].sort_values("b"))
            points = here[here["step"] == step]
            exact = points.drop_duplicates("b").sort_values("b")
            axes.plot(exact["b"], exact["exact"], color="black", lw=1.3, zorder=2.5)
            for index, n_runs in enumerate(counts):
                shift = 2.0 ** (_DODGE * (index - (len(counts) - 1) / 2))
                chosen = points[points["runs"] == n_runs].dropna(subset=["variance"])
                intervals.count(axes, chosen.rename(columns={"runs": "n_runs"}), _POINT_SIZE)
                _draw_points(axes, chosen, shift, shades[n_runs], _MARKERS[index % len(_MARKERS)])
            _set_axes(axes, points, spread[spread["step"] == step])
            _name_missed(axes, points)
            axes.set(title=f"t = {step}", xlabel="batch size b")
        grid[0, 0].set_ylabel(f"variance over runs, gradient of {_name(tensor)}")
        figure.canvas.draw()  # what hides an interval is seen in pixels
        handles = _key(counts, shades, int(spread["runs"].iloc[0]), intervals)
        key_below(figure, handles, [*intervals.notes("point", "bar"), _OWN_AXES])
    return figure


def _draw_spread(axes: Axes, spread: pd.DataFrame) -> None:
    axes.fill_between(spread["b"], spread["q05"], spread["q95"], color=_SHADE, alpha=0.35, lw=0)
    axes.plot(spread["b"], spread["median"], color=_SHADE, ls="--")


def _draw_points(
    axes: Axes,
    points: pd.DataFrame,
    shift: float,
    shade: Colour,
    marker: str,
) -> None:
    at = points["b"] * shift
    axes.vlines(at, points["ci_low"], points["ci_high"], color=shade, lw=0.9, zorder=3)
    for reliable, face in ((True, shade), (False, "white")):
        chosen = points["reliable"] == reliable
        axes.plot(
            at[chosen],
            points.loc[chosen, "variance"],
            marker,
            color=shade,
            markerfacecolor=face,
            markeredgewidth=0.9,
            ms=_POINT_SIZE,
            zorder=3.5,
        )


def _name_missed(axes: Axes, points: pd.DataFrame) -> None:
    """Write the exact value where every interval stays below a tenth of it."""
    for b, group in points.groupby("b"):
        exact = group["exact"].iloc[0]
        if exact > 10 * group["ci_high"].max():
            text = axes.annotate(
                number(float(exact)), (b, exact), (5, 0), textcoords="offset points", va="center"
            )
            text.set_fontsize(SMALL)


def _name(tensor: str) -> str:
    """W1 as W₁."""
    return "W" + tensor.removeprefix("W").translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


def _set_axes(axes: Axes, points: pd.DataFrame, spread: pd.DataFrame) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    first, last = int(points["b"].min()), int(points["b"].max())
    ticks = 2 ** np.arange(int(np.ceil(np.log2(first))), int(np.log2(last)) + 1)
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(first / 1.25, last * 1.25)
    # Lower ends of intervals can be 0; the axis is set by what has a place on it.
    columns = [points[["exact", "variance", "ci_high"]], spread[["q05", "q95"]]]
    values = np.concatenate([column.to_numpy(np.float64).ravel() for column in columns])
    values = values[(values > 0) & np.isfinite(values)]
    room = max(1.5, (values.max() / values.min()) ** 0.07)
    axes.set_ylim(values.min() / room, values.max() * room)
    log_ticks(axes.yaxis)


def _key(
    counts: Sequence[int], shades: dict[int, Colour], n_repeated: int, intervals: Intervals
) -> list[Line2D | Patch]:
    def point(label: str, colour: object, marker: str, face: object) -> Line2D:
        line = Line2D([], [], ls="", marker=marker, ms=4, markeredgewidth=0.9, label=label)
        line.set(color=colour, markerfacecolor=face)
        return line

    repeated = f"{number(n_repeated)} runs, repeated"
    return [
        Line2D([], [], color="black", lw=1.3, label="exact"),
        Line2D([], [], color=_SHADE, ls="--", label=f"{repeated}: median"),
        Patch(color=_SHADE, alpha=0.35, lw=0, label=f"{repeated}: 5 to 95 %"),
        *(
            point(
                f"{number(n_runs)} runs",
                shades[n_runs],
                _MARKERS[index % len(_MARKERS)],
                shades[n_runs],
            )
            for index, n_runs in enumerate(counts)
        ),
        Line2D([], [], color="0.3", lw=0.9, label=intervals.label),
        point("hollow: flagged as not reliable", "0.3", "o", "white"),
    ]
