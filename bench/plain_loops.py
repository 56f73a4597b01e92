"""The studies as plain PyTorch loops: what one would write first, one run after the other.

Autograd, an optimiser of `torch.optim`, mini-batches drawn as the study draws them from tensors in
memory; at the steps that the study records the gradient is kept. Nothing is evaluated.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline_lib.models.linear_network.student import Student
from pipeline_lib.models.transformer.xlnet import xlnet_module
from pipeline_lib.study.block import Block, Hardware
from pipeline_lib.study.model import Weights
from pipeline_lib.training.epoch_plan import EpochPlan

Run = Callable[[], Tensor]
"""One run; returns its gradients at the recorded steps, (T, number of weights), in memory that the
next run overwrites."""


@dataclass(frozen=True)
class Case:
    """An experiment at one batch size, with what its runs start from and are trained on.

    ``examples`` are what `TrainingData` of the model's kind holds.
    """

    experiment: Any
    b: int
    weights: Weights
    examples: Any
    threads: int = 1

    @property
    def block(self) -> Block:
        """The block of the library that trains the same."""
        return Block(self.experiment, 0, self.b, 0, 1, Hardware(threads=self.threads))


def plain_run(case: Case) -> Run:
    """The loop of the case's kind of model."""
    return _LOOPS[case.experiment.model.kind](case)


def _regression(case: Case) -> Run:
    x, y = (torch.as_tensor(part) for part in case.examples[:2])
    start, rates = torch.as_tensor(case.weights["weights"]), case.experiment.learning_rates()
    kept = torch.zeros(len(rates), len(start), dtype=start.dtype)

    def run() -> Tensor:
        w = start.clone().requires_grad_()

        def losses() -> Iterator[Tensor]:
            for _ in rates:
                chosen = torch.randperm(len(x))[: case.b]
                yield (x[chosen] @ w - y[chosen]).square().mean() / 2

        _descend(case.experiment, [w], zip(losses(), rates, strict=True), dict(enumerate(kept)))
        return kept

    return run


def _linear_network(case: Case) -> Run:
    student, rates = Student.of(case.weights), case.experiment.learning_rates()
    dtype = getattr(torch, case.experiment.model.dtype)
    start = [torch.as_tensor(w, dtype=dtype) for w in student.weights]
    teacher = torch.as_tensor(student.teacher, dtype=dtype)
    kept = torch.zeros(len(rates), sum(w.numel() for w in start), dtype=dtype)

    def run() -> Tensor:
        w1, w2 = (w.clone().requires_grad_() for w in start)

        def losses() -> Iterator[Tensor]:
            for _ in rates:
                x = torch.randn(case.b, teacher.shape[1], dtype=dtype)
                yield (x @ w1.T @ w2.T - x @ teacher.T).square().sum() / (2 * case.b)

        pairs = zip(losses(), rates, strict=True)
        _descend(case.experiment, [w1, w2], pairs, dict(enumerate(kept)))
        return kept

    return run


def _perceptron(case: Case) -> Run:
    x, y = case.examples["training"]
    layers: list[nn.Module] = []
    start = []
    for k in range(1, len(case.weights) // 2 + 1):
        weight, bias = case.weights[f"W{k}"], case.weights[f"b{k}"]
        layers += [nn.Linear(weight.shape[1], weight.shape[0]), nn.ReLU()]
        start += [weight, bias]
    return _in_epochs(case, nn.Sequential(*layers[:-1]), start, (x, y))


def _transformer(case: Case) -> Run:
    tokens = case.examples["training"]
    vocabulary = len(case.weights["network.transformer.word_embedding.weight"])
    module = xlnet_module(vocabulary, case.experiment.model.sizes)
    start = [case.weights[name] for name, _ in module.named_parameters()]
    return _in_epochs(case, module, start, (tokens.input_ids, tokens.labels.astype(np.int64)))


def _in_epochs(
    case: Case, network: nn.Module, start: Sequence[Any], examples: tuple[Any, Any]
) -> Run:
    x, y = (torch.as_tensor(part) for part in examples)
    for p, weight in zip(network.parameters(), start, strict=True):
        p.data.copy_(torch.as_tensor(weight))
    plan = EpochPlan.of(case.block, len(x), len(x))
    kept = torch.zeros(len(plan.recorded), sum(p.numel() for p in network.parameters()))
    rows = {int(step): row for step, row in zip(plan.recorded, kept, strict=True)}

    def run() -> Tensor:
        net, loss = copy.deepcopy(network), nn.CrossEntropyLoss()

        def losses() -> Iterator[Tensor]:
            for _ in range(plan.epochs):
                for chosen in torch.randperm(len(x)).split(case.b):
                    if len(chosen) == case.b or plan.last_batch == "keep":
                        yield loss(net(x[chosen]), y[chosen])

        pairs = ((value, plan.rate(step)) for step, value in enumerate(losses()))
        _descend(case.experiment, list(net.parameters()), pairs, rows)
        return kept

    return run


def _descend(
    experiment: Any,
    parameters: Sequence[Tensor],
    losses: Iterable[tuple[Tensor, float]],
    recorded: dict[int, Tensor],
) -> None:
    """Train on ``losses``, each with its learning rate and made after the update before it.

    The gradient at a step that is to be recorded, before any clipping, fills its tensor.
    """
    make = getattr(torch.optim, experiment.optimizer.torch_name)
    optimizer = make(parameters, **experiment.optimizer.arguments())
    sizes, clipping = [p.numel() for p in parameters], experiment.clipping
    for step, (loss, rate) in enumerate(losses):
        optimizer.zero_grad()
        loss.backward()
        if step in recorded:
            for row, p in zip(recorded[step].split(sizes), parameters, strict=True):
                if p.grad is not None:
                    row.copy_(p.grad.flatten())
        if clipping is not None:
            for part in parameters if clipping.of == "tensor" else [parameters]:
                nn.utils.clip_grad_norm_(part, clipping.norm)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()


_LOOPS: dict[str, Callable[[Case], Run]] = {
    "linear_regression": _regression,
    "linear_network": _linear_network,
    "perceptron": _perceptron,
    "transformer": _transformer,
}
