"""Elastic distortion: exact cases, the displacements' distribution, SciPy as a reference."""

import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from pipeline_lib.data.distortion import (
    ALPHA,
    SIGMA,
    displacement_std,
    displacements,
    distort,
    interpolate,
)
from pipeline_lib.errors import ConfigError
from pipeline_lib.figures.distortion import draw
from pipeline_lib.figures.style import save_figure


def rng(seed: int = 5) -> np.random.Generator:
    return np.random.default_rng(seed)


def some_images(n: int = 12, height: int = 28, width: int = 28) -> np.ndarray:
    return rng(1).integers(0, 256, (n, height, width), dtype=np.uint8)


def test_alpha_zero_gives_the_original_exactly() -> None:
    images = some_images()
    assert np.array_equal(distort(images, 0, SIGMA, rng()), images)
    grey = images.astype(np.float32) / np.float32(3)
    result = distort(grey, 0, 0, rng())
    assert result.dtype == np.float32
    assert np.array_equal(result, grey)


@pytest.mark.parametrize("sigma", [0, 0.7, 2, 4])
def test_displacements_have_mean_zero_and_the_standard_deviation_of_theory(sigma: float) -> None:
    n = 4000
    fields = displacements(n, 28, 20, ALPHA, sigma, rng())
    expected = displacement_std(28, 20, ALPHA, sigma)
    assert fields.shape == (n, 2, 28, 20)
    # Over the draws at each pixel: 1,120 means and as many standard deviations, so the largest
    # deviation in units of its standard error is about 3.5 and reaches 5.5 once in 25,000 times.
    z_mean = fields.mean(axis=0) / (expected / np.sqrt(n))
    assert np.abs(z_mean).max() < 5.5
    # A variable of kurtosis 3 or less (Gaussian or flatter) has at most this error.
    z_std = (fields.std(axis=0) / expected - 1) * np.sqrt(2 * n)
    assert np.abs(z_std).max() < 5.5
    down, right = fields[:, 0].ravel(), fields[:, 1].ravel()
    assert abs(np.mean(down * right)) < 6 * expected.max() ** 2 * (2 * sigma + 1) / np.sqrt(
        down.size
    )


def test_standard_deviation_inside_is_that_of_the_kernel() -> None:
    reach = round(4 * SIGMA)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / SIGMA) ** 2)
    kernel /= kernel.sum()
    inside = ALPHA / np.sqrt(3) * np.sum(kernel**2)
    table = displacement_std(28, 28, ALPHA, SIGMA)
    assert np.allclose(table[reach:-reach, reach:-reach], inside, rtol=1e-12)
    assert inside == pytest.approx(0.65, abs=0.005)
    assert table.max() < inside * (1 + 1e-12)
    # Beside the border each sum keeps only the kernel's middle and one half: sums of squares.
    half = np.sum(kernel[reach:] ** 2)
    assert table[0, 0] == pytest.approx(ALPHA / np.sqrt(3) * half)


def test_unsmoothed_displacements_are_uniform() -> None:
    fields = displacements(500, 28, 28, 3, 0, rng())
    assert np.abs(fields).max() <= 3
    assert np.allclose(displacement_std(28, 28, 3, 0), np.sqrt(3))
    shares = np.histogram(fields, bins=10, range=(-3, 3))[0] / fields.size
    assert np.abs(shares - 0.1).max() < 5 * np.sqrt(0.09 / fields.size)


def reference(images: np.ndarray, fields: np.ndarray) -> np.ndarray:
    row, column = np.mgrid[: images.shape[1], : images.shape[2]]
    return np.stack(
        [
            map_coordinates(
                image.astype(np.float64),
                (row + down, column + right),
                order=1,
                mode="grid-constant",
                cval=0.0,
            )
            for image, (down, right) in zip(images, fields, strict=True)
        ]
    )


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 5),
    st.integers(1, 9),
    st.integers(1, 9),
    st.sampled_from([0.3, 2.0, 30.0]),
    st.integers(0, 999),
)
def test_interpolation_is_that_of_map_coordinates(
    n: int, height: int, width: int, size: float, seed: int
) -> None:
    images = rng(seed).integers(0, 256, (n, height, width), dtype=np.uint8)
    fields = rng(seed + 1).normal(0, size, (n, 2, height, width))
    # Whole and half displacements, and those that end on the border or one step beyond it.
    fields[:, 0, ::2] = np.round(2 * fields[:, 0, ::2]) / 2
    result = interpolate(images, fields)
    assert result.dtype == np.float32
    if n:
        assert np.allclose(result, reference(images, fields), rtol=0, atol=1e-4)


def test_whole_displacements_shift_and_let_background_in() -> None:
    images = some_images(2)
    fields = np.zeros((2, 2, 28, 28))
    fields[:, 0] = 3  # read three rows further down
    fields[:, 1] = -1
    result = interpolate(images, fields)
    assert np.array_equal(result[:, :-3, 1:], images[:, 3:, :-1])
    assert np.all(result[:, -3:] == 0)
    assert np.all(result[:, :, 0] == 0)


def test_distortion_is_smoothed_noise_and_then_interpolation() -> None:
    images = some_images()
    expected = reference(images, displacements(12, 28, 28, ALPHA, SIGMA, rng()))
    result = distort(images, ALPHA, SIGMA, rng())
    assert np.allclose(result, expected, rtol=0, atol=1e-4)
    assert np.abs(result - images).mean() > 10


def test_same_seed_same_images_other_seed_other_images() -> None:
    images = some_images()
    first = distort(images, ALPHA, SIGMA, rng(1))
    assert np.array_equal(first, distort(images, ALPHA, SIGMA, rng(1)))
    assert not np.array_equal(first, distort(images, ALPHA, SIGMA, rng(2)))
    # Each image has displacements of its own.
    equal = distort(np.repeat(images[:1], 2, axis=0), ALPHA, SIGMA, rng(1))
    assert not np.array_equal(equal[0], equal[1])


@pytest.mark.parametrize("chunk", [1, 5, 11, 12, 1000])
def test_chunk_size_is_irrelevant(chunk: int) -> None:
    images = some_images()
    expected = distort(images, ALPHA, SIGMA, rng())
    assert np.array_equal(distort(images, ALPHA, SIGMA, rng(), chunk=chunk), expected)


def test_first_images_do_not_depend_on_the_later_ones() -> None:
    images = some_images()
    whole = distort(images, ALPHA, SIGMA, rng(), chunk=5)
    assert np.array_equal(distort(images[:7], ALPHA, SIGMA, rng()), whole[:7])


def test_constant_image_stays_constant_inside() -> None:
    images = np.full((50, 28, 28), 200, np.uint8)
    fields = displacements(50, 28, 28, ALPHA, SIGMA, rng())
    margin = int(np.ceil(np.abs(fields).max()))
    assert margin < 8
    result = distort(images, ALPHA, SIGMA, rng())
    assert np.all(result[:, margin:-margin, margin:-margin] == 200)
    assert result.min() < 200  # background comes in at the border
    assert result.max() == 200


def test_values_stay_within_the_range_of_the_image() -> None:
    result = distort(some_images(), 30, 1, rng())
    assert 0 <= result.min() <= result.max() <= 255


def test_no_images() -> None:
    assert distort(some_images()[:0], ALPHA, SIGMA, rng()).shape == (0, 28, 28)


@pytest.mark.parametrize(
    ("alpha", "sigma", "chunk", "reason"),
    [
        (-1, 2, 10, "alpha is -1"),
        (float("nan"), 2, 10, "alpha is nan"),
        (8, -0.5, 10, "sigma is -0.5"),
        (8, float("inf"), 10, "sigma is inf"),
        (8, 2, 0, "chunk is 0"),
    ],
)
def test_impossible_parameters_are_refused(
    alpha: float, sigma: float, chunk: int, reason: str
) -> None:
    with pytest.raises(ConfigError, match=f"distortion: {reason}, expected"):
        distort(some_images(), alpha, sigma, rng(), chunk=chunk)


def test_ten_thousand_images_take_seconds() -> None:
    images = np.zeros((10_000, 28, 28), np.uint8)
    start = time.process_time()  # not that of other processes
    distort(images, ALPHA, SIGMA, rng())
    elapsed = time.process_time() - start
    print(f"10,000 images distorted in {elapsed:.2f} s")
    assert elapsed < 10


# The figure


def sweep(images: np.ndarray) -> dict[tuple[float, float], np.ndarray]:
    return {
        (alpha, sigma): distort(images, alpha, sigma, rng())
        for alpha in (4.0, 8.0, 16.0)
        for sigma in (1.0, 2.0, 4.0)
    }


def test_figure_shows_the_sweep_and_marks_the_setting_of_the_study(tmp_path: Path) -> None:
    images = some_images(4)
    figure = draw(images, sweep(images))
    cells = np.array(figure.axes).reshape(4, 3)
    assert [axes.get_title() for axes in cells[0]] == [f"α = {a}" for a in (4, 8, 16)]
    labels = [row[0].get_ylabel() for row in cells]
    assert labels == ["original", *(f"σ = {s}" for s in (1, 2, 4))]
    marked = [axes.get_title(loc="right") for axes in cells.ravel()]
    assert [index for index, text in enumerate(marked) if text] == [2 * 3 + 1]
    assert cells[2, 1].get_title(loc="left") == "0.65 px"
    shown = cells[2, 1].images[0].get_array()
    assert shown.shape == (28, 4 * 28 + 3 * 2)
    assert np.array_equal(shown[:, 30:58], sweep(images)[8.0, 2.0][1])
    paths = [tmp_path / "sweep.png", tmp_path / "sweep.svg"]
    save_figure(figure, paths)
    assert all(path.stat().st_size > 2000 for path in paths)


def test_figure_names_a_missing_cell() -> None:
    open_before = plt.get_fignums()
    images = some_images(2)
    cells = sweep(images)
    del cells[8.0, 1.0]
    with pytest.raises(ConfigError, match=r"\(8\.0, 1\.0\) is missing"):
        draw(images, cells)
    with pytest.raises(ConfigError, match="no pair"):
        draw(images, {})
    with pytest.raises(ConfigError, match=r"have shape \(2, 28, 28\), the originals \(3, 28, 28\)"):
        draw(some_images(3), sweep(images))
    assert plt.get_fignums() == open_before
