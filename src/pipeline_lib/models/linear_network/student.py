"""The initial weights of a linear network and what it is to learn."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Student:
    """Weights W_1 (n_1, n_0), ..., W_L (n_L, n_{L-1}) and the teacher's product T (n_L, n_0)."""

    weights: tuple[Floats, ...]
    teacher: Floats

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """From the arrays W1, W2, ..., teacher_W1, teacher_W2, ... of a file of initial weights."""
        depth = sum(name.startswith("teacher_") for name in arrays)
        student = tuple(arrays[f"W{k}"] for k in range(1, depth + 1))
        teacher = (arrays[f"teacher_W{k}"] for k in range(1, depth + 1))
        return cls(student, reduce(lambda product, weight: weight @ product, teacher))
