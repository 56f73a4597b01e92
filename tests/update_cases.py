"""Every optimiser with settings of its own, and what it is tried on."""

from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor

from pipeline_lib.study.learning_rate import LearningRate
from pipeline_lib.study.optimizers import OPTIMIZERS, AnyOptimizer, Optimizer

R = 3
SHAPES = {"matrix": (4, 5), "vector": (7,), "number": ()}


def draws(seed: int, scale: float = 1.0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: scale * torch.randn(R, *shape, generator=generator, dtype=torch.float64)
        for name, shape in SHAPES.items()
    }


PLAIN = {kind: {"kind": kind} for kind in OPTIMIZERS}
EVERY = {
    **PLAIN,
    "sgd with momentum": {"kind": "sgd", "momentum": 0.9, "dampening": 0.2},
    "nesterov": {"kind": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    "amsgrad": {"kind": "adam", "betas": (0.8, 0.95), "amsgrad": True, "weight_decay": 0.3},
    "decoupled": {"kind": "adamw", "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.3},
    "nadam, decoupled": {"kind": "nadam", "decoupled_weight_decay": True, "weight_decay": 0.1},
    "radam, decoupled": {"kind": "radam", "decoupled_weight_decay": True, "weight_decay": 0.1},
    "rmsprop, centered": {"kind": "rmsprop", "momentum": 0.5, "centered": True},
    "adagrad, decaying": {"kind": "adagrad", "lr_decay": 0.1, "initial_accumulator_value": 0.2},
}
STEPS = 12
RATES = LearningRate("warmup_linear", 0.2, 4 / STEPS).values(STEPS)


def made(given: dict[str, Any]) -> Optimizer:
    return TypeAdapter(AnyOptimizer).validate_python(given)
