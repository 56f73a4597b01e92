"""Elastic distortion of images: the distorted test set of Figure 3b.

Simard, Steinkraus and Platt, "Best practices for convolutional neural networks applied to visual
document analysis" (ICDAR 2003), Section 2: each pixel is given a random displacement, uniform in
[-1, 1] in either direction; the two fields are smoothed by a Gaussian of standard deviation sigma
and scaled by alpha; the new value of a pixel is read, by bilinear interpolation, from the displaced
place in the old image, where everything outside is background. arXiv 2004.13146 (4.2, B.3) takes
alpha = 8 and sigma = 2 on 28 x 28 images.

The paper by Simard et al. leaves open how the smoothing treats the border. Here the fields are zero
outside the image, so displacements shrink towards the border: their standard deviation at
(alpha, sigma) = (8, 2) is 0.65 pixels inside and less than that within 4 sigma of the border, the
reach of the kernel (`displacement_std`).
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from pipeline_lib.errors import ConfigError

ALPHA = 8.0  # pixels
SIGMA = 2.0  # pixels
CHUNK = 100
"""Images at a time: 7 MB of work arrays at 28 x 28, near the fastest of 32 to 1,000."""


def distort(
    images: NDArray[np.uint8] | NDArray[np.float32],
    alpha: float,
    sigma: float,
    generator: np.random.Generator,
    *,
    chunk: int = CHUNK,
) -> NDArray[np.float32]:
    """`images` under elastic distortion, each by displacements of its own.

    images: (n, h, w), background 0. alpha: scale of the displacements, pixels; 0 gives `images`
    back exactly. sigma: of the smoothing, pixels; 0 means none. Returns (n, h, w) float32 in the
    units of `images` and, being interpolated, within their range but not whole numbers.

    The result depends on the generator's state and not on `chunk`, the number of images held in
    work arrays at a time; the first k of n images are what k images alone would give. Raises
    ConfigError for a negative or infinite alpha or sigma, or a chunk below 1.
    """
    _check(alpha, sigma)
    if chunk < 1:
        raise ConfigError(f"distortion: chunk is {chunk}, expected at least 1")
    n, height, width = images.shape
    result = np.empty((n, height, width), np.float32)
    for start in range(0, n, chunk):
        part = images[start : start + chunk]
        fields = displacements(len(part), height, width, alpha, sigma, generator)
        result[start : start + chunk] = interpolate(part, fields)
    return result


def displacements(
    n: int, height: int, width: int, alpha: float, sigma: float, generator: np.random.Generator
) -> NDArray[np.float64]:
    """`n` pairs of smoothed random fields, (n, 2, h, w), in pixels: down, then to the right."""
    fields = generator.uniform(-1.0, 1.0, (n, 2, height, width))
    gaussian_filter(fields, sigma, axes=(2, 3), mode="constant", output=fields)
    fields *= alpha
    return fields


def displacement_std(height: int, width: int, alpha: float, sigma: float) -> NDArray[np.float64]:
    """Exact standard deviation of either displacement at each pixel, (h, w), in pixels.

    A smoothed field is a weighted sum of independent uniform variables, each of variance 1/3, with
    weights that are a product over the two directions; so the sums of squares are one too.
    """
    _check(alpha, sigma)
    down, right = (
        np.sum(gaussian_filter(np.eye(size), sigma, axes=(0,), mode="constant") ** 2, axis=1)
        for size in (height, width)
    )
    return alpha * np.sqrt(np.outer(down, right) / 3)


def interpolate(
    images: NDArray[np.uint8] | NDArray[np.float32], fields: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Each pixel's value read bilinearly from its displaced place, 0 beyond the image.

    images: (n, h, w); fields: (n, 2, h, w) as from `displacements`. Returns (n, h, w) float32.
    The same as SciPy's `map_coordinates` of order 1, mode "grid-constant", image by image, but on
    the whole stack at once and in a third of its time.
    """
    n, height, width = images.shape
    # A frame of background, so that the four neighbours of every clipped place exist.
    padded = np.zeros((n, height + 2, width + 2), np.float32)
    padded[:, 1:-1, 1:-1] = images
    row, row_share = _split(fields[:, 0] + np.arange(height)[:, None], height)
    column, column_share = _split(fields[:, 1] + np.arange(width), width)
    stride = width + 2
    corner = np.arange(n)[:, None, None] * ((height + 2) * stride) + row * stride + column
    pixels = padded.ravel()
    upper, lower = (
        _between(pixels.take(corner + step), pixels.take(corner + step + 1), column_share)
        for step in (0, stride)
    )
    return _between(upper, lower, row_share).astype(np.float32)


def _split(place: NDArray[np.float64], size: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Whole part and share of coordinates in the frame, where pixel i of the image is at i + 1."""
    framed = np.clip(place, -1.0, float(size)) + 1.0
    whole = np.minimum(framed.astype(np.int64), size)
    return whole, framed - whole


def _between(
    first: NDArray[np.floating], second: NDArray[np.floating], share: NDArray[np.float64]
) -> NDArray[np.float64]:
    # This form gives `first` exactly at share 0 and wherever the two are equal.
    value: NDArray[np.float64] = first + share * (second - first)
    return value


def _check(alpha: float, sigma: float) -> None:
    for name, value in (("alpha", alpha), ("sigma", sigma)):
        if not math.isfinite(value) or value < 0:
            raise ConfigError(f"distortion: {name} is {value}, expected a number of at least 0")
