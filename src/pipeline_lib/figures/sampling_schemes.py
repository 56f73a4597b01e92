"""Variance of the gradient against the iteration under four ways of drawing mini-batches."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline_lib.figures.axes import log_ticks
from pipeline_lib.figures.equal_epochs import SCHEME_LOOKS, scheme_key
from pipeline_lib.figures.intervals import Intervals, band
from pipeline_lib.figures.numbers import interval_of
from pipeline_lib.figures.style import WIDTH, figure_style

_REFERENCE = "fresh"
_LINE = 1.0  # points
_COLUMNS = ["variance", "ci_low", "ci_high"]


def draw(table: pd.DataFrame, n_rows: int, n_runs: int, level: float) -> Figure:
    """Above, var(g_t | F_0) of every scheme; below, as a share of the one the theorems assume.

    ``table`` is the artefact sampling_schemes of a data set of ``n_rows``; a column for each batch
    size. Exact curves have no band, estimates the ``rao_blackwell`` one and its interval. Where an
    interval is missing the band has a gap, and a note says where and how many.
    """
    rows = table[table["estimator"].isin(["exact", "rao_blackwell"])]
    sizes = sorted(rows["b"].unique().tolist())
    intervals = Intervals(level, "variance", least_dof=2)
    with figure_style():
        figure, grid = plt.subplots(
            2, len(sizes), figsize=(WIDTH, 4.6), sharex=True, sharey="row", squeeze=False
        )
        for b, (above, below) in zip(sizes, grid.T, strict=True):
            here = rows[rows["b"] == b].astype({"scheme": str}).set_index(["scheme", "step"])
            reference = here.loc[_REFERENCE, "variance"]
            for scheme in SCHEME_LOOKS:
                curve = here.loc[scheme, _COLUMNS]
                _draw_curve(above, scheme, curve)
                _draw_curve(below, scheme, curve.div(reference, axis=0))
            estimated = here[here["estimator"] != "exact"]
            intervals.count(above, estimated.assign(b=b, n_runs=n_runs), _LINE)
            per_epoch = -(-n_rows // b)
            for axes in (above, below):
                ends = range(per_epoch, int(reference.index.max()) + 1, per_epoch)
                for end in ends if per_epoch > 8 else ():
                    axes.axvline(end, color="0.8", lw=0.7, zorder=0)
            above.set(title=f"b = {b}, {per_epoch} iterations an epoch", yscale="log")
            below.set(xlabel="iteration t")
        for above in grid[0]:
            log_ticks(above.yaxis)
        grid[0, 0].set_ylabel("variance of the gradient")
        grid[1, 0].set_ylabel("as a share of afresh,\nwithout replacement")
        said = f"afresh: exact; epochs: {n_runs:,} runs, {interval_of(level)}s"
        figure.canvas.draw()  # what hides an interval is seen in pixels
        scheme_key(figure, ["\n".join([said, *intervals.notes()])], markers=False)
    return figure


def _draw_curve(axes: Axes, scheme: str, curve: pd.DataFrame) -> None:
    look = SCHEME_LOOKS[scheme]
    axes.plot(curve.index, curve["variance"], color=look.colour, ls=look.line, lw=_LINE)
    if curve["ci_low"].notna().any():
        band(axes, curve.index, curve["ci_low"], curve["ci_high"], look.colour)
