"""R replicas of an L-layer linear network x -> W_L ... W_1 x with hand-derived gradients.

With the residual ``𝒲 = W_L ... W_1 - T``, S = XᵀX/b, the product above layer k
``B_k = W_L ... W_{k+1}`` and below it ``P_k = W_{k-1} ... W_1``, the loss
``1/2 E |W_L ... W_1 x - T x|^2`` of x ~ N(0, I) has

    g_k = B_kᵀ 𝒲 S P_kᵀ,   grad_{W_k} = B_kᵀ 𝒲 P_kᵀ,
    var(g_k | F_t) = (|B_kᵀ 𝒲|^2 |P_k|^2 + |B_kᵀ 𝒲 P_kᵀ|^2) / b.

Two layers are the network of Section 3.2 of arXiv 2004.13146 (equations 2 and 3), for which
`pipeline_lib.models.linear_network.two_layer` is faster.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from pipeline_lib.models.linear_network.two_layer import variance_of_one
from pipeline_lib.sampling.gaussian import GaussianBatch, Inputs
from pipeline_lib.training.replica_moments import sq_norms


class DeepLinearReplicas:
    """R linear networks of any depth in lock-step; the parameters are named W1, ..., WL.

    Args:
        weights: initial W_1 (n_1, n_0), ..., W_L (n_L, n_{L-1}), the same for all replicas; their
            device and precision are used.
        teacher: T, shape (n_L, n_0).

    Raises ValueError if shapes do not fit.
    """

    def __init__(self, weights: Sequence[Tensor], teacher: Tensor, n_replicas: int) -> None:
        widths = [weights[0].shape[1], *(weight.shape[0] for weight in weights)]
        expected = [(rows, columns) for columns, rows in pairwise(widths)]
        found = [tuple(weight.shape) for weight in weights]
        if found != expected or teacher.shape != (widths[-1], widths[0]):
            raise ValueError(
                f"layers {found} and teacher {tuple(teacher.shape)} do not form a network"
            )
        self.parameters = {
            f"W{k}": weight.repeat(n_replicas, 1, 1) for k, weight in enumerate(weights, start=1)
        }
        self.teacher = teacher.to(weights[0])

    def gradients(self, batch: GaussianBatch) -> dict[str, Tensor]:
        """Stochastic gradients g_k (R, n_k, n_{k-1}) of the mean loss."""
        if isinstance(batch, Inputs):
            xt = batch.x.mT
            return self._layer_gradients(self._residual() @ (xt / xt.shape[2]), self._below(xt))
        return self._layer_gradients(self._residual() @ batch.s, self._below())

    def full_gradients(self) -> dict[str, Tensor]:
        """Gradients of the population loss, (R, n_k, n_{k-1})."""
        return self._layer_gradients(self._residual(), self._below())

    def conditional_variance(self, batch_size: int) -> dict[str, Tensor]:
        """var(g_k | F_t) of each replica, (R,), float64: Gaussian fourth moments, any depth."""
        above, below = self._above(self._residual()), self._below()
        full = self._layer_gradients(self._residual(), below)
        p = self.teacher.shape[1]
        return {
            name: (
                sq_norms(left) * (p if right is None else sq_norms(right)) + sq_norms(full[name])
            )
            / batch_size
            for name, left, right in zip(self.parameters, above, below, strict=True)
        }

    def example_variance(
        self, conditional: Mapping[str, Tensor], batch_size: int
    ) -> dict[str, Tensor]:
        """`pipeline_lib.models.linear_network.two_layer.variance_of_one`."""
        return variance_of_one(conditional, batch_size)

    def _residual(self) -> Tensor:
        product = self._below()[-1]
        last = list(self.parameters.values())[-1]
        return (last if product is None else last @ product) - self.teacher

    def _below(self, inputs: Tensor | None = None) -> list[Tensor | None]:
        """P_k times ``inputs`` (R, p, b), or P_k; None stands for P_1, the identity."""
        products = [inputs]
        for weight in list(self.parameters.values())[:-1]:
            products.append(weight if products[-1] is None else weight @ products[-1])
        return products

    def _above(self, error: Tensor) -> list[Tensor]:
        """B_kᵀ ``error`` for k = 1..L, from ``error`` (R, n_L, m)."""
        products = [error]
        for weight in reversed(list(self.parameters.values())[1:]):
            products.append(weight.mT @ products[-1])
        return products[::-1]

    def _layer_gradients(self, error: Tensor, below: list[Tensor | None]) -> dict[str, Tensor]:
        return {
            name: left if right is None else torch.bmm(left, right.mT)
            for name, left, right in zip(self.parameters, self._above(error), below, strict=True)
        }
