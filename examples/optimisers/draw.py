"""One panel an optimiser: the variance of the gradient by iteration and batch size.

    python draw.py results/quick

reads the tables of variances below that folder and writes `optimisers.png` and `.svg` beside them.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.lines import Line2D

from pipeline_lib.artifacts.files import read_table
from pipeline_lib.figures.axes import key_below, log_ticks
from pipeline_lib.figures.gradient_variance import whole_gradient
from pipeline_lib.figures.intervals import Intervals
from pipeline_lib.figures.style import WIDTH, colours, figure_style, save_figure

LEVEL = 0.95
NAMES = {"sgd": "SGD", "momentum": "momentum 0.9", "rmsprop": "RMSprop", "adam": "Adam"}


def draw(results: Path) -> plt.Figure:
    """A panel for each of `NAMES`, on the same axes."""
    tables = {
        name: whole_gradient(read_table(results / f"variance/digits_{name}.parquet", "variance"))
        for name in NAMES
    }
    sizes = sorted(tables["sgd"]["b"].unique().tolist())
    shades = colours(sizes)
    intervals = Intervals(LEVEL, "variance", least_dof=2)
    with figure_style():
        figure, grid = plt.subplots(2, 2, figsize=(WIDTH, 5.2), sharex=True, sharey=True)
        for axes, (name, table) in zip(grid.flat, tables.items(), strict=True):
            for b in sizes:
                here = table[table["b"] == b]
                intervals.band(axes, here["step"] + 1, here, shades[b], 1.1)
                axes.plot(here["step"] + 1, here["variance"], color=shades[b], lw=1.1)
            axes.set(title=NAMES[name], xscale="log", yscale="log")
        for axes in grid[1]:
            axes.set_xlabel("iteration t + 1")
        for axes in grid[:, 0]:
            axes.set_ylabel("variance over runs")
        log_ticks(grid[0, 0].xaxis)
        log_ticks(grid[0, 0].yaxis)
        figure.canvas.draw()
        handles = [Line2D([], [], color=shades[b], lw=1.1, label=f"b = {b}") for b in sizes]
        runs = int(tables["sgd"]["n_runs"].max())
        note = f"digits, {runs} runs a batch size, 6 epochs of 1,280 images"
        key_below(figure, [*handles, *intervals.key()], [note, *intervals.notes()])
    return figure


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    save_figure(draw(folder), [folder / f"figures/optimisers.{kind}" for kind in ("svg", "png")])
