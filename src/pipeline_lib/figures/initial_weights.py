"""Figure 3a: does the variance depend more on the initial weights or on the batch size?"""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from pipeline_lib.figures.axes import key_below
from pipeline_lib.figures.gradient_variance import (
    label_starts,
    set_iteration_axes,
    whole_gradient,
)
from pipeline_lib.figures.intervals import band, lost_runs, unbroken_sizes
from pipeline_lib.figures.style import WIDTH, colours, figure_style


def draw(variance: pd.DataFrame, note: str = "") -> Figure:
    """Median, lowest and highest estimate of ``var(g_t | F_0)`` over the initial weights, by b.

    ``variance`` is the artefact of that name with the same steps for every ``init`` of one b;
    ``note`` says which data it is. The band shows how far initial weights are apart, and with few
    runs also the error of each estimate: it is no confidence band. A batch size
    at which runs diverged has no curve but a note.
    """
    estimates = whole_gradient(variance)
    sizes = sorted(estimates["b"].unique().tolist())
    shades = colours(sizes)
    with figure_style():
        figure, axes = plt.subplots(figsize=(WIDTH, 3.6))
        starts: dict[int, float] = {}
        for b in unbroken_sizes(estimates):
            here = estimates[estimates["b"] == b]
            by_init = here.pivot(index="step", columns="init", values="variance")
            x, middle = by_init.index.to_numpy() + 1, by_init.median(axis=1)
            band(axes, x, by_init.min(axis=1), by_init.max(axis=1), shades[b])
            axes.plot(x, middle, color=shades[b], lw=1.4)
            starts[b] = middle.iloc[0]
        handles = [
            Line2D([], [], color="0.3", lw=1.4, label="median of the initial weights"),
            Patch(color="0.3", alpha=0.25, lw=0, label="lowest to highest"),
        ]
        set_iteration_axes(axes)
        key_below(figure, handles, [note, *lost_runs(estimates, "step")])
        label_starts(axes, starts, shades)
    return figure
