"""Expected loss after equal numbers of epochs against the batch size, exact, for four schemes."""

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from pipeline_lib.figures.style import WIDTH, Colour, figure_style


class SchemeLook(NamedTuple):
    """How a way of drawing mini-batches is shown, the same in every figure."""

    name: str
    colour: Colour
    marker: str
    line: str


SCHEME_LOOKS = {
    "epochs": SchemeLook("epochs, a new order in each", (0.13, 0.57, 0.55), "o", "-"),
    "shuffled_once": SchemeLook("epochs, one order for all", (0.45, 0.1, 0.55), "s", "--"),
    "fresh": SchemeLook("afresh, without replacement", (0.0, 0.0, 0.0), "D", "-"),
    "with_replacement": SchemeLook("afresh, with replacement", (0.55, 0.55, 0.55), "^", ":"),
}


def draw(losses: pd.DataFrame, note: str = "") -> Figure:
    """E L after the last epoch against b, a panel for each learning rate.

    ``losses`` is the artefact equal_epochs; ``note`` says of which data. A filled marker is the
    lowest of its curve: where it is neither the first nor the last, the loss is not monotone in b.
    """
    last = int(losses["epoch"].max())
    rows = losses[losses["epoch"] == last]
    rates = sorted(rows["learning_rate"].unique().tolist())
    with figure_style():
        figure, grid = plt.subplots(1, len(rates), figsize=(WIDTH, 3.2), squeeze=False)
        for rate, axes in zip(rates, grid[0], strict=True):
            _draw_rate(axes, rows[rows["learning_rate"] == rate])
            axes.set(title=f"learning rate {rate:g}", xlabel="batch size b")
        grid[0, 0].set_ylabel(f"expected loss after {last} epochs")
        scheme_key(figure, [note, "filled: the lowest of its curve"], markers=True)
    return figure


def scheme_key(figure: Figure, lines: Sequence[str], markers: bool) -> None:
    """The key of the four schemes below the figure, two a row, under ``lines`` of text."""
    handles = [
        Line2D(
            [],
            [],
            color=look.colour,
            ls=look.line,
            marker=look.marker if markers else None,
            ms=4,
            mfc="white",
            label=look.name,
        )
        for look in SCHEME_LOOKS.values()
    ]
    legend = figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=2,
        frameon=False,
        title="; ".join(line for line in lines if line),
        title_fontsize=8,
    )
    legend.get_title().set_multialignment("center")


def _draw_rate(axes: Axes, rows: pd.DataFrame) -> None:
    for scheme, look in SCHEME_LOOKS.items():
        curve = rows[rows["scheme"] == scheme].sort_values("b")
        axes.plot(
            curve["b"],
            curve["loss"],
            color=look.colour,
            marker=look.marker,
            ls=look.line,
            ms=4,
            mfc="white",
        )
        least = curve.loc[curve["loss"].idxmin()]
        axes.plot(least["b"], least["loss"], look.marker, color=look.colour, ms=4)
    sizes = sorted(rows["b"].unique().tolist())
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(b) for b in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(MaxNLocator(5))
