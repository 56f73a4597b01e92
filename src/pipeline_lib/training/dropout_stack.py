"""R replicas of a module with dropout whose draws belong to the replica and the step.

So neither stopping and resuming nor, apart from rounding, training a block in groups changes a run.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import grad_and_value, vmap

from pipeline_lib.seeding import torch_seed
from pipeline_lib.training.example_gradients import moments_of_examples
from pipeline_lib.training.labelled import (
    BatchResult,
    ChosenBatch,
    ExampleMoments,
    LabelledBatch,
)
from pipeline_lib.training.module_stack import ModuleReplicas
from pipeline_lib.training.objective import Loss
from pipeline_lib.training.trees import Tree


class DropoutReplicas(ModuleReplicas):
    """`ModuleReplicas` of a classifier with random layers seeded by replica and step.

    Args:
        replicas: their numbers within the block.
        stream: seeds the random layers; to be another than that of the examples' orders.
        vectorised: all replicas at once by vmap, with one seed for them all (then draws depend on
            the first replica of the group), or one after the other, with the activations of one
            replica in memory. Which is faster depends on the size: vmap saves calls of operations,
            which counts where these are tiny; at the size of the paper both take as long.

    Everything else as there. Torch's own random state is left as it was.
    """

    def __init__(
        self,
        module: nn.Module,
        loss: Loss,
        replicas: range,
        stream: np.random.SeedSequence,
        device: torch.device | str | None = None,
        vectorised: bool = False,
    ) -> None:
        super().__init__(module, loss, len(replicas), device, vectorised)
        self._examples_vectorised = True
        self._replicas = replicas
        self._stream = stream
        self._zeros: dict[str, Tensor] = {}

    def gradients_at(self, step: int, batch: LabelledBatch) -> BatchResult:
        """See `BatchResult`; the next call overwrites the gradients."""
        x, y = batch.x, batch.y
        if not self._is_checked:
            with self._seeded(self._replicas[0], step):
                self._check(batch)
        if self._vectorised:
            of_all = vmap(grad_and_value(self._loss_and_wrong, has_aux=True), 0, 0, "different")
            with self._seeded(self._replicas[0], step):
                gradients, (loss, wrong) = of_all(dict(self.parameters), x, y)
            return BatchResult(self._kept(gradients), loss.double(), wrong)
        losses, wrongs = [], []
        for r, replica in enumerate(self._replicas):
            leaves = {name: p[r].detach().requires_grad_() for name, p in self.parameters.items()}
            with self._seeded(replica, step):
                loss, wrong = self._loss_and_wrong(leaves, x[r], y[r])
                of_replica = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
            gradients = zip(leaves, of_replica, strict=True)
            self._keep(r, {n: self._zero(n) if g is None else g for n, g in gradients})
            losses.append(loss.detach().double())
            wrongs.append(wrong)
        return BatchResult(self._gradients, torch.stack(losses), torch.stack(wrongs))

    def example_moments(
        self, step: int, examples: ChosenBatch, twice: ChosenBatch
    ) -> ExampleMoments:
        """See `ExampleStack`; one replica and some examples after the other."""
        calls = [0] * len(self._replicas)

        def of_replica(r: int, x: Tree, y: Tree) -> dict[str, Tensor]:
            calls[r] += 1
            with self._seeded(self._replicas[r], step, calls[r]):
                return self._example_gradients(r, x, y)

        return moments_of_examples(self.parameters, examples, twice, of_replica)

    def state(self) -> dict[str, Any]:
        """Nothing: every draw belongs to its replica and step."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`: there is nothing to do."""

    def _zero(self, name: str) -> Tensor:
        """The gradient of a tensor that takes no part, made once."""
        if name not in self._zeros:
            self._zeros[name] = torch.zeros_like(self.parameters[name][0])
        return self._zeros[name]

    def _loss_and_wrong(
        self, parameters: dict[str, Tensor], x: Tensor, y: Tensor
    ) -> tuple[Tensor, Tensor]:
        outputs = self._outputs(parameters, x)
        return self._loss(outputs, y), (outputs.argmax(dim=-1) != y).sum().double()

    @contextmanager
    def _seeded(self, replica: int, step: int, *call: int) -> Iterator[None]:
        key = (*self._stream.spawn_key, replica, step, *call)
        child = np.random.SeedSequence(self._stream.entropy, spawn_key=key)
        with torch.random.fork_rng(devices=[self._device] if self._device.type == "cuda" else []):
            torch.manual_seed(torch_seed(child))
            yield
