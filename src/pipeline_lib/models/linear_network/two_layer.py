"""R replicas of the two-layer linear network of Section 3.2, trained online (arXiv 2004.13146).

Student x -> W2 W1 x with W1 (p1, p) and W2 (p2, p1), teacher x -> T x, loss
``1/2 E |W2 W1 x - T x|^2``, the mean over a mini-batch of b examples. With the residual
``𝒲 = W2 W1 - T`` and S = XᵀX/b, equations 2 and 3 of the paper are

    g_1 = W2ᵀ 𝒲 S,   g_2 = 𝒲 S W1ᵀ,   grad_{W1} = W2ᵀ 𝒲,   grad_{W2} = 𝒲 W1ᵀ.

Three things make a run-iteration cheap. The products 𝒲 and W2ᵀ𝒲 serve the stochastic gradients,
the population gradients and the conditional variance. The gradients lie in the span of the columns
of W1 and the rows of W2, so a hidden layer wider than p + p2 is rotated, once, into a space of that
dimension (`reduce_hidden`), where the dynamics are the same and norms of gradients do not change.
And on CPU a compiled kernel takes each replica through a whole step (`two_layer_kernel`).
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pipeline_lib.sampling.gaussian import Form, GaussianBatch, Inputs
from pipeline_lib.training.replica_moments import sq_norms

W1, W2 = "W1", "W2"


def reduce_hidden(w1: Tensor, w2: Tensor) -> tuple[Tensor, Tensor]:
    """An equivalent network with min(p1, p + p2) hidden units: shapes (p1', p) and (p2, p1').

    ``[W1 | W2ᵀ] = Q Z`` with orthonormal columns Q (p1, p1'); the reduced weights are ``QᵀW1``
    and ``W2 Q``. Every update of W1 is W2ᵀ times something and every update of W2ᵀ is W1 times
    something, so full training stays in the span of Q: its weights are Q times the reduced ones,
    its gradients Q times the reduced gradients, and their squared norms, inner products, means and
    variances over replicas agree.
    """
    hidden, p = w1.shape
    if hidden <= p + w2.shape[0]:
        return w1, w2
    q = torch.linalg.qr(torch.cat([w1, w2.mT], dim=1)).Q
    return q.mT @ w1, w2 @ q


def multiplications(p: int, hidden: int, p2: int, batch_size: int) -> dict[Form, int]:
    """Multiply-adds of one run-iteration with all its statistics, by the form of the mini-batch.

    The products 𝒲, W2ᵀ𝒲 and 𝒲W1ᵀ; then through inputs ``𝒲Xᵀ``, ``W2ᵀ𝒲Xᵀ``, ``W1Xᵀ`` and two
    products of rank b, or through the moment S itself, ``𝒲S``, ``W2ᵀ𝒲S`` and ``𝒲SW1ᵀ``. Sums of
    squares, elementwise updates and random numbers are not counted.
    """
    shared = 3 * p2 * hidden * p
    through_inputs = batch_size * (p * (p2 + 2 * hidden) + hidden * (p + p2))
    through_moment = p * p * (min(batch_size, p) + p2 + hidden) + p2 * hidden * p
    return {"inputs": shared + through_inputs, "moment": shared + through_moment}


def preferred_form(p: int, hidden: int, p2: int, batch_size: int) -> Form:
    """The cheaper of the two forms of a mini-batch of ``batch_size`` examples."""
    counts = multiplications(p, hidden, p2, batch_size)
    return min(counts, key=counts.__getitem__)


def variance_given_weights(
    p: int,
    batch_size: int,
    residual: Tensor,
    first_layer: Tensor,
    full_sq_norms: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """var(g_1 | F_t) and var(g_2 | F_t), (R,), from squared norms (R,).

    ``(p+1)/b |W2ᵀ𝒲|^2`` and ``(|𝒲|^2 |W1|^2 + |𝒲W1ᵀ|^2)/b``: Gaussian fourth moments, the
    second being tr P tr Q + tr PQ for P = 𝒲ᵀ𝒲 and Q = W1ᵀW1. ``residual`` is |𝒲|^2,
    ``first_layer`` |W1|^2, ``full_sq_norms`` those of the population gradients.
    """
    return {
        W1: (p + 1) / batch_size * full_sq_norms[W1],
        W2: (residual * first_layer + full_sq_norms[W2]) / batch_size,
    }


def variance_of_one(conditional: Mapping[str, Tensor], batch_size: int) -> dict[str, Tensor]:
    """The variance of one example's gradient, (R,), from that of the mean of independent ones."""
    return {name: batch_size * variance for name, variance in conditional.items()}


class TwoLayerReplicas:
    """R two-layer linear networks in lock-step.

    Args:
        w1, w2: initial weights (p1, p) and (p2, p1), the same for all replicas; their device and
            precision are used. Reduce them first (`reduce_hidden`) for speed.
        teacher: T = W2* W1*, shape (p2, p).

    The tensors that `gradients` and `full_gradients` return are overwritten by the next call.
    Raises ValueError if shapes do not fit.
    """

    def __init__(self, w1: Tensor, w2: Tensor, teacher: Tensor, n_replicas: int) -> None:
        if w2.shape[1] != w1.shape[0] or teacher.shape != (w2.shape[0], w1.shape[1]):
            raise ValueError(
                f"expected W1 (p1, p), W2 (p2, p1) and T (p2, p), found {tuple(w1.shape)}, "
                f"{tuple(w2.shape)} and {tuple(teacher.shape)}"
            )
        self.parameters = {W1: w1.repeat(n_replicas, 1, 1), W2: w2.repeat(n_replicas, 1, 1)}
        self.teacher = teacher.to(w1).contiguous()
        self._buffers: dict[str, Tensor] = {}
        self._seen: list[tuple[Tensor, int]] = []

    def gradients(self, batch: GaussianBatch) -> dict[str, Tensor]:
        """Stochastic gradients g_1 (R, p1, p) and g_2 (R, p2, p1) of the mean loss."""
        residual, first = self._residual_and_first_gradient()
        w1 = self.parameters[W1]
        if isinstance(batch, Inputs):
            # S = XᵀX/b has rank b: the sums over examples are outer products of activations.
            xt, scaled = batch.x.mT, batch.x / batch.x.shape[1]
            back = self._product("W2ᵀ𝒲Xᵀ", first, xt)
            out = self._product("𝒲Xᵀ", residual, scaled.mT)
            hidden = self._product("W1Xᵀ", w1, xt)
            return {W1: self._product("g1", back, scaled), W2: self._product("g2", out, hidden.mT)}
        error = self._product("𝒲S", residual, batch.s)
        return {W1: self._product("g1", first, batch.s), W2: self._product("g2", error, w1.mT)}

    def full_gradients(self) -> dict[str, Tensor]:
        """Gradients of the population loss, W2ᵀ𝒲 (R, p1, p) and 𝒲W1ᵀ (R, p2, p1)."""
        residual, first = self._residual_and_first_gradient()
        return {W1: first, W2: self._product("𝒲W1ᵀ", residual, self.parameters[W1].mT)}

    def conditional_variance(self, batch_size: int) -> dict[str, Tensor]:
        """var(g_1 | F_t) and var(g_2 | F_t) of each replica, (R,), float64."""
        full = self.full_gradients()
        return self.conditional_variance_from_norms(
            batch_size, {name: sq_norms(gradient) for name, gradient in full.items()}
        )

    def conditional_variance_from_norms(
        self, batch_size: int, full_sq_norms: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """The same from the squared norms (R,) of the population gradients, if known already."""
        residual, _ = self._residual_and_first_gradient()
        return variance_given_weights(
            self.teacher.shape[1],
            batch_size,
            sq_norms(residual),
            sq_norms(self.parameters[W1]),
            full_sq_norms,
        )

    def example_variance(
        self, conditional: Mapping[str, Tensor], batch_size: int
    ) -> dict[str, Tensor]:
        """`variance_of_one`."""
        return variance_of_one(conditional, batch_size)

    def _residual_and_first_gradient(self) -> tuple[Tensor, Tensor]:
        """𝒲 and W2ᵀ𝒲, computed once for each state of the weights."""
        weights = [self.parameters[W1], self.parameters[W2]]
        unchanged = bool(self._seen) and all(
            weight is seen and weight._version == version
            for weight, (seen, version) in zip(weights, self._seen, strict=True)
        )
        if not unchanged:
            w1, w2 = weights
            residual = self._product("𝒲", w2, w1)
            residual -= self.teacher
            self._product("W2ᵀ𝒲", w2.mT, residual)
            self._seen = [(weight, weight._version) for weight in weights]
        return self._buffers["𝒲"], self._buffers["W2ᵀ𝒲"]

    def _buffer(self, name: str, shape: Sequence[int]) -> Tensor:
        """The memory kept under ``name``, made anew if its shape changes."""
        out = self._buffers.get(name)
        if out is None or out.shape != torch.Size(shape):
            out = self._buffers[name] = self.teacher.new_empty(tuple(shape))
        return out

    def _product(self, name: str, left: Tensor, right: Tensor) -> Tensor:
        """``left @ right`` for each replica, in the memory kept under ``name``."""
        out = self._buffer(name, (left.shape[0], left.shape[1], right.shape[2]))
        if left.shape[2] == 1:  # an outer product: batched matrix multiplication is slow at rank 1
            return torch.mul(left, right, out=out)
        return torch.bmm(left, right, out=out)
