"""Moments of the gradients of single examples, where these have to be formed one by one."""

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from pipeline_lib.training.labelled import ChosenBatch, ExampleMoments
from pipeline_lib.training.replica_moments import sq_norms
from pipeline_lib.training.trees import Tree, rows

OfReplica = Callable[[int, Tree, Tree], Mapping[str, Tensor]]
"""Gradients (n, *shape) by name of the loss of each of n examples, by a replica's weights; random
layers draw anew at each call."""

# Numbers of single examples' gradients that are in memory at once, and the most examples at once.
_NUMBERS_AT_ONCE = 2**24
_MOST_AT_ONCE = 256


def moments_of_examples(
    parameters: Mapping[str, Tensor],
    examples: ChosenBatch,
    twice: ChosenBatch,
    of_replica: OfReplica,
) -> ExampleMoments:
    """The moments of ``examples`` for replicas of these ``parameters`` (R, *shape).

    For ``twice`` see `pipeline_lib.training.labelled.ExampleStack`.
    """
    n_replicas, size = next(iter(parameters.values())).shape[0], examples.size
    zero = torch.zeros(n_replicas, dtype=torch.float64, device=examples.indices.device)
    means = {name: torch.zeros_like(p) for name, p in parameters.items()}
    norms, noise = ({name: zero.clone() for name in parameters} for _ in range(2))
    at_once = examples_at_once({name: p[0] for name, p in parameters.items()})
    for r in range(n_replicas):
        for x, y in _pieces(examples, r, at_once):
            for name, gradient in of_replica(r, x, y).items():
                means[name][r] += gradient.sum(dim=0) / size
                norms[name][r] += sq_norms(gradient).sum() / size
        for x, y in _pieces(twice, r, at_once):
            first, second = of_replica(r, x, y), of_replica(r, x, y)
            for name in parameters:
                difference = sq_norms(first[name] - second[name]).sum()
                noise[name][r] += difference / (2 * twice.size)
    return ExampleMoments(means, norms, noise)


def examples_at_once(parameters: Mapping[str, Tensor]) -> int:
    """How many gradients by the ``parameters`` of one replica are formed at a time."""
    numbers = sum(p.numel() for p in parameters.values())
    return max(1, min(_MOST_AT_ONCE, _NUMBERS_AT_ONCE // numbers))


def _pieces(examples: ChosenBatch, replica: int, at_once: int) -> Iterator[tuple[Tree, Tree]]:
    """Inputs and targets of one replica, so many examples at a time."""
    for piece in examples.pieces(at_once):
        x, y = piece.part(slice(replica, replica + 1))
        yield rows(x, 0), rows(y, 0)
