"""What is checked of a module, a loss and a data set of the user's own before anything is trained.

What can be checked early is: every message is one line that names the thing and what is allowed.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import nn

from pipeline_lib.errors import ConfigError
from pipeline_lib.imports import one_line
from pipeline_lib.models.module.batch_losses import loss_value, outputs_on
from pipeline_lib.models.module.own_code import seeded
from pipeline_lib.models.module.own_data import SPLITS, OwnData, as_tensors
from pipeline_lib.models.module.own_objective import Metric, objective_of
from pipeline_lib.seeding import seed_sequence
from pipeline_lib.training.labelled import Examples, GivenBatch
from pipeline_lib.training.module_stack import ModuleReplicas
from pipeline_lib.training.module_state import copy_of, evaluation_mode, refuse_running_statistics
from pipeline_lib.training.objective import COUPLED, Loss, Objective
from pipeline_lib.training.trees import Tree, copied, leaves, mapped, rows, shapes

_AT_ONCE = 500  # examples that are evaluated at once


def check_fit(
    module: nn.Module,
    loss: Loss,
    data: OwnData,
    batch_sizes: Sequence[int],
    last_batch: Literal["keep", "drop"] = "keep",
    metric: Metric | None = None,
) -> Objective:
    """The objective that the loss is; ConfigError unless ``module``, ``loss`` and data fit.

    That is: the module takes the inputs and keeps no state, the loss of a batch is one finite
    number, not summed over examples, a step can be made with each mini-batch that training will
    have, no batch is larger than the training set, and neither module nor loss writes into the
    data. All of it happens on copies of ``module``.
    """
    if max(batch_sizes) > data.n:
        raise ConfigError(
            f"batch_sizes: {max(batch_sizes)} is above the {data.n} training examples of the "
            f"dataset; allowed: 1 to {data.n}"
        )
    before = data.digest()
    sets = {split: as_tensors(data.sets[split]) for split in SPLITS}
    few = [rows(part, slice(min(data.n, 8))) for part in sets["training"]]
    with torch.no_grad(), seeded(seed_sequence(0, "fit")):
        copy = copy_of(module)
        loss_value(loss, outputs_on(copy, few[0]), copied(few[1]))
    refuse_running_statistics(module)
    _check_purity(module, few[0])
    objective = objective_of(module, loss, sets["training"], metric)
    check_steps(module, objective, sets["training"], batch_sizes, last_batch)
    chunk = max(batch_sizes) if objective.kind == COUPLED else max(_AT_ONCE, *batch_sizes)
    _evaluate(module, objective, sets, chunk)
    if data.digest() != before:
        raise ConfigError(
            "dataset: module, loss or metric write into the examples that they are given; allowed "
            "is to work on copies"
        )
    return objective


def _check_purity(module: nn.Module, x: Tree) -> None:
    """ConfigError if a call changes a parameter, a buffer or what the next call gives."""
    module = copy_of(module)
    before = {name: tensor.clone() for name, tensor in _state(module).items()}

    def run() -> list[torch.Tensor]:
        with torch.no_grad(), seeded(seed_sequence(0, "purity")):
            found = [part.clone() for part in leaves(outputs_on(module, x)) if _is_tensor(part)]
        for name, tensor in _state(module).items():
            if not torch.equal(tensor, before[name]):
                what = "the buffer" if name in dict(module.named_buffers()) else "the parameter"
                hint = ", as Embedding(max_norm=...) does" if what == "the parameter" else ""
                raise ConfigError(
                    f"make_model: a forward pass changes {what} {name!r}{hint}, so replicas would "
                    "not be independent; allowed are modules without running state"
                )
        return found

    def check(mode: str) -> None:
        first, second = run(), run()
        for one, two in zip(first, second, strict=True):
            if not torch.equal(one, two) and not torch.allclose(one, two, equal_nan=True):
                raise ConfigError(
                    "make_model: the module gives other outputs when it is called again on the "
                    f"same inputs under the same seed, in {mode} mode: it keeps something from "
                    "call to call; allowed are modules whose outputs depend on inputs and weights"
                )

    check("training")
    with evaluation_mode(module):
        check("evaluation")


def check_steps(
    module: nn.Module,
    objective: Objective,
    training: Examples,
    batch_sizes: Sequence[int],
    last_batch: str,
) -> None:
    """ConfigError unless a gradient can be had at each size that mini-batches will have.

    With ``last_batch`` "keep" also at that of the last of an epoch. It is taken on a copy.
    """
    n = len(leaves(training[1])[0])
    sizes = {b: f"a mini-batch of {b}" for b in batch_sizes}
    if last_batch == "keep":
        for b in batch_sizes:
            if n % b and n % b not in sizes:
                sizes[n % b] = (
                    f"the last mini-batch of an epoch at b = {b}, {n % b} of {n} examples"
                )
    for size, name in sizes.items():
        batch = GivenBatch(
            *(mapped(lambda part: part[None], rows(part, slice(size))) for part in training)
        )
        try:
            with seeded(seed_sequence(0, "dry step")):
                ModuleReplicas(module, objective, 1, vectorised=False).gradients(batch)
        except ConfigError:
            raise
        except Exception as error:
            hint = "; or choose last_batch: drop" if name.startswith("the last") else ""
            raise ConfigError(
                f"make_model, loss: {name}, inputs {shapes(rows(training[0], slice(size)))}, "
                f"cannot be trained on: {one_line(error)}; they are to take every size{hint}"
            ) from error


def _evaluate(
    module: nn.Module, objective: Objective, sets: Mapping[str, Examples], chunk: int
) -> None:
    stack = ModuleReplicas(module, objective, 1, vectorised=False)
    for split, (x, y) in sets.items():
        try:
            with seeded(seed_sequence(0, "evaluation")):
                value = float(stack.evaluate(x, y, chunk).loss)
        except Exception as error:
            raise ConfigError(
                f"loss: {split} examples, outputs and targets do not fit: {one_line(error)}"
            ) from error
        if not abs(value) < float("inf"):
            raise ConfigError(
                f"loss: {value} on {split} examples at the initial weights; "
                "allowed is a finite number"
            )


def _state(module: nn.Module) -> dict[str, torch.Tensor]:
    return dict(module.named_parameters()) | dict(module.named_buffers())


def _is_tensor(value: object) -> bool:
    return isinstance(value, torch.Tensor)
