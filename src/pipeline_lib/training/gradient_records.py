"""Moments of gradients too large to be copied, and which replicas are finite.

Tensors are (R, *shape). On CPU their moments are taken in one pass that needs no temporary;
elsewhere so many columns at a time that temporaries stay small beside the gradients.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from pipeline_lib.estimation.statistics import ALL
from pipeline_lib.training.flat import BLOCK, FlatTensors
from pipeline_lib.training.memory import NUMBERS_AT_ONCE
from pipeline_lib.training.replica_moments import (
    Moments,
    gradient_moments,
    has_kernel,
    moments_of_columns,
    sq_norms,
    sq_norms_of_columns,
)


def all_moments(quantity: str, gradients: Mapping[str, Tensor], per_tensor: bool) -> Moments:
    """Moments of all tensors together, under the name that stands for all, or of each.

    A single tensor is all of them. See `pipeline_lib.training.replica_moments.gradient_moments`.
    """
    if isinstance(gradients, FlatTensors) and not (per_tensor and len(gradients) > 1):
        return {(quantity, ALL): _sums([gradient_moments(part) for part in _parts(gradients.flat)])}
    return named_sums(quantity, tensor_moments(gradients), per_tensor)


def tensor_moments(gradients: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Moments of each tensor by its own name."""
    if isinstance(gradients, FlatTensors):
        if not has_kernel(gradients.flat):
            return _moments_by_blocks(gradients)
        bounds = zip(gradients, gradients.layout.bounds, strict=True)
        return {name: moments_of_columns(gradients.flat, *of) for name, of in bounds}
    return {
        name: _sums([gradient_moments(part) for part in _parts(gradient)])
        for name, gradient in gradients.items()
    }


def named_sums(
    quantity: str, of_tensors: Mapping[str, dict[str, Tensor]], per_tensor: bool
) -> Moments:
    """`tensor_moments` as `all_moments` names and sums them."""
    if per_tensor and len(of_tensors) > 1:
        return {(quantity, name): moments for name, moments in of_tensors.items()}
    return {(quantity, ALL): _sums(list(of_tensors.values()))}


def summed(of_tensors: Mapping[str, Tensor], per_tensor: bool) -> dict[str, Tensor]:
    """Numbers (R,) by tensor, likewise; none of none."""
    if not of_tensors or (per_tensor and len(of_tensors) > 1):
        return dict(of_tensors)
    return {ALL: torch.stack(list(of_tensors.values())).sum(dim=0)}


def sq_norms_by_tensor(tensors: Mapping[str, Tensor]) -> Tensor:
    """Squared Frobenius norms (R, S), float64, of S tensors."""
    if not isinstance(tensors, FlatTensors):
        return torch.stack([chunked_sq_norms(tensor) for tensor in tensors.values()], dim=1)
    if has_kernel(tensors.flat):
        return sq_norms_of_columns(tensors.flat, tensors.layout.bounds)
    blocks = [_block_sums(part.square()) for part in _parts(tensors.flat)]
    return tensors.sums_of_blocks(torch.cat(blocks, dim=1))


def chunked_sq_norms(tensor: Tensor) -> Tensor:
    """Squared Frobenius norms (R,), float64."""
    return torch.stack([sq_norms(part) for part in _parts(tensor)]).sum(dim=0)


def finite_replicas(tensors: Mapping[str, Tensor]) -> Tensor:
    """Which replicas are finite in every tensor, (R,), on their device."""
    if isinstance(tensors, FlatTensors) and not has_kernel(tensors.flat):
        # Behind a tensor can be anything.
        is_used = _parts(tensors.layout.is_used.expand_as(tensors.flat))
        parts = zip(_parts(tensors.flat), is_used, strict=True)
        norms = [sq_norms(torch.where(used, part, 0)) for part, used in parts]
        return torch.stack(norms).sum(dim=0).isfinite()
    return sq_norms_by_tensor(tensors).isfinite().all(dim=1)


def _moments_by_blocks(gradients: FlatTensors) -> dict[str, dict[str, Tensor]]:
    """`tensor_moments` in a few operations, whatever the number of tensors."""
    n_replicas, blocks = len(gradients.flat), []
    for part in _parts(gradients.flat):
        mean = part[:1] + (part - part[:1]).mean(dim=0)
        squares = (_block_sums(of.square()) for of in (part, part - mean, mean))
        blocks.append(torch.cat(list(squares)))
    sums = gradients.sums_of_blocks(torch.cat(blocks, dim=1))
    return {
        name: {
            "sq_norms": sums[:n_replicas, k],
            "sq_norm_of_mean": sums[-1, k],
            "sq_deviations": sums[n_replicas:-1, k],
        }
        for k, name in enumerate(gradients)
    }


def _block_sums(columns: Tensor) -> Tensor:
    """Sums (K, n / `BLOCK`), float64, of each block of columns (K, n)."""
    return columns.reshape(len(columns), -1, BLOCK).sum(dim=2, dtype=torch.float64)


def _parts(tensor: Tensor) -> Iterator[Tensor]:
    """Consecutive columns (R, n) of a tensor: all at once where compiled code reads them."""
    flat = tensor.reshape(len(tensor), -1)
    blocks = NUMBERS_AT_ONCE // (BLOCK * len(flat))
    columns = flat.shape[1] if has_kernel(flat) else BLOCK * max(1, blocks)
    for start in range(0, flat.shape[1], columns):
        yield flat[:, start : start + columns]


def _sums(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Moments of vectors from those of their parts."""
    if len(parts) == 1:
        return parts[0]
    return {name: torch.stack([part[name] for part in parts]).sum(dim=0) for name in parts[0]}
