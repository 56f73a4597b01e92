"""Moments of the gradients of single examples, where these have to be formed one by one."""

from collections.abc import Callable, Mapping

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
# Examples whose random layers draw twice. What they tell counts by one over the examples left.
_DRAWN_TWICE = 8


def moments_of_examples(
    parameters: Mapping[str, Tensor], examples: ChosenBatch, of_replica: OfReplica
) -> ExampleMoments:
    """The moments of ``examples`` for replicas of these ``parameters`` (R, *shape)."""
    n_replicas, size = next(iter(parameters.values())).shape[0], examples.size
    zero = torch.zeros(n_replicas, dtype=torch.float64, device=examples.indices.device)
    means = {name: torch.zeros_like(p) for name, p in parameters.items()}
    norms, noise = ({name: zero.clone() for name in parameters} for _ in range(2))
    at_once = examples_at_once({name: p[0] for name, p in parameters.items()})
    for r in range(n_replicas):
        twice = min(size, _DRAWN_TWICE)
        for piece in examples.pieces(at_once):
            x, y = (rows(part, 0) for part in piece.part(slice(r, r + 1)))
            gradients = of_replica(r, x, y)
            for name, gradient in gradients.items():
                means[name][r] += gradient.sum(dim=0) / size
                norms[name][r] += sq_norms(gradient).sum() / size
            if again := min(twice, piece.size):
                twice -= again
                few = slice(again)
                for name, gradient in of_replica(r, rows(x, few), rows(y, few)).items():
                    difference = sq_norms(gradients[name][few] - gradient).sum()
                    noise[name][r] += difference / (2 * min(size, _DRAWN_TWICE))
    return ExampleMoments(means, norms, noise)


def examples_at_once(parameters: Mapping[str, Tensor]) -> int:
    """How many gradients by the ``parameters`` of one replica are formed at a time."""
    numbers = sum(p.numel() for p in parameters.values())
    return max(1, min(_MOST_AT_ONCE, _NUMBERS_AT_ONCE // numbers))
