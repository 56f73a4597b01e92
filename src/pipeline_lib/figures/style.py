"""One look for every figure: size, fonts, colours that read in grey, files."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from pipeline_lib.artifacts.files import write_whole

Colour = tuple[float, float, float]
# Inches. Narrow for its type: at 400 pixels the smallest letters still stand 7 pixels to the em.
WIDTH = 6.0
SMALL = 8  # points, the smallest type of any figure
_PIXELS = 1440  # of a PNG file's width
_INK = "0.15"
# Set out here: seaborn has such a look, and takes a second of every figure's job to import.
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
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "axes.linewidth": 1.0,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "0.92",
    "grid.linewidth": 0.6,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.major.width": 1.0,
    "ytick.major.width": 1.0,
    "xtick.minor.width": 0.8,
    "ytick.minor.width": 0.8,
    "xtick.major.size": 4.8,
    "ytick.major.size": 4.8,
    "xtick.minor.size": 3.2,
    "ytick.minor.size": 3.2,
    "lines.linewidth": 1.1,
    "lines.markersize": 4.8,
    "lines.solid_capstyle": "round",
    "patch.edgecolor": "w",
    "patch.force_edgecolor": True,
    "patch.linewidth": 0.8,
    "figure.constrained_layout.use": True,
    "svg.hashsalt": "pipeline_lib",  # the same table gives the same file
    "svg.fonttype": "none",  # text stays text
    "savefig.dpi": _PIXELS / WIDTH,
}


@contextmanager
def figure_style() -> Iterator[None]:
    """The study's matplotlib settings, for the time of a ``with`` block."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_RC)
        yield


def colours(values: Sequence[int]) -> dict[int, Colour]:
    """A colour for each value, darker for smaller ones, distinct in greyscale too."""
    return dict(zip(values, shades(len(values) + 1)[:-1], strict=True))


def shades(n: int) -> list[Colour]:
    """``n`` colours of the map viridis, evenly apart and without its ends."""
    of_map = mpl.colormaps["viridis"](np.linspace(0, 1, n + 2)[1:-1])
    return [(float(red), float(green), float(blue)) for red, green, blue, _ in of_map]


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
