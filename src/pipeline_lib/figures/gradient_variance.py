"""Figure 6: variance of the stochastic gradient against the iteration, by batch size.

The paper gives Figure 6 no description beyond the data set; this is what its text speaks of.
"""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pipeline_lib.estimation.statistics import ALL, STOCHASTIC
from pipeline_lib.figures.style import (
    WIDTH,
    Colour,
    band,
    bandless,
    colours,
    direct_labels,
    figure_style,
    key_below,
    lost_runs,
    unbroken_sizes,
)


def draw(variance: pd.DataFrame, level: float, note: str = "", init: int = 0) -> Figure:
    """Estimates of ``var(g_t | F_0)``, all layers together, with bands of their intervals.

    ``variance`` is the artefact of that name, ``level`` the confidence level of its intervals and
    ``note`` says which data it is. Batch sizes are compared at equal iterations t + 1, as in the
    paper: of the same number of epochs, a larger one has fewer. A batch size at which runs diverged
    has no curve but a note.
    """
    estimates = whole_gradient(variance)
    estimates = estimates[estimates["init"] == init]
    sizes = sorted(estimates["b"].unique().tolist())
    shades = colours(sizes)
    with figure_style():
        figure, axes = plt.subplots(figsize=(WIDTH, 3.6))
        starts: dict[int, float] = {}
        for b in unbroken_sizes(estimates):
            here = estimates[estimates["b"] == b]
            band(axes, here["step"] + 1, here["ci_low"], here["ci_high"], shades[b])
            axes.plot(here["step"] + 1, here["variance"], color=shades[b])
            starts[b] = here["variance"].iloc[0]
        key = Line2D([], [], color="0.3", label=f"variance over runs, {100 * level:g} % interval")
        key_below(figure, [key], [note, *lost_runs(estimates, "step"), *bandless(estimates)])
        finish_iteration_axes(axes, starts, shades)
    return figure


def whole_gradient(variance: pd.DataFrame) -> pd.DataFrame:
    """The ``sample`` estimates of all layers' stochastic gradient that are not 0, by step.

    With every example in the batch there is no variance, which has no place on these axes.
    """
    keep = (variance["quantity"] == STOCHASTIC) & (variance["tensor"] == ALL)
    keep &= (variance["estimator"] == "sample") & (variance["variance"] != 0)
    return variance[keep].sort_values("step")


def finish_iteration_axes(axes: Axes, starts: dict[int, float], shades: dict[int, Colour]) -> None:
    """Logarithmic axes, and a label where each curve starts.

    Curves start at one iteration and differ there by their batch size alone; where they end, a
    curve may be level with another or pass behind its label.
    """
    axes.set(xscale="log", yscale="log", xlabel="iteration t + 1")
    axes.set_ylabel(r"$\mathrm{var}(g_t \mid \mathcal{F}_0)$")
    axes.margins(x=0.02)
    low, high = axes.get_xlim()
    axes.set_xlim(low / (high / low) ** 0.1, high)
    ticks = axes.xaxis.get_minorticklocs()
    axes.set_xticks(ticks[(ticks >= 1) & (ticks <= high)], minor=True)
    axes.figure.canvas.draw()  # labels are placed in pixels
    texts = [f"b = {b}" for b in starts]
    direct_labels(axes, list(starts.values()), texts, [shades[b] for b in starts], place=0.01)
