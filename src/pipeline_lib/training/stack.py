"""The replica seam: R copies of one model that share initial weights and see different batches."""

from collections.abc import Mapping
from typing import Protocol, TypeVar

from torch import Tensor

Batch = TypeVar("Batch", contravariant=True)


class ReplicaStack(Protocol[Batch]):
    """R replicas of one model in lock-step.

    ``parameters`` maps a name to a tensor (R, *shape); the training loop updates it in place.
    """

    parameters: dict[str, Tensor]

    def gradients(self, batch: Batch) -> Mapping[str, Tensor]:
        """Stochastic gradients of the mean loss over each replica's batch, (R, *shape)."""
        ...

    def full_gradients(self) -> Mapping[str, Tensor] | None:
        """Gradients of the empirical or population loss, or None where that is not affordable."""
        ...

    def conditional_variance(self, batch_size: int) -> Mapping[str, Tensor] | None:
        """var(g_t | F_t) of each replica in closed form by tensor, (R,), or None."""
        ...
