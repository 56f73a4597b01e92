"""Moments of gradients too large to be copied, and their records as plain values to be stored.

Tensors are (R, *shape). On CPU their moments are taken in one pass that needs no temporary;
elsewhere so many columns at a time that temporaries stay small beside the gradients.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline_lib.replica_moments import gradient_moments, has_kernel, sq_norms
from pipeline_lib.statistics import ALL, GradientRecord
from pipeline_lib.training import Moments
from pipeline_lib.variance import VectorMoments

_NUMBERS_AT_ONCE = 2**26
_FIELDS = [field.name for field in dataclasses.fields(VectorMoments)]


def all_moments(quantity: str, gradients: Mapping[str, Tensor], per_tensor: bool) -> Moments:
    """Moments of all tensors together, under the name that stands for all, or of each.

    A single tensor is all of them. See `pipeline_lib.replica_moments.gradient_moments`.
    """
    of_tensors = {
        name: _sums([gradient_moments(part) for part in _parts(gradient)])
        for name, gradient in gradients.items()
    }
    if per_tensor and len(of_tensors) > 1:
        return {(quantity, name): moments for name, moments in of_tensors.items()}
    return {(quantity, ALL): _sums(list(of_tensors.values()))}


def chunked_sq_norms(tensor: Tensor) -> Tensor:
    """Squared Frobenius norms (R,), float64."""
    return torch.stack([sq_norms(part) for part in _parts(tensor)]).sum(dim=0)


def finite_replicas(tensors: Mapping[str, Tensor]) -> Tensor:
    """Which replicas are finite in every tensor, (R,), on their device."""
    return torch.stack([chunked_sq_norms(tensor).isfinite() for tensor in tensors.values()]).all(
        dim=0
    )


def with_totals(record: GradientRecord) -> GradientRecord:
    """The record with moments of all tensors together for each quantity that lacks them."""
    moments = dict(record.moments)
    for quantity in dict.fromkeys(quantity for quantity, _ in record.moments):
        if (quantity, ALL) not in moments:
            of_tensors = [part for (q, _), part in moments.items() if q == quantity]
            # Squared lengths, and so all moments, add up over tensors.
            moments[quantity, ALL] = VectorMoments(
                *(np.sum([getattr(part, name) for part in of_tensors], axis=0) for name in _FIELDS)
            )
    return dataclasses.replace(record, moments=moments)


def joined(records: Sequence[GradientRecord]) -> list[GradientRecord]:
    """One record of all steps, or none; records with closed forms are not meant."""
    if not records:
        return []
    moments = {
        key: VectorMoments(
            *(np.concatenate([getattr(r.moments[key], name) for r in records]) for name in _FIELDS)
        )
        for key in records[0].moments
    }
    steps = np.concatenate([record.steps for record in records])
    return [GradientRecord(steps, moments, np.concatenate([r.finite for r in records]))]


def to_plain(record: GradientRecord) -> dict[str, Any]:
    """The record as dictionaries, lists, texts and arrays (`pipeline_lib.checkpoint.State`)."""
    moments = [
        {"quantity": quantity, "tensor": tensor, "moments": vars(of_key)}
        for (quantity, tensor), of_key in record.moments.items()
    ]
    return {"steps": record.steps, "finite": record.finite, "moments": moments}


def from_plain(plain: Mapping[str, Any]) -> GradientRecord:
    """The record that `to_plain` was given."""
    moments = {
        (part["quantity"], part["tensor"]): VectorMoments(**part["moments"])
        for part in plain["moments"]
    }
    return GradientRecord(plain["steps"], moments, plain["finite"])


def _parts(tensor: Tensor) -> Iterator[Tensor]:
    """Consecutive columns (R, n) of a tensor: all at once where compiled code reads them."""
    flat = tensor.reshape(len(tensor), -1)
    columns = flat.shape[1] if has_kernel(flat) else max(1, _NUMBERS_AT_ONCE // len(flat))
    for start in range(0, flat.shape[1], columns):
        yield flat[:, start : start + columns]


def _sums(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Moments of vectors from those of their parts."""
    return {name: torch.stack([part[name] for part in parts]).sum(dim=0) for name in parts[0]}
