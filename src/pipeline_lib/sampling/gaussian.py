"""Online mini-batches of x ~ N(0, I_p) for R replicas, as inputs or as their second moment.

A linear network sees a mini-batch X (b, p) only through S = XᵀX/b, so for b >= p the batch need not
be drawn at all: b S is Wishart(b, I_p) and has the Bartlett factor L L^T with independent
L_ii^2 ~ chi^2(b - i), i = 0..p-1, and L_ij ~ N(0, 1) below the diagonal (Bartlett 1933; Muirhead,
Aspects of Multivariate Statistical Theory, theorem 3.2.14). That is p(p+1)/2 numbers for b p.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Generator, Tensor

Form = Literal["inputs", "moment"]


@dataclass(frozen=True)
class Inputs:
    """Mini-batches themselves, ``x`` of shape (R, b, p)."""

    x: Tensor


@dataclass(frozen=True)
class SecondMoment:
    """``s`` = XᵀX/b of each replica's mini-batch, shape (R, p, p)."""

    s: Tensor


GaussianBatch = Inputs | SecondMoment


class GaussianSampler:
    """Draws a fresh mini-batch for every replica, on the generator's device.

    Args:
        n_features: p.
        batch_size: b >= 1.
        form: ``inputs`` draws X; ``moment`` draws S, directly when b >= p and from X below. Both
            are the same law; which is cheaper depends on the model.
        dtype: float32 or float64; the two draw different numbers from the same seed.

    The tensors of one draw are overwritten by the next.
    """

    def __init__(
        self,
        n_features: int,
        batch_size: int,
        n_replicas: int,
        generator: Generator,
        form: Form = "inputs",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"a mini-batch needs at least 1 example, got {batch_size}")
        self.n_features, self.batch_size, self.generator = n_features, batch_size, generator
        self.form: Form = form
        like: dict[str, Any] = {"dtype": dtype, "device": generator.device}
        self.direct = form == "moment" and batch_size >= n_features
        if self.direct:
            p = n_features
            rows, columns = torch.tril_indices(p, p, -1, device=generator.device)
            self._below = rows * p + columns
            self._diagonal = torch.arange(p, device=generator.device) * (p + 1)
            half_dof = (batch_size - torch.arange(p, **like)) / 2
            self._half_dof = half_dof.repeat(n_replicas, 1)
            self._normals = torch.empty(n_replicas, len(self._below), **like)
            self._factor = torch.zeros(n_replicas, p * p, **like)
        else:
            self._x = torch.empty(n_replicas, batch_size, n_features, **like)
        if form == "moment":
            self._s = torch.empty(n_replicas, n_features, n_features, **like)

    def __call__(self) -> GaussianBatch:
        """The next mini-batch of every replica."""
        if self.direct:
            return SecondMoment(self._wishart())
        x = self._x.normal_(generator=self.generator)
        if self.form == "inputs":
            return Inputs(x)
        return SecondMoment(second_moment(x, self._s))

    def _wishart(self) -> Tensor:
        # chi^2(d) = 2 Gamma(d/2)
        chi_squared = 2 * torch._standard_gamma(self._half_dof, generator=self.generator)
        self._normals.normal_(generator=self.generator)
        self._factor.index_copy_(1, self._diagonal, chi_squared.sqrt_())
        self._factor.index_copy_(1, self._below, self._normals)
        factor = self._factor.view(-1, self.n_features, self.n_features)
        scale = 1 / self.batch_size
        return torch.baddbmm(self._s, factor, factor.mT, beta=0, alpha=scale, out=self._s)


def second_moment(x: Tensor, out: Tensor | None = None) -> Tensor:
    """XᵀX/b, shape (R, p, p), of inputs (R, b, p)."""
    product = torch.bmm(x.mT, x) if out is None else torch.bmm(x.mT, x, out=out)
    return product.div_(x.shape[1])
