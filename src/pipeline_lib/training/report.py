"""The numbers of one recorded step, still on the device, and how many of them become a record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline_lib.estimation.statistics import (
    ALL,
    ALONG,
    CLIPPED,
    FULL,
    SQUARE,
    STOCHASTIC,
    GradientRecord,
)
from pipeline_lib.estimation.variance import VectorMoments
from pipeline_lib.training.replica_moments import Moments

Floats = NDArray[np.float64]
ByTensor = Mapping[str, Tensor]

CONDITIONAL_MEAN = "conditional_mean"
"""Stands for E[g_t | F_t] among the quantities of a report, where it is not the full gradient."""


@dataclass(frozen=True)
class Report:
    """Numbers of one step: moments, and the rest by tensor, each (R,); see `GradientRecord`."""

    moments: Moments
    conditional: ByTensor = field(default_factory=dict)
    excess: ByTensor = field(default_factory=dict)
    trace: ByTensor = field(default_factory=dict)
    along: ByTensor = field(default_factory=dict)  # <E[g_t | F_t], g_t - E[g_t | F_t]>

    def with_moments(self, moments: Moments) -> "Report":
        """The same with the ``moments`` of further gradients."""
        return replace(self, moments={**moments, **self.moments})


def gather_record(steps: NDArray[np.int64], reports: Sequence[Report]) -> GradientRecord:
    """The record of ``steps``, one report a step; waits for the device."""
    parts = {
        key: {name: _gather([one.moments[key][name] for one in reports]) for name in moments}
        for key, moments in reports[0].moments.items()
    }
    # All tensors together: squared norms add up. Here, once a record, not at every step.
    for quantity in (STOCHASTIC, CLIPPED, FULL, CONDITIONAL_MEAN):
        of_tensors = [part for (q, _), part in parts.items() if q == quantity]
        if len(of_tensors) > 1:
            total = {name: _sum([m[name] for m in of_tensors]) for name in of_tensors[0]}
            parts[quantity, ALL] = total
    conditional = _by_tensor([one.conditional for one in reports])
    increments: dict[tuple[str, str], Floats] = {}
    for name in reports[0].along:
        increments[ALONG, name] = _gather([one.along[name] for one in reports])
        drawn, full = (parts[quantity, name]["sq_norms"] for quantity in (STOCHASTIC, FULL))
        increments[SQUARE, name] = drawn - full - conditional[name]
    moments, finite = {}, np.ones(1, dtype=bool)
    means = {
        key: parts.pop(key)["sq_deviations"] for key in list(parts) if key[0] == CONDITIONAL_MEAN
    }
    for key, part in parts.items():
        finite = finite & np.isfinite(part["sq_norms"])
        moments[key] = VectorMoments(
            mean_sq_norm=part["sq_norms"].mean(axis=1),
            sq_norm_of_mean=part["sq_norm_of_mean"],
            sq_deviations=part["sq_deviations"],
        )
    excess, trace = (
        _by_tensor([getattr(one, name) for one in reports]) for name in ("excess", "trace")
    )
    return GradientRecord(
        steps,
        moments,
        finite,
        conditional,
        {tensor: deviations for (_, tensor), deviations in means.items()},
        excess,
        trace,
        {name: parts[FULL, name]["sq_norms"] - excess.get(name, 0.0) for name in trace},
        increments,
    )


def _by_tensor(of_steps: Sequence[ByTensor]) -> dict[str, Floats]:
    """Numbers (T, R) by tensor and of all together, from those of T steps."""
    of_tensors = {name: _gather([one[name] for one in of_steps]) for name in of_steps[0]}
    if not of_tensors:
        return {}
    total = {ALL: _sum(list(of_tensors.values()))}
    return total if len(of_tensors) == 1 else of_tensors | total


def _sum(of_tensors: Sequence[Floats]) -> Floats:
    """One after the other: `np.sum` adds numbers of a single step in another order.

    A step would then be rounded otherwise if it were alone in its record, as after a resumption.
    """
    return reduce(np.add, of_tensors)


def _gather(tensors: Sequence[Tensor]) -> Floats:
    return torch.stack(list(tensors)).double().cpu().numpy()
