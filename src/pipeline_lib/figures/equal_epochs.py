"""Expected loss after equal numbers of epochs against the batch size, exact, for four schemes."""

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from pipeline_lib.figures.style import WIDTH, Colour, figure_style, key_below

# By scheme: its name in the key, and marker and line of its curve.
SCHEME_LOOKS = {
    "epochs": ("epochs, a new order in each", "o", "-"),
    "shuffled_once": ("epochs, one order for all", "s", "-"),
    "fresh": ("afresh, without replacement", "D", "--"),
    "with_replacement": ("afresh, with replacement", "^", ":"),
}


def scheme_colours() -> dict[str, Colour]:
    """A colour for each scheme, the same in every figure."""
    palette = sns.color_palette("viridis", n_colors=len(SCHEME_LOOKS) + 1)
    return dict(zip(SCHEME_LOOKS, palette, strict=False))


def draw(losses: pd.DataFrame, note: str = "") -> Figure:
    """E L after the last epoch against b, a panel for each learning rate.

    ``losses`` is the artefact equal_epochs; ``note`` says of which data. A filled marker is the
    lowest of its curve: where it is neither the first nor the last, the loss is not monotone in b.
    """
    last = int(losses["epoch"].max())
    rows = losses[losses["epoch"] == last]
    rates = sorted(rows["learning_rate"].unique().tolist())
    with figure_style():
        figure, grid = plt.subplots(1, len(rates), figsize=(WIDTH, 3.0), squeeze=False)
        for rate, axes in zip(rates, grid[0], strict=True):
            _draw_rate(axes, rows[rows["learning_rate"] == rate])
            axes.set(title=rf"$\alpha$ = {rate:g}", xlabel="batch size b")
        grid[0, 0].set_ylabel(rf"$E\,L(w \mid \mathcal{{F}}_0)$ after {last} epochs")
        handles = [
            Line2D([], [], color=colour, marker=marker, ls=line, ms=4, mfc="white", label=name)
            for (name, marker, line), colour in zip(
                SCHEME_LOOKS.values(), scheme_colours().values(), strict=True
            )
        ]
        key_below(figure, handles[:2] + handles[2:], [note, "filled: the lowest of its curve"])
    return figure


def _draw_rate(axes: Axes, rows: pd.DataFrame) -> None:
    for scheme, colour in scheme_colours().items():
        curve = rows[rows["scheme"] == scheme].sort_values("b")
        _, marker, line = SCHEME_LOOKS[scheme]
        axes.plot(
            curve["b"], curve["loss"], color=colour, marker=marker, ls=line, ms=4, mfc="white"
        )
        least = curve.loc[curve["loss"].idxmin()]
        axes.plot(least["b"], least["loss"], marker, color=colour, ms=4)
    sizes = sorted(rows["b"].unique().tolist())
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(sizes, [str(b) for b in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    low, high = axes.get_ylim()
    ticks = _ticks(low, high)
    axes.set_yticks(ticks, [f"{tick:.2g}" for tick in ticks])
    axes.yaxis.set_minor_locator(NullLocator())


def _ticks(low: float, high: float) -> list[float]:
    """Three or four round values spread evenly over a logarithmic axis."""
    count = 4
    ratio = (high / low) ** (1 / (count + 1))
    return sorted({float(f"{low * ratio**k:.2g}") for k in range(1, count + 1)})
