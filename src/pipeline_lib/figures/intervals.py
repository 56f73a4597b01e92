"""Intervals of a figure as bands, and in words what a reader cannot see of them."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from numpy.typing import ArrayLike, NDArray

from pipeline_lib.figures.numbers import interval_of, number
from pipeline_lib.figures.style import Colour


def band(axes: Axes, x: ArrayLike, low: ArrayLike, high: ArrayLike, shade: Colour) -> None:
    """A translucent area between ``low`` and ``high``, with a gap where one of them is missing."""
    axes.fill_between(x, low, high, color=shade, alpha=0.25, lw=0)


@dataclass(frozen=True, eq=False)
class _Drawn:
    axes: Axes
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    mark: float


class Intervals:
    """The intervals of one figure at one confidence level.

    ``estimate`` is the column of what they are intervals of. ``least_dof`` is the number of degrees
    of freedom from which on an estimate has an error: 2 for a variance, whose contributions are
    dependent within a group of runs, 1 for a mean.
    """

    def __init__(self, level: float, estimate: str, least_dof: int) -> None:
        self.label = interval_of(level)
        self._estimate = estimate
        self._least_dof = least_dof
        self._drawn: list[_Drawn] = []
        self._missing: defaultdict[int, list[pd.DataFrame]] = defaultdict(list)

    def band(
        self, axes: Axes, x: ArrayLike, rows: pd.DataFrame, shade: Colour, mark: float
    ) -> None:
        """Draw the intervals of one batch size at ``x``, on which a line or markers will stand.

        ``rows`` has b, n_runs, ci_low, ci_high and the estimate, and dof where groups of runs were
        pooled. The interval of an estimate may be missing: it is not drawn, but counted. ``mark``
        is the width of the line, or the size of the marker, in points.
        """
        self.count(axes, rows, mark)
        if rows["ci_low"].notna().any():
            band(axes, x, rows["ci_low"], rows["ci_high"], shade)

    def count(self, axes: Axes, rows: pd.DataFrame, mark: float) -> None:
        """Take in intervals that are drawn otherwise than as a band; arguments as for `band`."""
        rows = rows[rows[self._estimate].notna()]
        there = rows["ci_low"].notna() & rows["ci_high"].notna()
        low, high = (rows.loc[there, name].to_numpy(np.float64) for name in ("ci_low", "ci_high"))
        self._drawn.append(_Drawn(axes, low, high, mark))
        if not there.all():
            counted = rows.assign(missing=~there)
            for b in counted["b"].unique().tolist():
                self._missing[b].append(counted[counted["b"] == b])

    def key(self) -> list[Patch]:
        """The band in a figure's key, if any is drawn."""
        if not any(len(drawn.low) for drawn in self._drawn):
            return []
        return [Patch(color="0.3", alpha=0.25, lw=0, label=self.label)]

    def notes(self, mark: str = "line", band: str = "band") -> list[str]:
        """A line on intervals that cannot be seen, and lines on those that are missing.

        To be called when the limits of all axes are set. ``mark`` and ``band`` are what stands on
        an interval and what shows it, in words.
        """
        hidden = np.concatenate([_hidden(drawn) for drawn in self._drawn] or [np.array([], bool)])
        lines = []
        if len(hidden) and hidden.all():
            lines.append(f"every {self.label} is narrower than its {mark}")
        elif hidden.any():
            lines.append(f"where no {band} is seen, the {self.label} is narrower than the {mark}")
        return lines + self._without()

    def _without(self) -> list[str]:
        """One line for all batch sizes without any interval for the same reason, one for others."""
        lines: list[str] = []
        sizes: defaultdict[str, list[int]] = defaultdict(list)
        for b, parts in sorted(self._missing.items()):
            rows = pd.concat(parts)
            runs = int(rows["n_runs"].max())
            dof = int(rows["dof"].max()) if "dof" in rows else runs - 1
            # Each group of runs has a mean of its own, which takes one run.
            needed = runs - dof + self._least_dof
            if not rows["missing"].all():
                count = f"{number(int(rows['missing'].sum()))} of {number(len(rows))} points"
                lines.append(f"b = {b}: no interval at {count}")
            elif needed > runs:
                given = f"{number(runs)} run{'s' if runs > 1 else ''} of each"
                sizes[f"no interval from {given}, it takes {number(needed)}"].append(b)
            else:
                sizes["no interval"].append(b)
        for what, at in sizes.items():
            lines.append(f"b = {', '.join(map(str, at))}: {what}")
        return lines


def _hidden(drawn: _Drawn) -> NDArray[np.bool_]:
    """Whether what stands on each interval is at least as wide as it."""
    to_pixels = drawn.axes.transData.transform
    # The lower end may have no place on a logarithmic axis: then the band reaches its bottom.
    bottom = drawn.axes.get_ylim()[0]
    low = np.maximum(drawn.low, bottom)
    ends = [to_pixels(np.column_stack([np.ones_like(low), end]))[:, 1] for end in (low, drawn.high)]
    height: NDArray[np.float64] = (ends[1] - ends[0]) * 72 / drawn.axes.figure.dpi
    return height <= drawn.mark


def unbroken_sizes(table: pd.DataFrame) -> list[int]:
    """The batch sizes of ``table``, with b and n_diverged, at which no run diverged."""
    return sorted(set(table["b"].tolist()) - set(table.loc[table["n_diverged"] > 0, "b"]))


def lost_runs(table: pd.DataFrame, column: str) -> list[str]:
    """A line for each batch size at which runs diverged, with the first ``column`` they missed.

    ``table`` has b, n_runs and n_diverged; ``column`` is ``step``, written as an iteration from 1,
    or ``epoch``.
    """
    lines = []
    for b, rows in table[table["n_diverged"] > 0].groupby("b"):
        runs, count, first = rows["n_runs"].max(), rows["n_diverged"].max(), rows[column].min()
        at = f"iteration {first + 1:,}" if column == "step" else f"epoch {first:,}"
        lines.append(f"b = {b}: {count:,} of {runs:,} runs diverged, the first by {at}")
    return lines
