"""Moments of gradients too large to be copied, and which replicas are finite.

Tensors are (R, *shape). On CPU their moments are taken in one pass that needs no temporary;
elsewhere so many columns at a time that temporaries stay small beside the gradients.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from pipeline_lib.estimation.statistics import ALL
from pipeline_lib.training.replica_moments import Moments, gradient_moments, has_kernel, sq_norms

_NUMBERS_AT_ONCE = 2**26


def all_moments(quantity: str, gradients: Mapping[str, Tensor], per_tensor: bool) -> Moments:
    """Moments of all tensors together, under the name that stands for all, or of each.

    A single tensor is all of them. See `pipeline_lib.training.replica_moments.gradient_moments`.
    """
    return named_sums(quantity, tensor_moments(gradients), per_tensor)


def tensor_moments(gradients: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Moments of each tensor by its own name."""
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


def chunked_sq_norms(tensor: Tensor) -> Tensor:
    """Squared Frobenius norms (R,), float64."""
    return torch.stack([sq_norms(part) for part in _parts(tensor)]).sum(dim=0)


def finite_replicas(tensors: Mapping[str, Tensor]) -> Tensor:
    """Which replicas are finite in every tensor, (R,), on their device."""
    return torch.stack([chunked_sq_norms(tensor).isfinite() for tensor in tensors.values()]).all(
        dim=0
    )


def _parts(tensor: Tensor) -> Iterator[Tensor]:
    """Consecutive columns (R, n) of a tensor: all at once where compiled code reads them."""
    flat = tensor.reshape(len(tensor), -1)
    columns = flat.shape[1] if has_kernel(flat) else max(1, _NUMBERS_AT_ONCE // len(flat))
    for start in range(0, flat.shape[1], columns):
        yield flat[:, start : start + columns]


def _sums(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Moments of vectors from those of their parts."""
    if len(parts) == 1:
        return parts[0]
    return {name: torch.stack([part[name] for part in parts]).sum(dim=0) for name in parts[0]}
