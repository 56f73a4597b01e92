"""What elastic distortion does to digits, over a grid of its two parameters."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline_lib.data.distortion import ALPHA, SIGMA, displacement_std
from pipeline_lib.errors import ConfigError
from pipeline_lib.figures.style import SMALL, WIDTH, figure_style

Images = NDArray[np.uint8] | NDArray[np.float32]
_GAP = 2  # pixels between images
_MARK = "#c1272d"


def draw(
    originals: Images,
    distorted: Mapping[tuple[float, float], Images],
    marked: tuple[float, float] = (ALPHA, SIGMA),
) -> Figure:
    """The same digits distorted with each alpha (columns) and sigma (rows), below the originals.

    originals: (k, h, w), pixels in 0..255; four to six fit the width. distorted: (alpha, sigma) ->
    (k, h, w), both in pixels, for every pair of the alphas and sigmas named; if each is drawn with
    a generator in the same state the cells of a row differ in scale alone. The cell of `marked` is
    framed as the study's setting. Over each cell: the standard deviation of a displacement inside
    the image, in pixels. Raises ConfigError if a pair is missing or has images of another shape.
    """
    alphas = sorted({alpha for alpha, _ in distorted})
    sigmas = sorted({sigma for _, sigma in distorted})
    _check(originals, distorted, alphas, sigmas)
    _, *size = originals.shape
    height, width = _strip(originals).shape
    n_rows, n_columns = len(sigmas) + 1, len(alphas)
    cell = (WIDTH - 0.4) / n_columns
    with figure_style():
        figure, grid = plt.subplots(
            n_rows,
            n_columns,
            figsize=(WIDTH, n_rows * (cell * height / width + 0.2) + 0.4),
            squeeze=False,
        )
        for column, alpha in enumerate(alphas):
            _show(grid[0, column], originals)
            grid[0, column].set_title(f"α = {alpha:g}", pad=8)
            for row, sigma in enumerate(sigmas, start=1):
                axes = grid[row, column]
                _show(axes, distorted[alpha, sigma])
                inside = displacement_std(size[0], size[1], alpha, sigma).max()
                _caption(axes, f"{inside:.2f} px", (alpha, sigma) == marked)
        grid[0, 0].set_ylabel("original")
        for row, sigma in enumerate(sigmas, start=1):
            grid[row, 0].set_ylabel(f"σ = {sigma:g}")
        figure.supxlabel(
            "px: standard deviation of the displacements, inside the image",
            fontsize=SMALL,
            color="0.35",
        )
    return figure


def _check(
    originals: Images,
    distorted: Mapping[tuple[float, float], Images],
    alphas: list[float],
    sigmas: list[float],
) -> None:
    if not distorted:
        raise ConfigError("distortion figure: no pair (alpha, sigma) is given")
    for pair in ((alpha, sigma) for alpha in alphas for sigma in sigmas):
        if pair not in distorted:
            raise ConfigError(f"distortion figure: (alpha, sigma) = {pair} is missing in the grid")
        if distorted[pair].shape != originals.shape:
            raise ConfigError(
                f"distortion figure: images of (alpha, sigma) = {pair} have shape "
                f"{distorted[pair].shape}, the originals {originals.shape}"
            )


def _strip(images: Images) -> NDArray[np.float32]:
    """(k, h, w) side by side with gaps of background between them: (h, k*w + (k-1)*gap)."""
    gaps = [(0, 0), (0, 0), (0, _GAP)]
    padded = np.pad(images.astype(np.float32), gaps)
    return np.concatenate(list(padded), axis=1)[:, :-_GAP]


def _show(axes: Axes, images: Images) -> None:
    # One grey scale for every cell, and pixels as they are.
    axes.imshow(_strip(images), cmap="gray_r", vmin=0, vmax=255, interpolation="nearest")
    axes.grid(visible=False)
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(visible=True, color="0.8", linewidth=0.6)


def _caption(axes: Axes, text: str, marked: bool) -> None:
    axes.set_title(text, fontsize=SMALL, color="0.35", loc="left", pad=2)
    if marked:
        axes.set_title("the study's setting", fontsize=SMALL, color=_MARK, loc="right", pad=2)
        for spine in axes.spines.values():
            spine.set(color=_MARK, linewidth=1.8)
