"""Mini-batches of a finite set for R replicas at once, on the device where they are used."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from pipeline_lib.sampling.names import IN_EPOCHS, Sampling


def without_replacement(n: int, batch_size: int, n_replicas: int, generator: Generator) -> Tensor:
    """Independent uniform subsets of ``range(n)``: indices (R, b), on the generator's device.

    Each replica keeps the ``batch_size`` smallest of n random 63-bit keys. Two equal keys, which
    alone could favour a subset, have probability below n^2 / 2^64.
    """
    if batch_size == n:
        # In one order for all, so that replicas that see every example agree to the last bit.
        return torch.arange(n, device=generator.device).expand(n_replicas, n)
    keys = _keys(n, n_replicas, generator)
    return keys.topk(batch_size, dim=1, largest=False, sorted=False).indices


def _keys(n: int, n_replicas: int, generator: Generator) -> Tensor:
    keys = torch.empty((n_replicas, n), dtype=torch.int64, device=generator.device)
    return keys.random_(generator=generator)


@dataclass(frozen=True)
class ExampleBatch:
    """Examples of each replica's mini-batch, ``chosen`` (R, b).

    Given all steps before, they are a uniform subset of ``left`` (R, m), or of all if that is None.
    """

    chosen: Tensor
    left: Tensor | None = None


class ExampleDraws:
    """Draws the next mini-batch of every replica from n examples.

    Args:
        sampling: any of `sampling.names.FINITE`. In epochs there are ``n // batch_size`` full
            mini-batches, and the examples beyond are left out for this epoch.
        generator: all draws are made from it, on its device.
    """

    def __init__(
        self, n: int, batch_size: int, n_replicas: int, sampling: Sampling, generator: Generator
    ) -> None:
        self._shape = n, batch_size, n_replicas
        self._sampling = sampling
        self._generator = generator
        self._step = 0
        self._order: Tensor | None = None  # of the epoch, (R, n)

    def __call__(self) -> ExampleBatch:
        """The mini-batch of the next step."""
        n, b, n_replicas = self._shape
        if self._sampling in IN_EPOCHS:
            return self._in_epochs()
        if self._sampling == "fresh":
            return ExampleBatch(without_replacement(n, b, n_replicas, self._generator))
        device = self._generator.device
        return ExampleBatch(
            torch.randint(n, (n_replicas, b), generator=self._generator, device=device)
        )

    def state(self) -> dict[str, Any]:
        """The step and the order that it is in; the generator's state is its owner's."""
        return {"step": self._step, "order": self._order}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self._step, order = state["step"], state["order"]
        self._order = None if order is None else order.to(self._generator.device)

    def _in_epochs(self) -> ExampleBatch:
        n, b, n_replicas = self._shape
        epoch, place = divmod(self._step, n // b)
        self._step += 1
        if place == 0 and (epoch == 0 or self._sampling == "epochs"):
            self._order = _keys(n, n_replicas, self._generator).argsort(dim=1)
        assert self._order is not None
        left = self._order[:, place * b :]
        chosen = left[:, :b]
        is_known = self._sampling == "shuffled_once" and epoch > 0
        return ExampleBatch(chosen, chosen if is_known else left)
