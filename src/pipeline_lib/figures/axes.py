"""Ticks, labels and keys, alike in every figure."""

import textwrap
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from pipeline_lib.figures.numbers import number, percent, power_of_ten
from pipeline_lib.figures.style import SMALL

_CHARACTERS = 92  # of small type in a line of a figure's width
_LADDERS = ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 5, 7))  # steps of ticks within a decade
_MOST_DECADES = 7  # that are all labelled


def log_ticks(axis: Axis, write: Callable[[float], str] = number) -> None:
    """Label a logarithmic axis at three or more round values, all written in one way.

    The limits of the axis must be set. Decades where there are three, else steps within them, or
    even steps where the axis covers little. ``write`` turns a value into its label; where `number`
    makes a power of ten of one decade, it does of all.
    """
    low, high = sorted(axis.get_view_interval())
    decades = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    ticks = np.array([])
    for ladder in _LADDERS:
        ticks = _inside(np.outer(10.0**decades, ladder).ravel(), low, high)
        if len(ticks) >= 3:
            break
    else:
        even = MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(low, high)
        ticks = _inside(np.asarray(even, np.float64), low, high)
    stride = -(-len(ticks) // _MOST_DECADES)
    if stride > 1:
        exponents = np.round(np.log10(ticks)).astype(int)
        ticks = ticks[exponents % stride == 0]
    labels = [write(float(tick)) for tick in ticks]
    powers = [power_of_ten(round(exponent)) for exponent in np.log10(ticks).tolist()]
    if set(labels) & set(powers) and ladder == (1,):
        labels = powers
    axis.set_ticks(ticks, labels)
    axis.set_minor_formatter(NullFormatter())


def _inside(ticks: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    slack = 1e-9  # a limit may be a tick, but for rounding
    return ticks[(ticks >= low * (1 - slack)) & (ticks <= high * (1 + slack))]


def percent_ticks(axis: Axis) -> None:
    """Label a linear axis of shares of 1 in per cent."""
    axis.set_major_formatter(FuncFormatter(lambda share, _: percent(share)))


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
            fontsize=SMALL,
        )


def key_below(figure: Figure, handles: Sequence[Artist], lines: Sequence[str]) -> None:
    """A key below the figure with ``lines`` above it, where no curve can be in the way.

    It has as many columns as fit the figure's width.
    """
    text = "\n".join(_wrapped(part) for line in lines for part in line.splitlines())
    for n_columns in range(max(1, len(handles)), 0, -1):
        legend = _key(figure, handles, text, n_columns)
        if n_columns == 1 or legend.get_window_extent().width <= figure.bbox.width:
            break
        legend.remove()


def _wrapped(line: str) -> str:
    """``line`` in as few lines as it needs, all about as long."""
    fewest = textwrap.wrap(line, _CHARACTERS)
    for width in range(_CHARACTERS - 1, 0, -1):
        narrower = textwrap.wrap(line, width)
        if len(narrower) > len(fewest):
            break
        fewest = narrower
    return "\n".join(fewest)


def _key(figure: Figure, handles: Sequence[Artist], text: str, n_columns: int) -> Legend:
    legend = figure.legend(
        handles=list(handles),
        loc="outside lower center",
        ncols=n_columns,
        frameon=False,
        title=text or None,
        columnspacing=1.4,
    )
    legend.get_title().set_multialignment("center")
    return legend
