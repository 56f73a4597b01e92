"""One look for every figure: size, fonts, colours that read in grey, files."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.figure import Figure

from pipeline_lib.artifacts.files import write_whole

Colour = tuple[float, float, float]
# Inches. Narrow for its type: at 400 pixels the smallest letters still stand 7 pixels to the em.
WIDTH = 6.0
SMALL = 8  # points, the smallest type of any figure
_PIXELS = 1440  # of a PNG file's width
_RC: dict[Any, Any] = {
    "font.size": 9,
    # The font that matplotlib brings along, so that files are the same on every machine. A reader
    # of an SVG file without it has Verdana, of nearly the same widths, or any other.
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "sans-serif"],
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "legend.fontsize": SMALL,
    "legend.title_fontsize": SMALL,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "axes.grid": True,
    "grid.color": "0.92",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.1,
    "figure.constrained_layout.use": True,
    "svg.hashsalt": "pipeline_lib",  # the same table gives the same file
    "svg.fonttype": "none",  # text stays text
    "savefig.dpi": _PIXELS / WIDTH,
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


def save_figure(figure: Figure, paths: Sequence[Path]) -> None:
    """Write ``figure`` to each path, in the format of its ending, without dates; then close it.

    Fonts, resolution and the names of elements are settled when a file is written, so this too is
    done in the study's style.
    """
    with figure_style():
        for path in paths:
            write_whole(path, partial(_write, figure, path.suffix.removeprefix(".")))
    plt.close(figure)


def _write(figure: Figure, kind: str, path: Path) -> None:
    figure.savefig(path, format=kind, metadata={"Date": None} if kind == "svg" else None)
