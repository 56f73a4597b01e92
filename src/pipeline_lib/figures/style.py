"""One look for every figure: sizes, colours that read in grey, direct labels, files."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from pipeline_lib.artifacts.files import write_whole

Colour = tuple[float, float, float]
WIDTH = 7.2  # inches, the text width of a two-column page
_CHARACTERS = 120  # of small type in a line of that width
_RC: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "legend.fontsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "axes.grid": True,
    "grid.color": "0.92",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.1,
    "figure.constrained_layout.use": True,
    "svg.hashsalt": "pipeline_lib",  # the same table gives the same file
    "svg.fonttype": "none",
    "savefig.dpi": 200,
}


@contextmanager
def figure_style() -> Iterator[None]:
    """The study's matplotlib settings, for the time of a ``with`` block."""
    with mpl.rc_context():
        sns.set_theme(context="paper", style="ticks")
        mpl.rcParams.update(_RC)
        yield


def colours(values: Sequence[int]) -> dict[int, Colour]:
    """A colour for each value, darker for smaller ones, distinct in greyscale too."""
    palette = sns.color_palette("viridis", n_colors=len(values) + 1)[: len(values)]
    return dict(zip(values, palette, strict=True))


def direct_labels(
    axes: Axes,
    at: Sequence[float],
    texts: Sequence[str],
    colour: Sequence[object],
    place: float = 1.02,
) -> None:
    """Write ``texts`` level with data values ``at``, pushed apart if needed.

    They begin at ``place``, a fraction of the width of ``axes``: beside the right edge by default.
    """
    to_pixels = axes.transData.transform
    heights = [to_pixels((1.0, value))[1] for value in at]
    gap = 11 * axes.figure.dpi / 72
    order = sorted(range(len(at)), key=heights.__getitem__)
    for below, above in pairwise(order):
        heights[above] = max(heights[above], heights[below] + gap)
    inverse = axes.transAxes.inverted().transform
    for text, height, shade in zip(texts, heights, colour, strict=True):
        axes.text(
            place,
            inverse((0.0, height))[1],
            text,
            color=shade,
            transform=axes.transAxes,
            va="center",
            fontsize=8,
        )


def band(axes: Axes, x: ArrayLike, low: ArrayLike, high: ArrayLike, shade: Colour) -> None:
    """A translucent area between ``low`` and ``high``, without an edge."""
    axes.fill_between(x, low, high, color=shade, alpha=0.25, lw=0)


def unbroken_sizes(table: pd.DataFrame) -> list[int]:
    """The batch sizes of ``table``, with b and n_diverged, at which no run diverged."""
    return sorted(set(table["b"].tolist()) - set(table.loc[table["n_diverged"] > 0, "b"]))


def lost_runs(table: pd.DataFrame, column: str, space: str = " ") -> list[str]:
    """A line for each batch size at which runs diverged, with the first ``column`` they missed.

    ``table`` has b, n_runs and n_diverged; ``column`` is ``step``, written as an iteration from 1,
    or ``epoch``. ``space`` is where the line may be broken.
    """
    lines = []
    for b, rows in table[table["n_diverged"] > 0].groupby("b"):
        runs, count, first = rows["n_runs"].max(), rows["n_diverged"].max(), rows[column].min()
        at = f"iteration {first + 1}" if column == "step" else f"epoch {first}"
        lines.append(f"b = {b}: {count} of {runs} runs diverged,{space}the first by {at}")
    return lines


def bandless(table: pd.DataFrame, space: str = " ") -> list[str]:
    """A line for each batch size of ``table`` whose estimates have no error, and so no band.

    Two runs deviate from their mean by the same length, and tell nothing of an error.
    """
    missing = table[table["ci_low"].isna() & (table["n_diverged"] == 0)]
    return [
        f"b = {b}: no band,{space}{runs} runs tell no error" + ("; it takes 3" if runs < 3 else "")
        for b, runs in missing.groupby("b")["n_runs"].max().items()
    ]


def key_below(figure: Figure, handles: Sequence[Artist], lines: Sequence[str]) -> None:
    """A key below the figure with ``lines`` above it, where no curve can be in the way."""
    text = "\n".join(textwrap.fill(line, _CHARACTERS) for line in lines if line)
    legend = figure.legend(
        handles=list(handles),
        loc="outside lower center",
        ncols=len(handles),
        frameon=False,
        title=text or None,
        title_fontsize=8,
    )
    legend.get_title().set_multialignment("center")


def note(runs: int, paper_runs: int, provenance: Mapping[str, Any]) -> str:
    """What a figure was made from, in a line: runs for each b, and examples in the data."""
    rows = provenance.get("n_rows")
    return scale_note({"runs": (runs, paper_runs)}) + (f", n = {rows}" if rows else "")


def scale_note(numbers: Mapping[str, tuple[int, int]]) -> str:
    """Numbers of things, such as runs: each here and in the paper, which is named if it differs."""
    parts = []
    for what, (here, paper) in numbers.items():
        parts.append(f"{here:,} {what}" + ("" if here == paper else f" (paper: {paper:,})"))
    return ", ".join(parts)


def image_note(scale: Any, runs: str = "runs") -> str:
    """`scale_note` of a study on images; ``scale`` has what `scale_of` gives a rule's params."""
    return scale_note(
        {
            runs: (scale.runs, scale.paper_runs),
            "epochs": (scale.epochs, scale.paper_epochs),
            "training images": (scale.examples, scale.paper_examples),
        }
    )


def save_figure(figure: Figure, paths: Sequence[Path]) -> None:
    """Write ``figure`` to each path, in the format of its ending, without dates; then close it."""
    for path in paths:
        write_whole(path, partial(_write, figure, path.suffix.removeprefix(".")))
    plt.close(figure)


def _write(figure: Figure, kind: str, path: Path) -> None:
    figure.savefig(path, format=kind, metadata={"Date": None} if kind == "svg" else None)
