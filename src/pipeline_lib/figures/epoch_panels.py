"""Figures 5a, 5b and 5c: variance, loss and accuracy of XLNet against the epoch, by batch size."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, PercentFormatter

from pipeline_lib.estimation.metrics import TRAINING, VALIDATION
from pipeline_lib.figures.style import (
    WIDTH,
    band,
    bandless,
    colours,
    figure_style,
    key_below,
    lost_runs,
    unbroken_sizes,
)


def variance_panels(table: pd.DataFrame, init: int = 0) -> dict[str, pd.DataFrame]:
    """Panels of Figure 5a from the artefact epoch_variance: before and after clipping."""
    chosen = table[(table["init"] == init) & (table["tensor"] == "all")]
    chosen = chosen[chosen["estimator"] == "sample"].rename(columns={"variance": "mean"})
    return {
        "gradient before clipping": chosen[chosen["quantity"] == "stochastic_gradient"],
        "gradient after clipping": chosen[chosen["quantity"] == "clipped_gradient"],
    }


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
    return f"{data}; XLNet of {model['n_layer']} layers, width {model['d_model']}"


def draw(panels: Mapping[str, pd.DataFrame], ylabel: str, level: float, note: str = "") -> Figure:
    """One panel a title, sharing an axis: ``mean`` by epoch and b, with bands of the intervals.

    A table has the columns b, epoch, mean, ci_low, ci_high, n_runs and n_diverged; ``level`` is the
    confidence level of its intervals and ``note`` says which data it is. A variance has a
    logarithmic axis. A batch size at which runs diverged has no curve but a note.
    """
    together = pd.concat(panels.values())
    shades = colours(sorted(together["b"].unique().tolist()))
    sizes = unbroken_sizes(together)
    with figure_style():
        figure, grid = plt.subplots(
            1, len(panels), figsize=(WIDTH, 3.3), sharey=True, squeeze=False
        )
        for axes, (title, rows) in zip(grid[0], panels.items(), strict=True):
            for b in sizes:
                here = rows[rows["b"] == b].sort_values("epoch")
                band(axes, here["epoch"], here["ci_low"], here["ci_high"], shades[b])
                axes.plot(here["epoch"], here["mean"], "o-", color=shades[b], ms=2.5)
            axes.set(title=title, xlabel="epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        first = grid[0, 0]
        first.set_ylabel(ylabel)
        if "variance" in ylabel:
            first.set_yscale("log")
        if "accuracy" in ylabel:
            first.yaxis.set_major_formatter(PercentFormatter(1.0))
        handles = [Line2D([], [], color=shades[b], label=f"b = {b}") for b in sizes]
        interval = Patch(color="0.3", alpha=0.25, lw=0, label=f"{100 * level:g} % interval")
        key_below(
            figure, [*handles, interval], [note, *lost_runs(together, "epoch"), *bandless(together)]
        )
    return figure
