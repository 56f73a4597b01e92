"""R replicas of any stateless ``torch.nn.Module``.

All replicas at once by ``vmap(grad(...))`` of torch.func, or one after the other where a module
holds what vmap cannot take. Hand-derived stacks such as `pipeline_lib.models.perceptron.replicas`
are faster.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from pipeline_lib.errors import ConfigError
from pipeline_lib.training.example_gradients import moments_of_examples
from pipeline_lib.training.flat import FlatTensors, can_be_flat
from pipeline_lib.training.labelled import (
    ChosenBatch,
    Evaluation,
    ExampleMoments,
    LabelledBatch,
)
from pipeline_lib.training.module_state import (
    copy_of,
    evaluation_mode,
    refuse_running_statistics,
)
from pipeline_lib.training.objective import (
    COUPLED,
    MEAN,
    WEIGHTED,
    Loss,
    Objective,
    call_arguments,
    scores_of,
    wrong_labels,
)
from pipeline_lib.training.trees import (
    Tree,
    chunks,
    copied,
    device_of,
    joined,
    mapped,
    n_rows,
    rows,
)

_Tensors = dict[str, Tensor]
Meanwhile = Callable[[], object]


class ModuleReplicas:
    """R copies of ``module`` in lock-step, with the protocol of `LabelledStack`.

    ``parameters`` lie in one buffer, `FlatTensors`, unless they have several precisions, and so do
    gradients. They are real: a complex parameter is stored with its real and imaginary parts along
    a last dimension of 2, so that squares and updates are those of its real coordinates.

    Args:
        module: taken with its weights and the training mode of each part, and left as it is.
            Parameters that need no gradient stay as they are, and so do buffers.
        loss: an objective, or ``loss(outputs, targets)``, the mean over the examples of a batch,
            shape ().
        device: where to train; the module's own if None.
        vectorised: all replicas at once, or one after the other. Numbers agree but for rounding,
            and but for random layers: these draw afresh for each replica.
        sample: a batch to check module and loss on at once, rather than on the first batch. An
            objective has been checked by who made it.

    Raises ConfigError if training changes a buffer or if the loss is no mean over examples.
    """

    def __init__(
        self,
        module: nn.Module,
        loss: Loss | Objective,
        n_replicas: int,
        device: torch.device | str | None = None,
        vectorised: bool = True,
        sample: LabelledBatch | None = None,
    ) -> None:
        refuse_running_statistics(module)
        self._module = copy_of(module).to(device)
        self._is_checked = isinstance(loss, Objective)
        self._objective = (
            loss if isinstance(loss, Objective) else Objective(loss, MEAN, wrong_labels)
        )
        self._loss = self._objective.loss
        self._vectorised = vectorised
        self._examples_vectorised = vectorised
        self._trained = {n: p for n, p in self._module.named_parameters() if p.requires_grad}
        self._complex = {name for name, p in self._trained.items() if p.is_complex()}
        self._fixed: _Tensors = {
            name: p.detach() for name, p in self._module.named_parameters() if not p.requires_grad
        } | dict(self._module.named_buffers())
        real = {name: _real(p.detach()) for name, p in self._trained.items()}
        self.parameters: _Tensors = (
            FlatTensors.repeated(real, n_replicas)
            if can_be_flat(real)
            else {name: p.repeat(n_replicas, *[1] * p.ndim) for name, p in real.items()}
        )
        self._gradients: _Tensors = {}
        self._dtype = next(iter(self.parameters.values())).dtype
        if sample is not None and not self._is_checked:
            self._check(sample)

    def gradients(self, batch: LabelledBatch) -> dict[str, Tensor]:
        """Gradients of the mean loss over each replica's batch, (R, *shape) a parameter.

        The next call overwrites them.
        """
        if not self._is_checked:
            self._check(batch)
        x, y = batch.x, batch.y
        if self._vectorised:
            gradient = vmap(grad(self._loss_of), randomness="different")
            return self._kept(gradient(dict(self.parameters), x, y))
        for r in range(self._n_replicas):
            self._load(r)
            self._keep(r, self._gradient_in_turn(rows(x, r), rows(y, r)))
        return self._gradients

    def example_moments(
        self, step: int, examples: ChosenBatch, twice: ChosenBatch
    ) -> ExampleMoments:
        """See `ExampleStack`; the loss is a mean over examples."""
        with torch.random.fork_rng([self._device] if self._device.type == "cuda" else []):
            return moments_of_examples(self.parameters, examples, twice, self._example_gradients)

    def descend(self, batch: LabelledBatch, learning_rate: float) -> None:
        """One step of plain SGD."""
        for name, gradient in self.gradients(batch).items():
            self.parameters[name].sub_(gradient, alpha=learning_rate)

    @torch.no_grad()
    def evaluate(
        self,
        x: Tree,
        y: Tree,
        chunk: int = 1000,
        meanwhile: Meanwhile = lambda: None,
    ) -> Evaluation:
        """Loss and mean error over x (n, ...) and y (n, ...) in evaluation mode, by replica.

        A loss that is a mean is the mean over all examples, a weighted one that of the whole set at
        once. If examples are coupled it is the mean over consecutive mini-batches of ``chunk``
        examples, which is to be the size of training; examples that fill none are left out.
        Without a metric the error is NaN. ``meanwhile`` is called after each chunk, or each
        replica's if these take turns, and may raise to leave.
        """
        if self._objective.kind == COUPLED and n_rows(y) > chunk:
            whole = slice(n_rows(y) // chunk * chunk)
            x, y = rows(x, whole), rows(y, whole)
        with evaluation_mode(self._module):
            if self._objective.kind == WEIGHTED:
                sums = self._whole(x, y, chunk, meanwhile)
            elif self._vectorised:
                sums = self._in_step(x, y, chunk, meanwhile)
            else:
                sums = self._in_turn(x, y, chunk, meanwhile)
        loss, wrong = sums / n_rows(y)
        return Evaluation(loss, wrong)

    def state(self) -> dict[str, Any]:
        """States of torch's own generators, from which random layers draw.

        A check of the first batch draws, too: whether it is still to be made belongs to them.
        """
        generators = {"cpu": torch.random.get_rng_state()}
        if self._device.type == "cuda":
            generators["cuda"] = torch.cuda.get_rng_state(self._device)
        return {"generators": generators, "is_checked": self._is_checked}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave, also in a stack that has not seen a batch yet."""
        self._is_checked = state["is_checked"]
        generators = state["generators"]
        torch.random.set_rng_state(generators["cpu"])
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(generators["cuda"], self._device)

    @property
    def _device(self) -> torch.device:
        return next(iter(self.parameters.values())).device

    @property
    def _n_replicas(self) -> int:
        return len(next(iter(self.parameters.values())))

    def _kept(self, gradients: _Tensors) -> _Tensors:
        """Gradients (R, *shape) where an update takes them."""
        if not isinstance(self.parameters, FlatTensors):
            return gradients
        kept = self._kept_gradients()
        assert isinstance(kept, FlatTensors)
        kept.fill(gradients)
        return kept

    def _keep(self, replica: int, gradients: _Tensors) -> None:
        """The same for one replica's (*shape)."""
        kept = self._kept_gradients()
        if isinstance(kept, FlatTensors):
            kept.fill_replica(replica, gradients)
            return
        for name, gradient in gradients.items():
            kept[name][replica] = gradient

    def _kept_gradients(self) -> _Tensors:
        """Memory of gradients, from the first call on."""
        if not self._gradients:
            own = self.parameters
            self._gradients = (
                own.zeros()
                if isinstance(own, FlatTensors)
                else {name: torch.empty_like(p) for name, p in own.items()}
            )
        return self._gradients

    def _outputs(self, parameters: _Tensors, x: Tree) -> Any:
        own = {
            name: torch.view_as_complex(p) if name in self._complex else p
            for name, p in parameters.items()
        }
        places, names = call_arguments(x, self._dtype)
        return scores_of(functional_call(self._module, own | self._fixed, places, names))

    def _loss_of(self, parameters: _Tensors, x: Tree, y: Tree) -> Tensor:
        return self._loss(self._outputs(parameters, x), y)

    def _example_gradients(self, replica: int, x: Tree, y: Tree) -> _Tensors:
        """Gradients (n, *shape) of the losses of the single examples of one replica."""
        singles = mapped(lambda part: part[:, None], (x, y))
        if self._examples_vectorised:
            parameters = {name: p[replica] for name, p in self.parameters.items()}
            of_each = vmap(grad(self._loss_of), (None, 0, 0), randomness="different")
            gradients: _Tensors = of_each(parameters, *singles)
            return gradients
        self._load(replica)
        of_examples = [self._gradient_in_turn(*rows(singles, i)) for i in range(n_rows(y))]
        return {name: torch.stack([one[name] for one in of_examples]) for name in self._trained}

    def _gradient_in_turn(self, x: Tree, y: Tree) -> _Tensors:
        """Gradients of the loss of a batch by the weights that the module holds now."""
        gradients = torch.autograd.grad(
            self._loss(self._call(copied(x)), copied(y)),
            list(self._trained.values()),
            allow_unused=True,
            materialize_grads=True,
        )
        # Embeddings can give sparse ones.
        dense = (gradient.to_dense() for gradient in gradients)
        return {name: _real(one) for name, one in zip(self._trained, dense, strict=True)}

    def _call(self, x: Tree) -> Any:
        """Outputs with the weights that the module holds now."""
        places, names = call_arguments(x, self._dtype)
        return scores_of(self._module(*places, **names))

    @torch.no_grad()
    def _load(self, replica: int) -> None:
        """Give the module the weights of one replica.

        In place: a module may hold its weights under other names too, as recurrent ones do, and
        compiled ones cannot be called with others.
        """
        for name, p in self._trained.items():
            own = self.parameters[name][replica]
            p.copy_(torch.view_as_complex(own) if name in self._complex else own)

    def _in_step(self, x: Tree, y: Tree, chunk: int, meanwhile: Meanwhile) -> Tensor:
        """Sums over examples of loss and error, (2, R), of all replicas at once."""
        total = torch.zeros(2, self._n_replicas, dtype=torch.float64, device=device_of(y))

        def of_replica(parameters: _Tensors, inputs: Tree, targets: Tree) -> Tensor:
            return self._sums(self._outputs(parameters, inputs), targets)

        own = dict(self.parameters)
        for inputs, targets in zip(chunks(x, chunk), chunks(y, chunk), strict=True):
            total += vmap(of_replica, (0, None, None))(own, inputs, targets).T
            meanwhile()
        return total

    def _in_turn(self, x: Tree, y: Tree, chunk: int, meanwhile: Meanwhile) -> Tensor:
        """The same, one replica after the other."""
        total = torch.zeros(2, self._n_replicas, dtype=torch.float64, device=device_of(y))
        for r in range(self._n_replicas):
            self._load(r)
            for inputs, targets in zip(chunks(x, chunk), chunks(y, chunk), strict=True):
                total[:, r] += self._sums(self._call(inputs), targets)
                meanwhile()
        return total

    def _whole(self, x: Tree, y: Tree, chunk: int, meanwhile: Meanwhile) -> Tensor:
        """The same for a loss that has its own weights: outputs of all examples, then one loss."""
        total = torch.zeros(2, self._n_replicas, dtype=torch.float64, device=device_of(y))
        for r in range(self._n_replicas):
            self._load(r)
            outputs = joined([self._call(inputs) for inputs in chunks(x, chunk)])
            total[:, r] = self._sums(outputs, copied(y))
            meanwhile()
        return total

    def _sums(self, outputs: Any, y: Tree) -> Tensor:
        """Sums over examples of loss and error, (2,)."""
        error = self._objective.error
        wrong = None if error is None else error(outputs, y).double().sum()
        total = self._loss(outputs, y).double() * n_rows(y)
        return torch.stack([total, torch.full_like(total, torch.nan) if wrong is None else wrong])

    @torch.no_grad()
    def _check(self, batch: LabelledBatch) -> None:
        """Try the first replica's module and loss on its batch; ConfigError if they do not fit."""
        parameters = {name: p[0] for name, p in self.parameters.items()}
        x, y = rows(batch.x, 0), rows(batch.y, 0)
        before = {name: buffer.clone() for name, buffer in self._fixed.items()}
        places, names = call_arguments(copied(x), self._dtype)
        functional_call(self._module, parameters | before, places, names)
        for name, buffer in self._fixed.items():
            if not torch.equal(before[name], buffer):
                raise ConfigError(
                    f"module: training changes the buffer {name!r}, so replicas would not be "
                    "independent; allowed are modules without running state"
                )
        with evaluation_mode(self._module):  # without dropout
            once = self._loss_of(parameters, copied(x), copied(y))
            twice = self._loss_of(parameters, joined([x, x]), joined([y, y]))
        if once.shape != () or not torch.allclose(once, twice, rtol=1e-3, equal_nan=True):
            found = f"{tuple(once.shape)}" if once.shape != () else f"{once:.6g} and {twice:.6g}"
            raise ConfigError(
                "loss must be the mean over examples: a batch, and the same batch twice over, "
                f"gave {found}; allowed is one number, the same for both"
            )
        self._is_checked = True


def _real(tensor: Tensor) -> Tensor:
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
