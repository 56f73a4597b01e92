"""R replicas of a multi-layer perceptron with biases, ReLU and softmax cross-entropy.

With ``h_0 = x``, ``z_k = h_{k-1} W_kᵀ + b_k`` and ``h_k = max(z_k, 0)`` for rows of examples, the
mean cross-entropy of softmax(z_L) over b examples has, for ``d_L = softmax(z_L) - onehot(y)``,

    grad W_k = d_kᵀ h_{k-1} / b,   grad b_k = 1ᵀ d_k / b,   d_{k-1} = (d_k W_k) where z_{k-1} > 0.

A plain step of SGD adds the product ``-lr/b d_kᵀ h_{k-1}`` to W_k as it is computed, so no gradient
is ever stored. On a CUDA device each product takes all replicas at once. On CPU each replica makes
its steps on one core, as many as are asked for in one go, so that its weights stay in the cache,
and replicas go side by side; products cut over several cores would wait for each other many times
a step.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from pipeline_lib.models.perceptron.memory import EXAMPLES_AT_ONCE
from pipeline_lib.training.labelled import ChosenBatch, Evaluation, ExampleMoments, LabelledBatch

# What to do with layer k of the replicas of a slice, given d_k (r, b, out) and h_{k-1} (r, b, in).
_Use = Callable[[slice, int, Tensor, Tensor], None]


class MlpReplicas:
    """R perceptrons in lock-step; the parameters are named W1, b1, ..., WL, bL.

    Args:
        weights: initial W_k (n_k, n_{k-1}) and b_k (n_k,), the same for all replicas; their device
            and precision are used.
        threads: replicas that step at the same time on CPU, one core each. No value depends on it.

    The tensors that `gradients` returns are overwritten by its next call. Raises ValueError if
    names or shapes do not fit.
    """

    def __init__(self, weights: Mapping[str, Tensor], n_replicas: int, threads: int = 1) -> None:
        self.n_layers = _check(weights)
        self.parameters = {
            name: weight.repeat(n_replicas, *[1] * weight.ndim) for name, weight in weights.items()
        }
        self._gradients: dict[str, Tensor] = {}
        self._scratch = _Scratch()
        self._pool: ThreadPoolExecutor | None = None
        self._parts = [slice(0, n_replicas)]
        if self.parameters["W1"].device.type == "cpu":
            self._parts = [slice(r, r + 1) for r in range(n_replicas)]
            # Each worker sets torch to one thread for itself; other threads keep theirs.
            self._pool = ThreadPoolExecutor(
                threads, initializer=torch.set_num_threads, initargs=(1,)
            )

    def gradients(self, batch: LabelledBatch) -> dict[str, Tensor]:
        """Gradients of the mean cross-entropy, one tensor (R, *shape) a parameter.

        ``batch`` holds x (R, b, p) in the precision of the weights and y (R, b) int64.
        """
        self._gradients = self._gradients or self._like_parameters()
        scale = 1 / batch.size

        def store(part: slice, k: int, delta: Tensor, below: Tensor) -> None:
            weight, bias = self._gradients[f"W{k}"][part], self._gradients[f"b{k}"][part]
            torch.baddbmm(weight, delta.mT, below, beta=0, alpha=scale, out=weight)
            torch.sum(delta, dim=1, out=bias).mul_(scale)

        self._for_each_part(lambda part: self._propagate(part, *batch.part(part), store))
        return self._gradients

    def example_moments(
        self, step: int, examples: ChosenBatch, twice: ChosenBatch
    ) -> ExampleMoments:
        """See `ExampleStack`; no gradient of a single example is formed.

        That of W_k is d_k h_{k-1}ᵀ, with the squared norm |d_k|² |h_{k-1}|², that of b_k is d_k.
        """
        self._gradients = self._gradients or self._like_parameters()
        n_replicas, size = len(self.parameters["W1"]), examples.size
        sums = {
            name: torch.zeros(n_replicas, dtype=torch.float64, device=p.device)
            for name, p in self.parameters.items()
        }

        def work(part: slice) -> None:
            for gradient in self._gradients.values():
                gradient[part] = 0

            def add(part: slice, k: int, delta: Tensor, below: Tensor) -> None:
                weight, bias = self._gradients[f"W{k}"][part], self._gradients[f"b{k}"][part]
                weight.baddbmm_(delta.mT, below, alpha=1 / size)
                bias.add_(delta.sum(dim=1), alpha=1 / size)
                of_delta, of_below = (t.square().sum(dim=2).double() for t in (delta, below))
                sums[f"W{k}"][part] += (of_delta * of_below).sum(dim=1)
                sums[f"b{k}"][part] += of_delta.sum(dim=1)

            for piece in examples.pieces(EXAMPLES_AT_ONCE):
                self._propagate(part, *piece.part(part), add)

        self._for_each_part(work)
        return ExampleMoments(self._gradients, {name: s / size for name, s in sums.items()}, {})

    def descend(self, batch: LabelledBatch, learning_rate: float) -> None:
        """One step of SGD: ``parameters -= learning_rate * gradients``, fused into the products."""
        self.descend_through([batch], [learning_rate])

    def descend_through(
        self, batches: Sequence[LabelledBatch], learning_rates: Sequence[float]
    ) -> None:
        """One step after the other; on CPU a replica takes all of them before the next replica."""

        def descend(part: slice) -> None:
            for batch, learning_rate in zip(batches, learning_rates, strict=True):
                self._descend_part(part, batch, -learning_rate / batch.size)

        self._for_each_part(descend)

    def evaluate(
        self,
        x: Tensor,
        y: Tensor,
        chunk: int = 1000,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> Evaluation:
        """Mean cross-entropy and share of wrong labels over x (n, p) and y (n,), by replica.

        Takes ``chunk`` examples at a time, which bounds the memory. ``meanwhile`` is called after
        each replica on CPU, after all of them on a CUDA device, and may raise to leave. Replicas
        that still share their weights, as before the first step, are evaluated once.
        """
        shared = all(torch.equal(p, p[:1].expand_as(p)) for p in self.parameters.values())
        n_replicas = len(self.parameters["W1"])
        loss = torch.zeros(n_replicas, dtype=torch.float64, device=x.device)
        wrong = torch.zeros_like(loss)

        def add(part: slice) -> None:
            for inputs, labels in zip(torch.split(x, chunk), torch.split(y, chunk), strict=True):
                logits = self._logits_of_shared(part, inputs)
                given = labels.expand(logits.shape[:2])
                likelihood = logits.log_softmax(dim=2).gather(2, given[..., None])
                loss[part] -= likelihood.sum(dim=(1, 2), dtype=torch.float64)
                wrong[part] += (logits.argmax(dim=2) != given).sum(dim=1)

        self._for_each_part(add, meanwhile, [slice(0, 1)] if shared else self._parts)
        if shared:
            loss, wrong = (of_all[:1].expand(n_replicas).clone() for of_all in (loss, wrong))
        return Evaluation(loss / len(y), wrong / len(y))

    def _descend_part(self, part: slice, batch: LabelledBatch, alpha: float) -> None:
        def update(part: slice, k: int, delta: Tensor, below: Tensor) -> None:
            self.parameters[f"W{k}"][part].baddbmm_(delta.mT, below, alpha=alpha)
            self.parameters[f"b{k}"][part].add_(delta.sum(dim=1), alpha=alpha)

        self._propagate(part, *batch.part(part), update)

    def _like_parameters(self) -> dict[str, Tensor]:
        return {name: torch.empty_like(p) for name, p in self.parameters.items()}

    def _propagate(self, part: slice, x: Tensor, y: Tensor, use: _Use) -> None:
        """Forward and back for the replicas of ``part``; ``use`` sees the layers from the top."""
        weights = [self.parameters[f"W{k}"][part] for k in range(1, self.n_layers + 1)]
        biases = [self.parameters[f"b{k}"][part] for k in range(1, self.n_layers + 1)]
        activations = [x]
        for k, (weight, bias) in enumerate(zip(weights, biases, strict=True), start=1):
            below = activations[-1]
            z = self._scratch.get(f"z{k}", x, (*x.shape[:2], weight.shape[1]))
            torch.baddbmm(bias[:, None], below, weight.mT, out=z)
            activations.append(z.relu_() if k < self.n_layers else z)
        delta = activations.pop().softmax(dim=2)
        targets = y[..., None]
        delta.scatter_add_(2, targets, delta.new_full((1, 1, 1), -1).expand(targets.shape))
        for k in range(self.n_layers, 0, -1):
            below, above = activations.pop(), delta
            if k > 1:  # through the weights as they are before the update
                delta = self._scratch.get(f"d{k}", x, below.shape)
                torch.bmm(above, weights[k - 1], out=delta)
                torch.ops.aten.threshold_backward.grad_input(delta, below, 0, grad_input=delta)
            use(part, k, above, below)

    def _logits_of_shared(self, part: slice, x: Tensor) -> Tensor:
        """Outputs (r, n, n_L) for examples (n, p) that the replicas of ``part`` share."""
        first, bias = self.parameters["W1"][part], self.parameters["b1"][part]
        # One product for all: the replicas' units side by side, as one wide layer.
        wide = self._scratch.get("wide", x, (len(x), bias.numel()))
        torch.addmm(bias.flatten(), x, first.flatten(0, 1).mT, out=wide)
        z = wide.view(len(x), *first.shape[:2]).transpose(0, 1)
        for k in range(2, self.n_layers + 1):
            weight, bias = self.parameters[f"W{k}"][part], self.parameters[f"b{k}"][part]
            out = self._scratch.get(f"shared z{k}", x, (*z.shape[:2], weight.shape[1]))
            z = torch.baddbmm(bias[:, None], z.relu_(), weight.mT, out=out)
        return z

    def _for_each_part(
        self,
        work: Callable[[slice], None],
        meanwhile: Callable[[], object] = lambda: None,
        parts: Sequence[slice] | None = None,
    ) -> None:
        parts = self._parts if parts is None else parts
        done: Iterable[None] = map(work, parts)
        if self._pool is not None:
            done = self._pool.map(work, parts)
        for _ in done:
            meanwhile()


class _Scratch(threading.local):
    """Memory of activations, kept by each thread from one replica to the next."""

    def __init__(self) -> None:
        self._kept: dict[str, Tensor] = {}

    def get(self, name: str, like: Tensor, shape: Sequence[int]) -> Tensor:
        """Uninitialised memory of ``shape``, in the precision and on the device of ``like``."""
        kept = self._kept.get(name)
        if kept is None or kept.shape != torch.Size(shape):
            kept = self._kept[name] = like.new_empty(tuple(shape))
        return kept


def _check(weights: Mapping[str, Tensor]) -> int:
    """The number of layers; ValueError if ``weights`` are not those of a perceptron."""
    n_layers = len(weights) // 2
    names = [f"{kind}{k}" for k in range(1, n_layers + 1) for kind in ("W", "b")]
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    fits = n_layers > 0 and set(names) == set(weights)
    fits = fits and all(len(shapes[f"W{k}"]) == 2 for k in range(1, n_layers + 1))
    for k in range(1, n_layers + 1) if fits else ():
        fits = fits and shapes[f"b{k}"] == shapes[f"W{k}"][:1]
        fits = fits and (k == 1 or shapes[f"W{k}"][1:] == shapes[f"W{k - 1}"][:1])
    if not fits:
        raise ValueError(f"expected W1, b1, W2, b2, ... that form a network, found {shapes}")
    return n_layers
