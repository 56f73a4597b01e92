"""Handwritten digits that come with scikit-learn, in the form that each network takes."""

import numpy as np
from sklearn.datasets import load_digits


def images(training: int, validation: int, size: int = 32):
    """Images (n, 3, size, size) in [0, 1], enlarged from 8 by 8 pixels; digits (n,)."""
    pixels, digits = _digits(training + validation)
    factor = size // 8
    large = pixels.repeat(factor, axis=1).repeat(factor, axis=2)[:, None] / 16
    return _split(np.repeat(large, 3, axis=1), digits, training)


def rows(training: int, validation: int):
    """Sequences (n, 8, 8): the rows of an image from top to bottom; digits (n,)."""
    pixels, digits = _digits(training + validation)
    return _split(pixels / 16, digits, training)


def words(training: int, validation: int):
    """Texts of 64 words (n, 64), one a pixel, of a vocabulary of 17 greys; digits (n,)."""
    pixels, digits = _digits(training + validation)
    greys = pixels.reshape(len(pixels), -1).astype(np.int64)
    (x, y), (x_valid, y_valid) = _split(greys, digits, training)
    return ({"input_ids": x}, y), ({"input_ids": x_valid}, y_valid)


def _digits(n: int):
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))[:n]
    return digits.images[order], digits.target[order]


def _split(x, y, training: int):
    return (x[:training], y[:training]), (x[training:], y[training:])
