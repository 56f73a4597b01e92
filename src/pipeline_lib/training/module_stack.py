"""R replicas of any stateless ``torch.nn.Module``, through torch.func.

All replicas at once by ``vmap(grad(...))``, or one after the other where a module holds what vmap
cannot take. Hand-derived stacks such as `pipeline_lib.models.perceptron.replicas` are faster.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.modules.batchnorm import _NormBase

from pipeline_lib.errors import ConfigError
from pipeline_lib.training.labelled import Evaluation, LabelledBatch

Loss = Callable[[Tensor, Tensor], Tensor]
_Tensors = dict[str, Tensor]


class ModuleReplicas:
    """R copies of ``module`` in lock-step, with the protocol of `LabelledStack`.

    Args:
        module: taken with its weights and its training mode, and left as it is. Parameters that
            need no gradient stay as they are, and so do buffers.
        loss: ``loss(outputs, targets)``, the mean over the examples of a batch, shape ().
        device: where to train; the module's own if None.
        vectorised: all replicas at once, or one after the other. Numbers agree but for rounding,
            and but for random layers: these draw afresh for each replica.
        sample: a batch to check module and loss on at once, rather than on the first batch.

    Raises ConfigError if training changes a buffer or if the loss is no mean over examples.
    """

    def __init__(
        self,
        module: nn.Module,
        loss: Loss,
        n_replicas: int,
        device: torch.device | str | None = None,
        vectorised: bool = True,
        sample: LabelledBatch | None = None,
    ) -> None:
        _refuse_running_statistics(module)
        self._module = copy.deepcopy(module).to(device)
        self._loss = loss
        self._vectorised = vectorised
        self._fixed: _Tensors = {
            name: p.detach() for name, p in self._module.named_parameters() if not p.requires_grad
        } | dict(self._module.named_buffers())
        self.parameters: _Tensors = {
            name: p.detach().repeat(n_replicas, *[1] * p.ndim)
            for name, p in self._module.named_parameters()
            if p.requires_grad
        }
        self._is_checked = False
        if sample is not None:
            self._check(sample)

    def gradients(self, batch: LabelledBatch) -> dict[str, Tensor]:
        """Gradients of the mean loss over each replica's batch, (R, *shape) a parameter."""
        if not self._is_checked:
            self._check(batch)
        if self._vectorised:
            gradient = vmap(grad(self._loss_of), randomness="different")
            gradients: _Tensors = gradient(self.parameters, batch.x, batch.y)
            return gradients
        gradients = {name: torch.empty_like(p) for name, p in self.parameters.items()}
        for r, (x, y) in enumerate(zip(batch.x, batch.y, strict=True)):
            leaves = {name: p[r].detach().requires_grad_() for name, p in self.parameters.items()}
            of_replica = torch.autograd.grad(
                self._loss_of(leaves, x, y),
                list(leaves.values()),
                allow_unused=True,
                materialize_grads=True,
            )
            for name, gradient_of_tensor in zip(leaves, of_replica, strict=True):
                gradients[name][r] = gradient_of_tensor
        return gradients

    def descend(self, batch: LabelledBatch, learning_rate: float) -> None:
        """One step of plain SGD."""
        for name, gradient in self.gradients(batch).items():
            self.parameters[name].sub_(gradient, alpha=learning_rate)

    @torch.no_grad()
    def evaluate(
        self,
        x: Tensor,
        y: Tensor,
        chunk: int = 1000,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> Evaluation:
        """Means over x (n, ...) and y (n,), by replica, with the module in evaluation mode.

        The label is the largest output; where outputs are no scores of classes (n, C), the error
        is NaN. ``meanwhile`` is called after each chunk, or each replica's if these take turns, and
        may raise to leave.
        """
        n_replicas = len(next(iter(self.parameters.values())))
        loss = torch.zeros(n_replicas, dtype=torch.float64, device=x.device)
        wrong = torch.zeros_like(loss)
        with self._evaluation_mode():
            parts = zip(torch.split(x, chunk), torch.split(y, chunk), strict=True)
            for inputs, targets in parts:
                of_chunk = self._sums(inputs, targets, meanwhile)
                loss += of_chunk[0]
                wrong += of_chunk[1]
        return Evaluation(loss / len(y), wrong / len(y))

    def state(self) -> dict[str, Any]:
        """States of torch's own generators, from which random layers draw."""
        generators = {"cpu": torch.random.get_rng_state()}
        if self._device.type == "cuda":
            generators["cuda"] = torch.cuda.get_rng_state(self._device)
        return {"generators": generators}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave, also in a stack that has not seen a batch yet."""
        # Checked before the state was taken; random layers would draw for it once more.
        self._is_checked = True
        generators = state["generators"]
        torch.random.set_rng_state(generators["cpu"])
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(generators["cuda"], self._device)

    @property
    def _device(self) -> torch.device:
        return next(iter(self.parameters.values())).device

    def _outputs(self, parameters: _Tensors, x: Tensor) -> Tensor:
        outputs: Tensor = functional_call(self._module, parameters | self._fixed, (x,))
        return outputs

    def _loss_of(self, parameters: _Tensors, x: Tensor, y: Tensor) -> Tensor:
        return self._loss(self._outputs(parameters, x), y)

    def _sums(self, x: Tensor, y: Tensor, meanwhile: Callable[[], object]) -> tuple[Tensor, Tensor]:
        """Sums over examples of loss and of wrong labels, (R,) each."""
        if self._vectorised:
            sums: tuple[Tensor, Tensor] = vmap(self._sums_of, (0, None, None))(
                self.parameters, x, y
            )
            meanwhile()
            return sums
        each = []
        for r in range(len(next(iter(self.parameters.values())))):
            of_replica = {name: p[r] for name, p in self.parameters.items()}
            each.append(self._sums_of(of_replica, x, y))
            meanwhile()
        return torch.stack([loss for loss, _ in each]), torch.stack([wrong for _, wrong in each])

    def _sums_of(self, parameters: _Tensors, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Sums over examples of loss and of wrong labels, of one replica."""
        outputs = self._outputs(parameters, x)
        total = self._loss(outputs, y).double() * len(y)
        if outputs.shape[:-1] != y.shape or y.is_floating_point():
            return total, torch.full_like(total, torch.nan)
        return total, (outputs.argmax(dim=-1) != y).sum().double()

    @contextmanager
    def _evaluation_mode(self) -> Iterator[None]:
        modes = [(part, part.training) for part in self._module.modules()]
        self._module.eval()
        try:
            yield
        finally:
            for part, training in modes:
                part.training = training

    @torch.no_grad()
    def _check(self, batch: LabelledBatch) -> None:
        """Try the first replica's module and loss on its batch; ConfigError if they do not fit."""
        parameters = {name: p[0] for name, p in self.parameters.items()}
        x, y = batch.x[0], batch.y[0]
        before = {name: buffer.clone() for name, buffer in self._fixed.items()}
        functional_call(self._module, parameters | before, (x,))
        for name, buffer in self._fixed.items():
            if not torch.equal(before[name], buffer):
                raise ConfigError(
                    f"module: training changes the buffer {name!r}, so replicas would not be "
                    "independent; allowed are modules without running state"
                )
        with self._evaluation_mode():  # without dropout
            once = self._loss_of(parameters, x, y)
            twice = self._loss_of(parameters, torch.cat([x, x]), torch.cat([y, y]))
        if once.shape != () or not torch.allclose(once, twice, rtol=1e-3, equal_nan=True):
            found = f"{tuple(once.shape)}" if once.shape != () else f"{once:.6g} and {twice:.6g}"
            raise ConfigError(
                "loss must be the mean over examples: a batch, and the same batch twice over, "
                f"gave {found}; allowed is one number, the same for both"
            )
        self._is_checked = True


def _refuse_running_statistics(module: nn.Module) -> None:
    for name, part in module.named_modules():
        if isinstance(part, _NormBase) and part.training and part.running_mean is not None:
            raise ConfigError(
                f"module: {name or 'itself'} is a {type(part).__name__} with running statistics, "
                "which mix examples and steps; allowed is for example GroupNorm"
            )
