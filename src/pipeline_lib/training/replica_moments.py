"""Moments over replicas of gradients (R, ...): one read of the memory on CPU, torch elsewhere.

Elements stay in the gradients' own precision; sums over them are taken in float64. Squares of
float32 elements overflow above about 1e19, which `GradientRecord.finite` reports as divergence.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

Moments = dict[tuple[str, str], dict[str, Tensor]]
"""Moments of one step by (quantity, tensor): tensors of shape () or (R,), still on the device."""

# Columns per pass: with some 25 replicas this many float32 columns fit the second-level cache, so
# the deviations are taken before the elements leave it.
_WIDTH = 512


def gradient_moments(gradients: Tensor) -> dict[str, Tensor]:
    """Two-pass moments of R vectors given as (R, *shape), in float64 on the gradients' device.

    Returns: ``sq_norms`` (R,) of each; ``sq_norm_of_mean`` (); ``sq_deviations`` (R,) from the
    mean. The mean is taken relative to the first replica, so replicas that agree deviate by
    exactly 0.
    """
    flat = gradients.flatten(start_dim=1)
    if not has_kernel(flat):
        return _moments_by_torch(flat)
    return moments_of_columns(flat.contiguous(), 0, flat.shape[1])


def sq_norms(tensors: Tensor) -> Tensor:
    """Squared Frobenius norms (R,), float64, of tensors (R, *shape)."""
    flat = tensors.flatten(start_dim=1)
    if not has_kernel(flat):
        return flat.square().sum(dim=1, dtype=torch.float64)
    vectors = flat.contiguous().numpy()
    return torch.from_numpy(_sq_norms(vectors, 0, vectors.shape[1]))


def sq_norms_of_columns(vectors: Tensor, bounds: Sequence[tuple[int, int]]) -> Tensor:
    """Squared norms (R, S) of S ranges of columns of ``vectors`` (R, n), which `has_kernel`."""
    array = vectors.numpy()
    return torch.from_numpy(np.stack([_sq_norms(array, *of) for of in bounds], axis=1))


def moments_of_columns(vectors: Tensor, begin: int, end: int) -> dict[str, Tensor]:
    """`gradient_moments` of a range of columns of ``vectors`` (R, n), which `has_kernel`."""
    array = vectors.numpy()
    norms, deviations = np.zeros(len(array)), np.zeros(len(array))
    of_mean = add_moments(array, begin, end, norms, deviations)
    return {
        "sq_norms": torch.from_numpy(norms),
        "sq_norm_of_mean": torch.tensor(of_mean, dtype=torch.float64),
        "sq_deviations": torch.from_numpy(deviations),
    }


def has_kernel(tensor: Tensor) -> bool:
    """Whether compiled CPU code can work on the memory of ``tensor``."""
    return tensor.device.type == "cpu" and tensor.dtype in (torch.float32, torch.float64)


def _moments_by_torch(flat: Tensor) -> dict[str, Tensor]:
    offset = (flat - flat[:1]).mean(dim=0)
    mean = flat[0] + offset
    return {
        "sq_norms": flat.square().sum(dim=1, dtype=torch.float64),
        "sq_norm_of_mean": mean.square().sum(dtype=torch.float64),
        "sq_deviations": (flat - mean).square().sum(dim=1, dtype=torch.float64),
    }


# Each loop below runs along one contiguous row, which is what lets the compiler vectorise it.
# Reordering is allowed in the sums of squares only: in the mean it could undo `row - first`.


@njit(nogil=True, cache=True)
def _add_difference(total: Any, row: Any, first: Any) -> None:
    for j in range(total.shape[0]):
        total[j] += row[j] - first[j]


@njit(nogil=True, cache=True)
def _to_mean(total: Any, first: Any, weight: Any) -> None:
    for j in range(total.shape[0]):
        total[j] = first[j] + total[j] * weight


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def _squares(row: Any, mean: Any) -> Any:
    norm, deviation = row.dtype.type(0), row.dtype.type(0)
    for j in range(mean.shape[0]):
        difference = row[j] - mean[j]
        norm += row[j] * row[j]
        deviation += difference * difference
    return norm, deviation


@njit(nogil=True, cache=True)
def add_moments(vectors: Any, begin: int, end: int, sq_norms: Any, sq_deviations: Any) -> float:
    """Add the squared norms and deviations (R,) of columns ``begin`` to ``end`` of (R, n) vectors.

    Returns the squared norm of the mean of these columns.
    """
    n_replicas = vectors.shape[0]
    of_mean = 0.0
    buffer = np.empty(_WIDTH, vectors.dtype)
    weight = vectors.dtype.type(1.0 / n_replicas)
    for start in range(begin, end, _WIDTH):
        stop = min(start + _WIDTH, end)
        first, mean = vectors[0, start:stop], buffer[: stop - start]
        mean[:] = 0
        for r in range(1, n_replicas):
            _add_difference(mean, vectors[r, start:stop], first)
        _to_mean(mean, first, weight)
        of_mean += np.float64(_squares(mean, mean)[0])
        for r in range(n_replicas):
            norm, deviation = _squares(vectors[r, start:stop], mean)
            sq_norms[r] += norm
            sq_deviations[r] += deviation
    return of_mean


@njit(nogil=True, cache=True)
def _sq_norms(vectors: Any, begin: int, end: int) -> Any:
    n_replicas = vectors.shape[0]
    norms = np.zeros(n_replicas)
    for start in range(begin, end, _WIDTH):
        stop = min(start + _WIDTH, end)
        for r in range(n_replicas):
            row = vectors[r, start:stop]
            norms[r] += _squares(row, row)[0]
    return norms
