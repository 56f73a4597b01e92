"""One look for every figure: sizes, colours that read in grey, direct labels, files."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline_lib.artifacts import write_whole

Colour = tuple[float, float, float]
WIDTH = 7.2  # inches, the text width of a two-column page
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
    axes: Axes, at: Sequence[float], texts: Sequence[str], colour: Sequence[object]
) -> None:
    """Write ``texts`` at the right edge, level with data values ``at``, pushed apart if needed."""
    to_pixels = axes.transData.transform
    heights = [to_pixels((1.0, value))[1] for value in at]
    gap = 11 * axes.figure.dpi / 72
    order = sorted(range(len(at)), key=heights.__getitem__)
    for below, above in pairwise(order):
        heights[above] = max(heights[above], heights[below] + gap)
    inverse = axes.transAxes.inverted().transform
    for text, height, shade in zip(texts, heights, colour, strict=True):
        axes.text(
            1.02,
            inverse((0.0, height))[1],
            text,
            color=shade,
            transform=axes.transAxes,
            va="center",
            fontsize=8,
        )


def note(runs: int, paper_runs: int, provenance: Mapping[str, Any]) -> str:
    """What a figure was made from, in a line: runs for each b, and examples in the data."""
    rows = provenance.get("n_rows")
    scale = "" if runs == paper_runs else f" (paper: {paper_runs:,})"
    return f"{runs:,} runs{scale}" + (f", n = {rows}" if rows else "")


def save_figure(figure: Figure, paths: Sequence[Path]) -> None:
    """Write ``figure`` to each path, in the format of its ending, without dates; then close it."""
    for path in paths:
        write_whole(path, partial(_write, figure, path.suffix.removeprefix(".")))
    plt.close(figure)


def _write(figure: Figure, kind: str, path: Path) -> None:
    figure.savefig(path, format=kind, metadata={"Date": None} if kind == "svg" else None)
