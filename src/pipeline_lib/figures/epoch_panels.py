"""Figures 5a, 5b and 5c: variance, loss and accuracy of XLNet against the epoch, by batch size.

The first epoch is 1 in all three. Losses and accuracies are those after an epoch, and at 0 those
of the initial weights; a variance is the mean over the epoch's steps.
"""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from pipeline_lib.estimation.metrics import TRAINING, VALIDATION
from pipeline_lib.estimation.statistics import CLIPPED, STOCHASTIC
from pipeline_lib.figures.axes import key_below, log_ticks, percent_ticks
from pipeline_lib.figures.gradient_variance import AVERAGED
from pipeline_lib.figures.intervals import Intervals, lost_runs, unbroken_sizes
from pipeline_lib.figures.style import WIDTH, colours, figure_style

_LINE = 1.1  # points


def variance_panels(table: pd.DataFrame, init: int = 0) -> dict[str, pd.DataFrame]:
    """Panels of Figure 5a from the artefact epoch_variance: before and after clipping, if any.

    The artefact counts epochs from 0, the figure from 1. Before clipping, the variance is the one
    averaged over mini-batches if there is one; what is clipped has no such estimate.
    """
    chosen = table[(table["init"] == init) & (table["tensor"] == "all")]
    chosen = chosen.rename(columns={"variance": "mean"}).assign(epoch=chosen["epoch"] + 1)
    raw, clipped = (chosen[chosen["quantity"] == quantity] for quantity in (STOCHASTIC, CLIPPED))
    averaged = raw["estimator"] == AVERAGED
    raw = raw[averaged] if averaged.any() else raw
    if clipped.empty:
        return {"gradient": raw}
    return {"gradient before clipping": raw, "gradient after clipping": clipped}


def loss_panels(summary: pd.DataFrame, init: int = 0) -> dict[str, pd.DataFrame]:
    """Panels of Figure 5b from the artefact metric_summary."""
    chosen = summary[(summary["init"] == init) & (summary["metric"] == "loss")]
    return {f"{split} loss": chosen[chosen["split"] == split] for split in (TRAINING, VALIDATION)}


def accuracy_panels(summary: pd.DataFrame, init: int = 0) -> dict[str, pd.DataFrame]:
    """Panels of Figure 5c from the artefact metric_summary: accuracy is 1 less the error."""
    chosen = summary[(summary["init"] == init) & (summary["metric"] == "error")]
    accuracy = chosen.assign(
        mean=1 - chosen["mean"], ci_low=1 - chosen["ci_high"], ci_high=1 - chosen["ci_low"]
    )
    return {
        f"{split} accuracy": accuracy[accuracy["split"] == split]
        for split in (TRAINING, VALIDATION)
    }


def source_note(data: str, model: Mapping[str, Any]) -> str:
    """Which reviews, and how large a network, in words."""
    layers = f"{model['n_layer']} layer{'s' if model['n_layer'] != 1 else ''}"
    return f"{data}; XLNet of {layers}, width {model['d_model']}"


def draw(panels: Mapping[str, pd.DataFrame], ylabel: str, level: float, note: str = "") -> Figure:
    """One panel a title, sharing an axis: ``mean`` by epoch and b, with bands of the intervals.

    A table has the columns b, epoch, mean, ci_low, ci_high, n_runs and n_diverged; ``level`` is the
    confidence level of its intervals and ``note`` says which data it is. A variance has a
    logarithmic axis. A batch size at which runs diverged has no curve but a note. Means without an
    interval have no band, and a note says how many runs one takes.
    """
    together = pd.concat(panels.values())
    shades = colours(sorted(together["b"].unique().tolist()))
    sizes = unbroken_sizes(together)
    of_variances = "variance" in ylabel
    intervals = Intervals(level, "mean", least_dof=2 if of_variances else 1)
    last = together["epoch"].max()
    with figure_style():
        figure, grid = plt.subplots(
            1, len(panels), figsize=(WIDTH, 3.4), sharex=True, sharey=True, squeeze=False
        )
        for axes, (title, rows) in zip(grid[0], panels.items(), strict=True):
            for b in sizes:
                here = rows[rows["b"] == b].sort_values("epoch")
                intervals.band(axes, here["epoch"], here, shades[b], _LINE)
                axes.plot(here["epoch"], here["mean"], "o-", color=shades[b], ms=2.5, lw=_LINE)
            axes.set(title=title, xlabel="epoch")
        first = grid[0, 0]
        first.set_ylabel(ylabel)
        first.set_xlim(-0.03 * last, 1.03 * last)
        first.xaxis.set_major_locator(MaxNLocator(integer=True))
        if of_variances:
            first.set_yscale("log")
            log_ticks(first.yaxis)
        if "accuracy" in ylabel:
            percent_ticks(first.yaxis)
        figure.canvas.draw()  # what hides an interval is seen in pixels
        handles = [Line2D([], [], color=shades[b], lw=_LINE, label=f"b = {b}") for b in sizes]
        lines = [note, *intervals.notes(), *lost_runs(together, "epoch")]
        key_below(figure, [*handles, *intervals.key()], lines)
    return figure
