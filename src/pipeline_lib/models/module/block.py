"""One training block of any torch module on labelled examples, in epochs, by SGD or Adam."""

import logging
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline_lib.sampling.epochs import EpochSampler, LastBatch, recorded_steps
from pipeline_lib.seeding import torch_seed
from pipeline_lib.study.settings import LearningRate
from pipeline_lib.training.checkpoint import Checkpoint
from pipeline_lib.training.groups import EpochBlockResult
from pipeline_lib.training.labelled import Examples, GivenBatch
from pipeline_lib.training.memory import most_that_fit
from pipeline_lib.training.module_stack import Loss, ModuleReplicas
from pipeline_lib.training.optim import AdamW
from pipeline_lib.training.sgd_epochs import epoch_block

log = logging.getLogger(__name__)

_CHUNK = 100  # examples evaluated at once, or b of them if that is more


class AdamReplicas(ModuleReplicas):
    """`ModuleReplicas` under Adam (Kingma & Ba, 2015) with betas 0.9 and 0.999."""

    def __init__(
        self,
        module: nn.Module,
        loss: Loss,
        n_replicas: int,
        device: torch.device | str | None = None,
        vectorised: bool = True,
        epsilon: float = 1e-8,
    ) -> None:
        super().__init__(module, loss, n_replicas, device, vectorised)
        self._adam = AdamW(self.parameters, eps=epsilon)

    def update(self, gradients: Mapping[str, Tensor], learning_rate: float) -> None:
        """One step of Adam with these gradients, (R, *shape) a parameter."""
        self._adam.step(gradients, learning_rate)

    def state(self) -> dict[str, Any]:
        """Adam's moments, and the state of random layers."""
        return super().state() | {"adam": self._adam.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        super().restore(state)
        self._adam.restore(state["adam"])


def module_block(
    module: nn.Module,
    loss: Loss,
    sets: Mapping[str, Examples],
    learning_rate: LearningRate,
    batch_size: int,
    epochs: int,
    n_replicas: int,
    stream: np.random.SeedSequence,
    record: int | Literal["every"],
    evaluated_epochs: Mapping[str, Collection[int]],
    last_batch: LastBatch = "keep",
    optimizer: Literal["sgd", "adam"] = "sgd",
    epsilon: float = 1e-8,
    device: str = "cpu",
    threads: int = 1,
    allow_tf32: bool = False,
    checkpoint: Checkpoint | None = None,
) -> EpochBlockResult:
    """Train ``n_replicas`` runs from the weights of ``module``, as many at once as fit the memory.

    Args:
        module, loss: those of `pipeline_lib.training.module_stack.ModuleReplicas`.
        sets: inputs (n, ...) and targets (n, ...) by split; ``training`` is trained on and, as all
            others, evaluated after the epochs in ``evaluated_epochs``.
        record: recorded steps a decade, or ``every`` (`sampling.epochs.recorded_steps`).
        stream: seeds the orders of the examples and random layers. Draws of the latter depend on
            how many replicas are trained at once.
        epsilon: of Adam.
        threads: of torch's operations on CPU. Apart from rounding no value depends on it.
        allow_tf32: on a CUDA device (`pipeline_lib.training.loop.set_precision`).
        checkpoint: as of `training.sgd_epochs.epoch_block`. Random layers go on bit for bit
            where they draw from torch's own generators.

    The loss is the mean over a mini-batch, its gradient the recorded one, whatever the optimiser.
    Raises ConfigError if not even two replicas fit the memory.
    """
    x, y = sets["training"]
    sampler = EpochSampler(len(x), batch_size, n_replicas, stream, last_batch)
    steps = sampler.steps_per_epoch
    vectorised = can_vectorise(module, loss, sets["training"], device)
    chunk = max(_CHUNK, batch_size)
    at_once = _replicas_that_fit(
        module, loss, sets, batch_size, chunk, n_replicas, device, vectorised, optimizer == "adam"
    )

    def stack(replicas: int) -> ModuleReplicas:
        if optimizer == "adam":
            return AdamReplicas(module, loss, replicas, device, vectorised, epsilon)
        return ModuleReplicas(module, loss, replicas, device, vectorised)

    with _threads(threads), _own_random_state(device):
        torch.manual_seed(torch_seed(stream))
        return epoch_block(
            stack,
            x,
            y,
            sets,
            learning_rate.values(epochs * steps),
            batch_size,
            epochs,
            n_replicas,
            stream,
            recorded_steps(epochs * steps, record, steps, sampler.short_last),
            evaluated_epochs,
            last_batch,
            at_once,
            device,
            chunk,
            allow_tf32,
            checkpoint,
        )


def can_vectorise(module: nn.Module, loss: Loss, examples: Examples, device: str = "cpu") -> bool:
    """Whether torch.func takes the gradients of two replicas of ``module`` at once.

    Not every module can be vectorised: branches that depend on the data are one reason. The log
    says so.
    """
    x, y = (torch.as_tensor(part[:2], device=device) for part in examples)
    stack = ModuleReplicas(module, loss, 2, device)
    try:
        with _own_random_state(device):
            stack.gradients(GivenBatch(torch.stack([x, x]), torch.stack([y, y])))
    except (RuntimeError, NotImplementedError) as error:
        first = str(error).split("\n")[0]
        log.warning("replicas are trained one after the other: torch.func says %s", first)
        return False
    return True


def bytes_kept(module: nn.Module, loss: Loss, x: Tensor, y: Tensor) -> int:
    """Bytes that one replica's forward pass on a batch keeps for its gradient, weights left out."""
    weights = {p.untyped_storage().data_ptr() for p in module.parameters()}
    kept: dict[int, int] = {}

    def see(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    # A loss without a graph, as that of constant outputs, keeps nothing.
    with (
        torch.random.fork_rng(devices=[]),
        torch.autograd.graph.saved_tensors_hooks(see, lambda tensor: tensor),
    ):
        loss(module(x), y)
    return sum(kept.values())


def _replicas_that_fit(
    module: nn.Module,
    loss: Loss,
    sets: Mapping[str, Examples],
    batch_size: int,
    chunk: int,
    n_replicas: int,
    device: str,
    vectorised: bool,
    adam: bool,
) -> int:
    """`pipeline_lib.training.memory.most_that_fit` for any module.

    A replica has its weights, their gradient and two temporaries of it, Adam's two moments and its
    order of the examples; its batch and twice what a forward pass keeps, or that of an evaluation.
    """
    x, y = (part[:batch_size] for part in sets["training"])
    examples = sum(_bytes(part) for of_split in sets.values() for part in of_split)
    weights = sum(p.numel() * p.element_size() for p in module.parameters())
    kept = bytes_kept(module, loss, torch.as_tensor(x), torch.as_tensor(y))
    batch = _bytes(x) + _bytes(y) + 2 * kept * max(1, -(-chunk // batch_size))
    each = weights * (6 if adam else 4) + 8 * len(sets["training"][0])
    shared = examples
    if vectorised:
        each += batch
    else:
        shared += batch
    return most_that_fit(lambda n: shared + n * each, n_replicas, device, f"b = {batch_size}")


def _own_random_state(device: str) -> AbstractContextManager[None]:
    return torch.random.fork_rng(devices=[device] if device != "cpu" else [])


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _bytes(array: NDArray[np.generic]) -> int:
    return int(array.nbytes)
