"""Handwritten digits that come with scikit-learn: 1,797 images of 8 by 8 pixels."""

import numpy as np
from sklearn.datasets import load_digits


def make_dataset(training: int = 1280, seed: int = 0):
    """``training`` images and their digits, and the others for validation, in a fixed order."""
    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.target))
    x = (digits.images[order, None] / 16).astype(np.float32)
    y = digits.target[order]
    return (x[:training], y[:training]), (x[training:], y[training:])
