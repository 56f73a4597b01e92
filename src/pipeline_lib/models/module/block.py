"""One training block of any torch module on labelled examples, in epochs."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn

from pipeline_lib.artifacts.block_tables import BlockTables
from pipeline_lib.artifacts.checkpoint import Checkpoint
from pipeline_lib.imports import one_line
from pipeline_lib.seeding import torch_seed
from pipeline_lib.study.block import CPU, Hardware
from pipeline_lib.training.epoch_plan import EpochData, EpochPlan
from pipeline_lib.training.epochs import epoch_block
from pipeline_lib.training.example_gradients import examples_at_once
from pipeline_lib.training.labelled import Examples, GivenBatch
from pipeline_lib.training.memory import is_out_of_memory, moment_bytes, most_that_fit
from pipeline_lib.training.module_stack import ModuleReplicas
from pipeline_lib.training.module_state import copy_of
from pipeline_lib.training.objective import (
    COUPLED,
    MEAN,
    Loss,
    LossKind,
    Objective,
    call_arguments,
    scores_of,
)
from pipeline_lib.training.trees import Tree, copied, leaves, mapped, n_rows, on_device, rows

log = logging.getLogger(__name__)

_CHUNK = 100  # examples evaluated at once, or b of them if that is more


def chunk_of(batch_size: int, kind: LossKind = MEAN) -> int:
    """Examples evaluated at once: those of a mini-batch if they are coupled."""
    return batch_size if kind == COUPLED else max(_CHUNK, batch_size)


def module_block(
    module: nn.Module,
    loss: Loss | Objective,
    sets: Mapping[str, Examples],
    plan: EpochPlan,
    hardware: Hardware = CPU,
    checkpoint: Checkpoint | None = None,
) -> BlockTables:
    """Train the runs of ``plan`` from the weights of ``module``, as many at once as fit the memory.

    Args:
        module, loss: those of `pipeline_lib.training.module_stack.ModuleReplicas`. The loss of an
            objective has its own tensors on the device of ``hardware``.
        sets: arrays of inputs (n, ...) and targets (n, ...) by split; ``training`` is trained on
            and, as all others, evaluated after the epochs that ``plan`` names.
        plan: its stream also seeds random layers. Draws of the latter depend on how many replicas
            are trained at once.
        hardware: its threads are those of torch's operations on CPU. Apart from rounding no value
            depends on them.
        checkpoint: as of `pipeline_lib.training.epochs.epoch_block`. Random layers go on bit
            for bit where they draw from torch's own generators.

    The loss is the mean over a mini-batch, its gradient the recorded one, whatever the optimiser.
    Raises ConfigError if not even two replicas fit the memory.
    """
    device = hardware.device
    vectorised = can_vectorise(module, loss, sets["training"], device, plan.batch_size)
    function = loss.loss if isinstance(loss, Objective) else loss
    size = _bytes_of(module, function, sets, plan, vectorised, device)
    at_once = most_that_fit(size, plan.n_replicas, device, f"b = {plan.batch_size}")

    def stack(replicas: range) -> ModuleReplicas:
        return ModuleReplicas(module, loss, len(replicas), device, vectorised)

    data = EpochData.on(device, *sets["training"], sets)
    with _threads(hardware.threads), _own_random_state(device):
        torch.manual_seed(torch_seed(plan.stream))
        return epoch_block(stack, data, plan, at_once, checkpoint)


def can_vectorise(
    module: nn.Module,
    loss: Loss | Objective,
    examples: Examples,
    device: str = "cpu",
    batch_size: int = 2,
) -> bool:
    """Whether torch.func takes gradients and losses of two replicas of ``module`` at once, rightly.

    Not every module can be vectorised: branches that depend on the data are one reason, recurrent
    layers another. What comes out is compared with one replica after the other, unless random
    layers draw. The log says why replicas are trained one after the other.
    """
    x, y = (on_device(rows(part, slice(batch_size)), device) for part in examples)

    def numbers(vectorised: bool, seed: int) -> Tensor:
        torch.manual_seed(seed)
        # A copy each time: a module may write into its inputs.
        batch = GivenBatch(*(mapped(lambda one: torch.stack([one, one]), part) for part in (x, y)))
        stack = ModuleReplicas(module, loss, 2, device, vectorised)
        gradients = stack.gradients(batch)
        evaluation = stack.evaluate(x, y, batch_size)
        parts = [evaluation.loss, *(gradient.double() for gradient in gradients.values())]
        return torch.cat([part.flatten() for part in parts])

    with _own_random_state(device):
        try:
            at_once = numbers(vectorised=True, seed=0)
        except torch.AcceleratorError:  # of the device, whatever is computed there
            raise
        except Exception as error:
            used_up = is_out_of_memory(error)
            reason = "two at once do not fit the memory:" if used_up else "torch.func says"
            said = one_line(error)
            log.warning("replicas are trained one after the other: %s %.150s", reason, said)
            return False
        in_turn, again = (numbers(vectorised=False, seed=seed) for seed in (0, 1))
    largest = in_turn.abs().max()
    is_random = not torch.allclose(in_turn, again, rtol=1e-3, atol=1e-3 * float(largest))
    if is_random or not in_turn.isfinite().all():
        return True
    if not torch.allclose(at_once, in_turn, rtol=1e-3, atol=1e-3 * float(largest)):
        log.warning(
            "replicas are trained one after the other: torch.func gives other gradients or losses"
        )
        return False
    return True


def bytes_kept(module: nn.Module, loss: Loss, x: Tree, y: Tree) -> int:
    """Bytes that one replica's forward pass on a batch keeps for its gradient, weights left out."""
    weights = {p.untyped_storage().data_ptr() for p in module.parameters()}
    kept: dict[int, int] = {}

    def see(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    dtype = next(p.dtype.to_real() for p in module.parameters())
    places, names = call_arguments(copied(x), dtype)
    # A loss without a graph, as that of constant outputs, keeps nothing.
    with (
        torch.random.fork_rng(devices=[]),
        torch.autograd.graph.saved_tensors_hooks(see, lambda tensor: tensor),
    ):
        loss(scores_of(module(*places, **names)), copied(y))
    return sum(kept.values())


def _bytes_of(
    module: nn.Module,
    loss: Loss,
    sets: Mapping[str, Examples],
    plan: EpochPlan,
    vectorised: bool,
    device: str,
) -> Callable[[int], int]:
    """How many bytes that many replicas take.

    A replica has its weights, their gradient and two temporaries of it, what its optimiser keeps
    and its order of the examples; its batch and twice what a forward pass keeps, or that of an
    evaluation. All share the examples, the module itself, the gradient of one replica and, on a
    GPU, the temporaries of moments. Where variances are averaged over examples, one replica at a
    time has the gradients of some of them, and their squares.
    """
    x, y = (on_device(rows(part, slice(plan.batch_size)), "cpu") for part in sets["training"])
    examples = sum(_bytes(part) for of_split in sets.values() for part in of_split)
    weights = sum(p.numel() * p.element_size() for p in module.parameters())
    kept = bytes_kept(copy_of(module), loss, x, y)
    batch = _bytes(x) + _bytes(y) + 2 * kept * max(1, -(-plan.chunk // plan.batch_size))
    each = weights * (4 + plan.optimizer.kept) + 8 * n_rows(sets["training"][1])
    shared = examples + 2 * weights
    if plan.averaged:
        shared += 2 * weights * examples_at_once(dict(module.named_parameters()))
    if vectorised:
        each += batch
    else:
        shared += batch
    numbers = sum(p.numel() for p in module.parameters())
    itemsize = max(p.element_size() for p in module.parameters())
    return lambda n: shared + n * each + moment_bytes(n * numbers, itemsize, device)


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


def _bytes(tree: Tree) -> int:
    return sum(int(part.nbytes) for part in leaves(tree))
