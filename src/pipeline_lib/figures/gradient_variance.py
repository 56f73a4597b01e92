"""Figure 6: variance of the stochastic gradient against the iteration, by batch size.

The paper gives Figure 6 no description beyond the data set; this is what its text speaks of.
"""

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pipeline_lib.errors import ConfigError
from pipeline_lib.estimation.statistics import ALL, STOCHASTIC
from pipeline_lib.figures.axes import direct_labels, key_below, log_ticks
from pipeline_lib.figures.intervals import Intervals, lost_runs, unbroken_sizes
from pipeline_lib.figures.style import WIDTH, Colour, colours, figure_style

_LINE = 1.1  # points
AVERAGED = "rao_blackwell"


def draw(
    variance: pd.DataFrame,
    level: float,
    note: str = "",
    init: int = 0,
    theory: pd.DataFrame | None = None,
    tensor: str = ALL,
) -> Figure:
    """Estimates of ``var(g_t | F_0)`` of ``tensor``, with bands of their intervals.

    ``variance`` is the artefact of that name, ``level`` the confidence level of its intervals and
    ``note`` says which data it is. Batch sizes are compared at equal iterations t + 1, as in the
    paper: of the same number of epochs, a larger one has fewer. A batch size at which runs diverged
    has no curve but a note. Estimates without an interval have no band, and a note says how many
    runs one takes. Exact values, from the artefact ``theory``, are a dashed line where they are
    known at every step, else stars. By default ``tensor`` is all layers together. Raises
    ConfigError if there is none of that name.
    """
    if tensor not in set(variance["tensor"]):
        known = ", ".join(sorted(variance["tensor"].unique()))
        raise ConfigError(f"figure: {tensor!r} is no tensor; allowed: {known}")
    estimates = estimates_of(variance, tensor)
    estimates = estimates[estimates["init"] == init]
    sizes = sorted(estimates["b"].unique().tolist())
    shades = colours(sizes)
    intervals = Intervals(level, "variance", least_dof=2)
    with figure_style():
        figure, axes = plt.subplots(figsize=(WIDTH, 3.6))
        starts: dict[int, float] = {}
        for b in unbroken_sizes(estimates):
            here = estimates[estimates["b"] == b]
            intervals.band(axes, here["step"] + 1, here, shades[b], _LINE)
            axes.plot(here["step"] + 1, here["variance"], color=shades[b], lw=_LINE)
            starts[b] = here["variance"].iloc[0]
        exact = _draw_exact(axes, theory, estimates, shades, init)
        set_iteration_axes(axes)
        key = Line2D([], [], color="0.3", lw=_LINE, label=name_of(estimates))
        lines = [note, *intervals.notes(), *lost_runs(estimates, "step")]
        key_below(figure, [key, *intervals.key(), *exact], lines)
        label_starts(axes, starts, shades)
    return figure


def _draw_exact(
    axes: Axes,
    theory: pd.DataFrame | None,
    estimates: pd.DataFrame,
    shades: dict[int, Colour],
    init: int,
) -> list[Line2D]:
    """The exact values of the batch sizes that have estimates, and their entry in the key."""
    if theory is None or theory.empty:
        return []
    known_tensors = set(estimates["tensor"])
    keep = (theory["quantity"] == STOCHASTIC) & theory["tensor"].isin(known_tensors)
    keep &= theory["init"] == init
    known = theory[keep & (theory["variance"] > 0)]
    everywhere = known["step"].max() >= estimates["step"].max()
    style: dict[str, Any] = (
        {"ls": "--", "lw": 0.8} if everywhere else {"ls": "", "marker": "*", "ms": 7}
    )
    for b, shade in shades.items():
        here = known[known["b"] == b]
        axes.plot(here["step"] + 1, here["variance"], color="0.1" if everywhere else shade, **style)
    return [Line2D([], [], color="0.1" if everywhere else "0.3", label="exact", **style)]


def whole_gradient(variance: pd.DataFrame) -> pd.DataFrame:
    """`estimates_of` all layers together."""
    return estimates_of(variance, ALL)


def estimates_of(variance: pd.DataFrame, tensor: str) -> pd.DataFrame:
    """The estimates of a tensor's stochastic gradient that are not 0, by step.

    Those averaged over the mini-batches that could have been drawn where there are any, else those
    over the runs alone, as in the paper. With every example in the batch there is no variance,
    which has no place on these axes.
    """
    whole = variance[(variance["quantity"] == STOCHASTIC) & (variance["tensor"] == tensor)]
    averaged = whole["estimator"] == AVERAGED
    chosen = whole[averaged] if averaged.any() else whole
    return chosen[chosen["variance"] != 0].sort_values("step")


def name_of(estimates: pd.DataFrame) -> str:
    """What the curves of `whole_gradient` are, in words."""
    if (estimates["estimator"] == AVERAGED).any():
        return "variance over runs and the mini-batches that they could have drawn"
    return "variance over runs"


def set_iteration_axes(axes: Axes) -> None:
    """Logarithmic axes with round ticks, and room for labels on the left. Lays the figure out."""
    axes.set(xscale="log", yscale="log", xlabel="iteration t + 1", ylabel="variance over runs")
    axes.margins(x=0.02)
    low, high = axes.get_xlim()
    axes.set_xlim(low / (high / low) ** 0.12, high)
    log_ticks(axes.xaxis)
    log_ticks(axes.yaxis)
    ticks = axes.xaxis.get_minorticklocs()
    axes.set_xticks(ticks[(ticks >= 1) & (ticks <= high)], minor=True)
    axes.figure.canvas.draw()


def label_starts(axes: Axes, starts: dict[int, float], shades: dict[int, Colour]) -> None:
    """A label where each curve starts.

    Curves start at one iteration and differ there by their batch size alone; where they end, a
    curve may be level with another or pass behind its label.
    """
    axes.figure.canvas.draw()  # labels are placed in pixels
    texts = [f"b = {b}" for b in starts]
    direct_labels(axes, list(starts.values()), texts, [shades[b] for b in starts], place=0.01)
