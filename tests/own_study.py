"""The smallest experiment with a network of a user's own: its configuration and its code."""

PARTS = """
import numpy as np
from torch import nn


def make_model():
    return nn.Linear(3, 1)


def make_dataset():
    x = np.random.default_rng(0).normal(size=(20, 3))
    return (x[:16], x[:16, 0]), (x[16:], x[16:, 0])
"""
MINE = {
    "experiments": {
        "mine": {
            "model": {
                "kind": "module",
                "make_model": "parts:make_model",
                "loss": "losses:all_pairs",
                "dataset": "parts:make_dataset",
                "dtype": "float32",
            },
            "initial_weights": {"count": 1, "seed": 1},
            "learning_rate": {"schedule": "constant", "initial": 0.1},
            "batch_sizes": [4],
            "runs": 2,
            "runs_per_block": 2,
            "epochs": 1,
            "last_batch": "keep",
            "recorded_steps": "every",
            "evaluate_every": 1,
        }
    }
}
