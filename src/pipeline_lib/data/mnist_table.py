"""MNIST as a table under results/, and the examples that an experiment takes from it.

One row an image: its split (``training``, ``validation``, or ``distorted`` for the distorted
validation images), its label and its 28 x 28 pixels as 784 bytes, row by row, 0 background.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline_lib.data.distortion import distort
from pipeline_lib.data.mnist import MnistArrays, balanced_subset, to_inputs
from pipeline_lib.seeding import seed_sequence

_SIDE = 28


def mnist_table(mnist: MnistArrays) -> pd.DataFrame:
    """Rows of the ``mnist`` artefact: training images, then validation images (the test set)."""
    return pd.concat(
        [
            _rows("training", mnist.train_images, mnist.train_labels),
            _rows("validation", mnist.test_images, mnist.test_labels),
        ],
        ignore_index=True,
    )


def distorted_table(table: pd.DataFrame, alpha: float, sigma: float, seed: int) -> pd.DataFrame:
    """The validation images of ``table`` under elastic distortion, rounded to whole grey levels."""
    images, labels = _images(table, "validation")
    generator = np.random.default_rng(seed_sequence(seed, "distortion"))
    values = distort(images, alpha, sigma, generator)
    return _rows("distorted", np.rint(values).astype(np.uint8), labels)


def distortion_sweep(
    table: pd.DataFrame, alpha: float, sigma: float, seed: int, n: int = 5
) -> tuple[NDArray[np.uint8], dict[tuple[float, float], NDArray[np.float32]]]:
    """The first ``n`` validation images (n, 28, 28), and distorted by half, once and twice each.

    The grid is {alpha/2, alpha, 2 alpha} x {sigma/2, sigma, 2 sigma}, every cell from the same
    random fields.
    """
    images, _ = _images(table, "validation")
    swept = {
        (factor * alpha, other * sigma): distort(
            images[:n],
            factor * alpha,
            other * sigma,
            np.random.default_rng(seed_sequence(seed, "distortion")),
        )
        for factor in (0.5, 1, 2)
        for other in (0.5, 1, 2)
    }
    return images[:n], swept


def examples(
    table: pd.DataFrame, split: str, n: int, seed: int, dtype: str = "float32"
) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
    """Inputs (n, 784) in [-1, 1] and labels (n,) of a class-balanced subset of ``split``.

    All images are taken, in order, where ``n`` is their number: the classes are then as uneven as
    published. The subset depends on ``seed`` and on the labels, so that ``validation`` and
    ``distorted`` give the same images.
    """
    images, labels = _images(table, split)
    if n != len(labels):
        kind = "training" if split == "training" else "validation"
        generator = np.random.default_rng(seed_sequence(seed, "subset", kind))
        chosen = balanced_subset(labels, n, generator)
        images, labels = images[chosen], labels[chosen]
    return to_inputs(images).astype(dtype, copy=False), labels.astype(np.int64)


def _rows(split: str, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> pd.DataFrame:
    pixels = images.reshape(len(images), -1)
    return pd.DataFrame(
        {
            "split": split,
            "label": labels.astype(np.int8),
            "image": [row.tobytes() for row in pixels],
        }
    )


def _images(table: pd.DataFrame, split: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    rows = table[table["split"] == split]
    pixels = np.frombuffer(b"".join(rows["image"]), dtype=np.uint8)
    return pixels.reshape(len(rows), _SIDE, _SIDE), rows["label"].to_numpy(np.uint8)
