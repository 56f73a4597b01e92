"""Handwritten digits that come with scikit-learn, and a small network for them."""

import numpy as np
from sklearn.datasets import load_digits
from torch import nn


def make_dataset(training: int = 1280, seed: int = 0):
    """``training`` images (n, 64) and their digits, and the others for validation."""
    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.target))
    x = (digits.data[order] / 16).astype(np.float32)
    y = digits.target[order]
    return (x[:training], y[:training]), (x[training:], y[training:])


def make_model(hidden: int = 32) -> nn.Module:
    """Images (b, 64) to scores of ten digits (b, 10). Weights are torch's own draw."""
    return nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))
