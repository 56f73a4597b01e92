"""Blocks of every kind of model, tiny, on data drawn here.

They need none of the packages that planning, drawing and reporting a study take.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pipeline_lib.artifacts.block_tables import BlockTables
from pipeline_lib.artifacts.checkpoint import Checkpoint
from pipeline_lib.data.reviews_table import Tokens
from pipeline_lib.estimation.control_variates import RUNS_PER_CONTROL
from pipeline_lib.models.linear_network.block import Grouping, linear_network_block
from pipeline_lib.models.linear_network.deep import DeepLinearReplicas
from pipeline_lib.models.linear_network.student import Student
from pipeline_lib.models.linear_network.two_layer import TwoLayerReplicas
from pipeline_lib.models.linear_regression.block import regression_block
from pipeline_lib.models.linear_regression.design import RegressionDesign
from pipeline_lib.models.linear_regression.replicas import LinearReplicas
from pipeline_lib.models.module.block import module_block
from pipeline_lib.models.perceptron.block import perceptron_block
from pipeline_lib.models.perceptron.replicas import MlpReplicas
from pipeline_lib.sampling.gaussian import Inputs
from pipeline_lib.sampling.subsets import ExampleBatch
from pipeline_lib.seeding import seed_sequence
from pipeline_lib.study.block import Hardware
from pipeline_lib.study.optimizers import Adam, AdamW
from pipeline_lib.study.settings import Clipping
from pipeline_lib.training.epoch_plan import EpochData, EpochPlan
from pipeline_lib.training.labelled import ChosenBatch, SteppedStack
from pipeline_lib.training.module_stack import ModuleReplicas
from pipeline_lib.training.steps import StepPlan

Gradients = dict[str, Tensor]
DTYPES = {"float32": (np.float32, torch.float32), "float64": (np.float64, torch.float64)}


@dataclass(frozen=True)
class Case:
    """One kind at one size.

    ``whole`` trains a block as a job does. ``gradients`` are those of a few replicas at the first
    step, on a device and in a precision, from the same numbers everywhere. Where a kind is trained
    in epochs, ``network`` are its parts on a device, in float64.
    """

    name: str
    whole: Callable[[Hardware, Checkpoint | None], BlockTables]
    gradients: Callable[[str, str], Gradients]
    network: Callable[[str], "Network"] | None = None


@dataclass(frozen=True)
class Network:
    """What `epoch_block` takes, and whether what a replica draws does not depend on the others."""

    make_stack: Callable[[range], Any]
    data: EpochData
    plan: EpochPlan
    draws_alone: bool = True


def images(n: int, p: int, dtype: str, classes: int = 10) -> tuple[Any, Any]:
    """Made-up examples (n, p) and labels (n,) of them."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, p)).astype(DTYPES[dtype][0]), rng.integers(classes, size=n)


def plan_of(n: int, b: int, epochs: int, replicas: int, **changes: Any) -> EpochPlan:
    """Few recorded steps, and losses before and after."""
    steps = epochs * (n // b)
    given: dict[str, Any] = {
        "learning_rates": lambda step: 0.05,
        "batch_size": b,
        "epochs": epochs,
        "n_replicas": replicas,
        "stream": seed_sequence(1, "orders"),
        "recorded": sorted({0, steps // 2, steps - 1}),
        "evaluated_epochs": {"training": [0, epochs], "validation": [1]},
        "last_batch": "drop",
        "chunk": 8,
    }
    return EpochPlan(**given | changes)


def mlp_weights(layers: tuple[int, ...], dtype: str) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    weights = {}
    for k, (inputs, outputs) in enumerate(pairwise(layers), start=1):
        weights[f"W{k}"] = rng.standard_normal((outputs, inputs)) * (2 / inputs) ** 0.5
        weights[f"b{k}"] = np.zeros(outputs)
    return {name: value.astype(DTYPES[dtype][0]) for name, value in weights.items()}


def chosen(replicas: int, b: int, n: int) -> Tensor:
    """Which examples the replicas of `Case.gradients` take."""
    return (torch.arange(replicas * b) * 7 % n).view(replicas, b)


def first_gradients(network: Callable[[str, str], Network], device: str, dtype: str) -> Gradients:
    """Without dropout, which draws other numbers on another device."""
    made = network(device, dtype)
    stack, data, b = made.make_stack(range(3)), made.data, made.plan.batch_size
    for part in stack._module.modules() if isinstance(stack, ModuleReplicas) else []:
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    batch = ChosenBatch(data.x, data.y, chosen(3, b, data.n).to(device))
    if isinstance(stack, SteppedStack):
        return stack.gradients_at(0, batch).gradients
    return dict(stack.gradients(batch))


def perceptron() -> Case:
    """Plain SGD: fused steps between recorded ones."""
    layers, n, b = (12, 16, 8, 10), 32, 4

    def sets(dtype: str) -> dict[str, tuple[Any, Any]]:
        x, y = images(n + 8, layers[0], dtype)
        return {"training": (x[:n], y[:n]), "validation": (x[n:], y[n:])}

    plan = plan_of(n, b, 3, 6)

    def network(device: str, dtype: str = "float64") -> Network:
        given = mlp_weights(layers, dtype)
        weights = {name: torch.as_tensor(weight).to(device) for name, weight in given.items()}
        data = EpochData.on(device, *sets(dtype)["training"], sets(dtype))
        return Network(lambda replicas: MlpReplicas(weights, len(replicas)), data, plan)

    return Case(
        "perceptron",
        lambda hardware, state: perceptron_block(
            mlp_weights(layers, "float32"), sets("float32"), plan, hardware, state
        ),
        partial(first_gradients, network),
        network,
    )


class Recurrent(nn.Module):
    """What torch.func cannot take at once: replicas are trained one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.scores = nn.LSTM(4, 5, batch_first=True), nn.Linear(5, 10)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.scores(self.cell(x.unflatten(1, (3, 4)))[0][:, -1])
        return outputs


def convolutional(dropout: float) -> nn.Module:
    """Convolutions, and random layers where ``dropout`` is not 0."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 3, 4)),
        nn.Conv2d(1, 4, 2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(dropout) if dropout else nn.Identity(),
        nn.Linear(24, 10),
    )


def module(name: str, make_module: Callable[[], nn.Module], vectorised: bool = True) -> Case:
    """A module of one's own under Adam, its gradients clipped."""
    n, b = 32, 4
    plan = plan_of(n, b, 2, 6, optimizer=Adam("adam"), clipping=Clipping(1.0, "tensor"))

    def sets(dtype: str) -> dict[str, tuple[Any, Any]]:
        x, y = images(n + 8, 12, dtype)
        return {"training": (x[:n], y[:n]), "validation": (x[n:], y[n:])}

    def seeded(dtype: str) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return make_module().to(DTYPES[dtype][1])

    def network(device: str, dtype: str = "float64") -> Network:
        own, examples = seeded(dtype), sets(dtype)

        def stack(replicas: range) -> ModuleReplicas:
            return ModuleReplicas(own, cross_entropy, len(replicas), device, vectorised)

        draws = any(isinstance(part, nn.Dropout) for part in own.modules())
        data = EpochData.on(device, *examples["training"], examples)
        return Network(stack, data, plan, not draws)

    return Case(
        name,
        lambda hardware, state: module_block(
            seeded("float32"), cross_entropy, sets("float32"), plan, hardware, state
        ),
        partial(first_gradients, network),
        network,
    )


XLNET = {"d_model": 8, "n_layer": 2, "n_head": 2, "d_inner": 16}


def reviews(n: int, vocabulary: int, tokens: int) -> dict[str, Tokens]:
    rng = np.random.default_rng(2)

    def some(count: int) -> Tokens:
        ids = rng.integers(5, vocabulary, (count, tokens)).astype(np.int32)
        return Tokens(ids, np.ones_like(ids), (np.arange(count) % 2).astype(np.int8))

    return {"training": some(n), "validation": some(8)}


def xlnet() -> Case:
    """XLNet under AdamW, its gradients clipped, with dropout seeded by replica and step."""
    from pipeline_lib.models.transformer.block import Dropout, initial_weights, transformer_block
    from pipeline_lib.models.transformer.xlnet import xlnet_module
    from pipeline_lib.training.dropout_stack import DropoutReplicas

    n, b, vocabulary, tokens = 16, 4, 40, 6
    sets = reviews(n, vocabulary, tokens)
    plan = plan_of(n, b, 2, 4, optimizer=AdamW("adamw"), clipping=Clipping(1.0, "tensor"))
    sizes = XLNET | {"dropout": 0.1}
    dropout = Dropout(sizes, seed_sequence(1, "dropout"))
    weights = initial_weights(sizes, vocabulary, 0.1, seed_sequence(1, "weights"))

    def network(device: str, dtype: str = "float64") -> Network:
        module = xlnet_module(vocabulary, sizes, 0.1).to(DTYPES[dtype][1])
        examples = {
            split: (tokens.input_ids, tokens.labels.astype(np.int64))
            for split, tokens in sets.items()
        }

        def stack(replicas: range) -> DropoutReplicas:
            return DropoutReplicas(module, cross_entropy, replicas, dropout.stream, device)

        data = EpochData.on(device, *examples["training"], examples)
        return Network(stack, data, replace(plan, per_tensor=False))

    return Case(
        "xlnet",
        lambda hardware, state: transformer_block(
            weights, dropout, sets, plan, hardware.device, state
        ),
        partial(first_gradients, network),
        network,
    )


def step_plan(b: int, steps: int, replicas: int, **changes: Any) -> StepPlan:
    rates = 0.1 / (1 + np.arange(steps))
    return replace(StepPlan(rates, b, replicas, seed_sequence(1, "batches")), **changes)


def regression_problem(n: int = 20, p: int = 3) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(3)
    return rng.standard_normal((n, p)), rng.standard_normal(n), rng.standard_normal(p)


def regression() -> Case:
    """Regression under Adam, which is torch on CPU, too."""
    problem, plan = regression_problem(), step_plan(4, 150, 6, optimizer=Adam("adam"))

    def gradients(device: str, dtype: str) -> Gradients:
        x, y, w = problem
        start = torch.as_tensor(w, dtype=DTYPES[dtype][1]).to(device)
        stack = LinearReplicas(RegressionDesign.of(x, y), start, 3)
        batch = ExampleBatch(chosen(3, 4, len(y)).to(device))
        full = {f"full {name}": g for name, g in stack.full_gradients().items()}
        return stack.gradients(batch) | full

    return Case(
        "linear regression",
        lambda hardware, state: regression_block(*problem, plan, hardware, state),
        gradients,
    )


def student(layers: tuple[int, ...]) -> Student:
    rng = np.random.default_rng(4)
    shapes = [(rows, columns) for columns, rows in pairwise(layers)]
    weights = tuple(0.5 * rng.standard_normal(shape) / shape[1] ** 0.5 for shape in shapes)
    return Student(weights, 0.3 * rng.standard_normal((layers[-1], layers[0])))


def linear_network(layers: tuple[int, ...]) -> Case:
    """Under Adam, which is torch on CPU, too; as many runs as control variates need."""
    given = student(layers)
    runs = 2 * RUNS_PER_CONTROL * len(given.weights)
    plan, grouping = step_plan(3, 300, runs, optimizer=Adam("adam")), Grouping(runs // 2)

    def gradients(device: str, dtype: str) -> Gradients:
        weights, teacher = (
            [torch.as_tensor(w, dtype=DTYPES[dtype][1]).to(device) for w in part]
            for part in (given.weights, [given.teacher])
        )
        two = len(weights) == 2
        stack: Any = (
            TwoLayerReplicas(*weights, *teacher, 3)
            if two
            else DeepLinearReplicas(weights, *teacher, 3)
        )
        rng = np.random.default_rng(5)
        x = torch.as_tensor(rng.standard_normal((3, 3, layers[0])), dtype=DTYPES[dtype][1])
        full = {f"full {name}": g.clone() for name, g in stack.full_gradients().items()}
        return full | dict(stack.gradients(Inputs(x.to(device))))

    return Case(
        f"linear network of {len(layers) - 1} layers",
        lambda hardware, state: linear_network_block(given, plan, grouping, hardware, state),
        gradients,
    )


def cases() -> list[Case]:
    """Every kind, tiny."""
    return [
        regression(),
        linear_network((4, 6, 3)),
        linear_network((4, 5, 6, 3)),
        perceptron(),
        module("module, convolutions", lambda: convolutional(0)),
        module("module, random layers", lambda: convolutional(0.2)),
        module("module, recurrent", Recurrent, vectorised=False),
        xlnet(),
    ]
