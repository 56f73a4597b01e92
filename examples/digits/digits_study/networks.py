"""A small convolutional network for images of 8 by 8 pixels, plain or with residual blocks."""

import torch
from torch import nn


class Block(nn.Module):
    """Two convolutions, normalised within each example; their input is added if ``residual``."""

    def __init__(self, channels: int, residual: bool) -> None:
        super().__init__()
        self.residual = residual
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GroupNorm(2, channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GroupNorm(2, channels),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layers(x)
        return torch.relu(x + y if self.residual else y)


def make_model(channels: int = 4, blocks: int = 1, residual: bool = False) -> nn.Module:
    """Images (b, 1, 8, 8) to scores of ten digits (b, 10). Weights are torch's own draw."""
    return nn.Sequential(
        nn.Conv2d(1, channels, 3, stride=2, padding=1),
        nn.ReLU(),
        *[Block(channels, residual) for _ in range(blocks)],
        nn.Flatten(),
        nn.Linear(channels * 4 * 4, 10),
    )
