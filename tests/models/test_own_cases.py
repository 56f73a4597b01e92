"""What people bring, from the configuration to the variance, against plain torch.

At step 0 all replicas have the initial weights. Their gradients on the very mini-batches of the
block are taken here by autograd, one by one, from the user's own module, loss and data.
"""

import copy
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn
from torch.nn import functional

import own_cases
from pipeline_lib.artifacts.block_tables import BlockTables
from pipeline_lib.errors import ConfigError
from pipeline_lib.estimation.statistics import ALL
from pipeline_lib.models import MODELS
from pipeline_lib.sampling.epochs import EpochSampler
from pipeline_lib.study.block import Block
from pipeline_lib.study.config import load_study
from pipeline_lib.study.experiment import EpochExperiment
from pipeline_lib.study.model import COUPLED, MEAN, WEIGHTED

ROOT = Path(__file__).resolve().parents[2]
CROSS_ENTROPY = "torch.nn.functional:cross_entropy"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*(weight_norm|Lazy modules|torch.jit.script|jit).*"),
]


def experiment(
    make_model: str, loss: str, dataset: str, changes: dict[str, Any] | None = None, **model: Any
) -> EpochExperiment:
    """An experiment on `own_cases`; ``model`` adds to its section of that name."""
    raw = yaml.safe_load((ROOT / "config.yaml").read_text())
    raw["experiments"]["mine"] = {
        "model": {
            "kind": "module",
            "make_model": make_model if ":" in make_model else f"own_cases:{make_model}",
            "loss": loss if ":" in loss else f"own_cases:{loss}",
            "dataset": dataset if ":" in dataset else f"own_cases:{dataset}",
            "dtype": "float64",
            **model,
        },
        "initial_weights": {"count": 1, "seed": 1},
        "learning_rate": {"schedule": "constant", "initial": 0.05},
        "batch_sizes": [4],
        "runs": 6,
        "runs_per_block": 6,
        "epochs": 1,
        "last_batch": "keep",
        "recorded_steps": "every",
        "evaluate_every": 1,
        **(changes or {}),
    }
    found = load_study(raw, MODELS).experiments["mine"]
    assert isinstance(found, EpochExperiment)
    return found


def trained(of: EpochExperiment) -> tuple[BlockTables, dict[str, Any], dict[str, Any], Block]:
    """Tables, what artefacts note, the initial weights and the block of the smallest b."""
    block = Block(of, 0, of.batch_sizes[0], 0, 20200428)
    of.model.examine(of, of.model.own_files([ROOT / "tests"]))
    weights = of.model.draw_weights(of, 0, {})
    data = of.model.load(of, {})
    return of.model.train(block, weights, data), dict(data.notes), weights, block


def variance_at_0(tables: BlockTables) -> float:
    rows = tables.statistics[tables.statistics["tensor"] == ALL]
    return float(rows[rows["step"] == 0]["contribution_mean"].iloc[0])


def with_weights(module: nn.Module, weights: dict[str, Any]) -> nn.Module:
    """The user's own module with the weights of the run, in float64."""
    for name, tensor in module.state_dict().items():
        value = torch.from_numpy(weights[name])
        tensor.copy_(torch.view_as_complex(value) if tensor.is_complex() else value)
    real = {torch.float32: torch.float64, torch.complex64: torch.complex128}
    for p in module.parameters():
        p.data = p.data.to(real[p.dtype])
    for buffer in module.buffers():
        if buffer.is_floating_point():
            buffer.data = buffer.double()
    for name, tensor in module.state_dict().items():
        value = torch.from_numpy(weights[name])
        tensor.copy_(torch.view_as_complex(value) if tensor.is_complex() else value)
    return module


def plain_gradient(module: nn.Module, loss, x: Any, y: Any) -> np.ndarray:
    """The gradient of a batch's loss by autograd, all tensors one after the other, as reals."""
    outputs = module(**x) if isinstance(x, dict) else module(x)
    outputs = outputs["logits"] if isinstance(outputs, dict) else outputs
    parameters = [p for p in module.parameters() if p.requires_grad]
    parts = torch.autograd.grad(loss(outputs, y), parameters)
    return torch.cat(
        [
            (torch.view_as_real(g) if g.is_complex() else g.to_dense()).flatten().double()
            for g in parts
        ]
    ).numpy()


def tensor_of(part: Any) -> torch.Tensor:
    tensor = torch.as_tensor(np.array(part))
    return tensor.double() if tensor.dtype in (torch.float32, torch.uint8) else tensor


def taken(x: Any, chosen: Any) -> Any:
    if isinstance(x, dict):
        return {name: tensor_of(part)[chosen] for name, part in x.items()}
    return tensor_of(x)[chosen].clone()


def plain_variance(module, loss, training, block: Block, replicas: int = 6) -> float:
    """The variance over replicas of plain gradients on the block's first mini-batches."""
    x, y = training
    n, b = len(y), block.batch_size
    order = EpochSampler(n, b, replicas, block.stream()).order(0)
    gradients = [
        plain_gradient(module, loss, taken(x, row[:b]), taken(y, row[:b])) for row in order
    ]
    return float(np.var(gradients, axis=0, ddof=1).sum())


def to_double(loss: nn.Module) -> nn.Module:
    return copy.deepcopy(loss).double()


def float_targets(loss):
    return lambda outputs, targets: loss(outputs, targets.to(outputs.dtype))


CASES = {
    "complex weights": ("Spectral", CROSS_ENTROPY, "waves", functional.cross_entropy, MEAN),
    "LSTM": ("Recurrent", "torch.nn.functional:mse_loss", "sequences", functional.mse_loss, MEAN),
    "old weight norm": ("weight_normed", CROSS_ENTROPY, "labelled", functional.cross_entropy, MEAN),
    "ScriptModule": ("scripted", CROSS_ENTROPY, "labelled", functional.cross_entropy, MEAN),
    "lazy layers": ("lazy", CROSS_ENTROPY, "labelled", functional.cross_entropy, MEAN),
    "draws of NumPy": ("drawn_by_numpy", CROSS_ENTROPY, "labelled", functional.cross_entropy, MEAN),
    "dropout in eval": (
        "with_dropout_off",
        CROSS_ENTROPY,
        "labelled",
        functional.cross_entropy,
        MEAN,
    ),
    "frozen BatchNorm": (
        "with_frozen_norm",
        CROSS_ENTROPY,
        "labelled",
        functional.cross_entropy,
        MEAN,
    ),
    "writes into its input": (
        "normalises_in_place",
        CROSS_ENTROPY,
        "labelled",
        functional.cross_entropy,
        MEAN,
    ),
    "class weights": ("plain", "weighted", "by_class", to_double(own_cases.weighted), WEIGHTED),
    "ignored tokens": ("Tagger", "of_tokens", "tokens", own_cases.of_tokens, WEIGHTED),
    "correlation": (
        "one_column",
        "one_minus_correlation",
        "numbers",
        own_cases.one_minus_correlation,
        COUPLED,
    ),
    "one logit": ("one_column", "binary", "signs", own_cases.binary, MEAN),
    "several labels": (
        "four_columns",
        "torch.nn.functional:binary_cross_entropy_with_logits",
        "several_labels",
        float_targets(functional.binary_cross_entropy_with_logits),
        MEAN,
    ),
    "a class as loss": (
        "plain",
        "torch.nn:CrossEntropyLoss",
        "labelled",
        functional.cross_entropy,
        MEAN,
    ),
    "inputs by name, .logits": (
        "TwoInputs",
        CROSS_ENTROPY,
        "masked",
        functional.cross_entropy,
        MEAN,
    ),
    "8-bit images": ("plain", CROSS_ENTROPY, "images", functional.cross_entropy, MEAN),
}


@pytest.mark.parametrize("name", CASES)
def test_variance_at_step_0_is_that_of_plain_torch(name: str) -> None:
    make_model, loss, dataset, plain_loss, kind = CASES[name]
    training, _ = getattr(own_cases, dataset)()
    tables, notes, weights, block = trained(experiment(make_model, loss, dataset))
    assert notes["loss"] == kind
    module = with_weights(made(make_model, training), weights)
    expected = plain_variance(module, plain_loss, training, block)
    assert expected > 0
    assert_allclose(variance_at_0(tables), expected, rtol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_the_average_over_all_examples_is_the_closed_form_at_step_0(name: str) -> None:
    """(1/b - 1/n) times the sample variance of one example's gradient, from any runs."""
    make_model, loss, dataset, plain_loss, kind = CASES[name]
    of = experiment(make_model, loss, dataset, {"rao_blackwell": {"examples": "all"}})
    if kind != MEAN:
        with pytest.raises(ConfigError, match=rf"mine.rao_blackwell: the loss is {kind}"):
            of.model.examine(of, [])
        return
    (x, y), _ = getattr(own_cases, dataset)()
    tables, _, weights, block = trained(of)
    module = with_weights(made(make_model, (x, y)), weights)
    n, b = len(y), block.batch_size
    single = [plain_gradient(module, plain_loss, taken(x, [i]), taken(y, [i])) for i in range(n)]
    closed = (1 / b - 1 / n) * np.var(single, axis=0, ddof=1).sum()
    averaged = tables.statistics[tables.statistics["estimator"] == "rao_blackwell"]
    first = averaged[(averaged["tensor"] == ALL) & (averaged["step"] == 0)].iloc[0]
    assert_allclose(first["contribution_mean"], closed, rtol=1e-6)
    assert first["contribution_m2"] < 1e-12 * closed**2


def made(make_model: str, training: Any) -> nn.Module:
    module: nn.Module = getattr(own_cases, make_model)()
    if make_model == "lazy":
        module(torch.zeros(2, 5))
    return module


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_step_0_of_a_recurrent_network_has_its_closed_form(kind: str) -> None:
    """(1/b - 1/n) n/(n-1) times the population variance of one example's gradient."""
    runs = 400
    of = experiment(
        "Recurrent",
        "torch.nn.functional:mse_loss",
        "sequences",
        {"runs": runs, "runs_per_block": runs, "batch_sizes": [16]},
        arguments={"make_model": {"kind": kind}},
    )
    tables, _, weights, _ = trained(of)
    (x, y), _ = own_cases.sequences()
    module = with_weights(own_cases.Recurrent(kind), weights)
    single = [
        plain_gradient(module, functional.mse_loss, taken(x, [i]), taken(y, [i])) for i in range(32)
    ]
    closed = (1 / 16 - 1 / 32) * 32 / 31 * np.var(single, axis=0).sum()
    first = tables.statistics[tables.statistics["tensor"] == ALL].iloc[0]
    error = np.sqrt(first["contribution_m2"] / (runs * (runs - 1)))
    assert abs(first["contribution_mean"] - closed) < 4 * error < 0.5 * closed


@pytest.mark.slow
def test_step_0_of_resnet_18_with_frozen_norms_has_its_closed_form(monkeypatch) -> None:
    """The same; with the statistics of mini-batches, which couple examples, there is none."""
    pytest.importorskip("sklearn")
    monkeypatch.syspath_prepend(ROOT / "examples/networks")
    from networks_study.data import images
    from torchvision.models import resnet18

    n, b, runs = 12, 4, 6
    of = experiment(
        "torchvision.models:resnet18",
        CROSS_ENTROPY,
        "networks_study.data:images",
        {"runs": runs, "runs_per_block": runs, "batch_sizes": [b]},
        arguments={
            "make_model": {"num_classes": 10},
            "dataset": {"training": n, "validation": 2},
        },
        batch_norm="frozen",
        dtype="float32",
    )
    tables, notes, weights, _ = trained(of)
    assert notes["loss"] == MEAN
    (x, y), _ = images(n, 2)
    module = resnet18(num_classes=10)
    module.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eval()
    x, y = torch.tensor(x, dtype=torch.float32), torch.tensor(y)
    single = [
        plain_gradient(module, functional.cross_entropy, x[[i]], y[[i]]).astype(np.float32)
        for i in range(n)
    ]
    closed = (1 / b - 1 / n) * n / (n - 1) * np.var(single, axis=0, dtype=np.float64).sum()
    first = tables.statistics[tables.statistics["tensor"] == ALL].iloc[0]
    error = np.sqrt(first["contribution_m2"] / (runs * (runs - 1)))
    assert abs(first["contribution_mean"] - closed) < 4 * error < closed


def last_losses(tables: BlockTables, split: str = "training") -> np.ndarray:
    rows = tables.metrics[(tables.metrics["split"] == split) & (tables.metrics["epoch"] == 0)]
    return rows[["loss", "error"]].to_numpy()


def test_a_weighted_loss_is_that_of_the_whole_set(monkeypatch) -> None:
    """Whatever the number of examples evaluated at once."""
    monkeypatch.setattr("pipeline_lib.models.module.block._CHUNK", 7)
    (x, y), _ = own_cases.by_class()
    tables, _, weights, _ = trained(experiment("plain", "weighted", "by_class"))
    module = with_weights(own_cases.plain(), weights)
    outputs = module(tensor_of(x))
    expected = to_double(own_cases.weighted)(outputs, tensor_of(y)).item()
    wrong = (outputs.argmax(dim=1) != tensor_of(y)).double().mean().item()
    assert_allclose(last_losses(tables), [[expected, wrong]] * 6, rtol=1e-10)


def test_a_coupled_loss_is_evaluated_at_the_batch_size_of_training() -> None:
    (x, y), _ = own_cases.numbers()
    tables, _, weights, _ = trained(experiment("one_column", "one_minus_correlation", "numbers"))
    module = with_weights(own_cases.one_column(), weights)
    each = [
        own_cases.one_minus_correlation(module(tensor_of(x[k : k + 4])), tensor_of(y[k : k + 4]))
        for k in range(0, 40, 4)
    ]
    assert_allclose(last_losses(tables)[:, 0], np.mean([one.item() for one in each]), rtol=1e-10)
    assert np.isnan(last_losses(tables)[:, 1]).all()


def test_batch_norm_on_batch_statistics_is_a_coupled_loss() -> None:
    of = experiment("with_batch_norm", CROSS_ENTROPY, "labelled", batch_norm="batch_statistics")
    tables, notes, weights, block = trained(of)
    assert notes["loss"] == COUPLED
    training, _ = own_cases.labelled()
    module = own_cases.with_batch_norm().double()
    module.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()}, strict=False)
    module[1].track_running_stats = False
    module[1].running_mean = module[1].running_var = None
    expected = plain_variance(module, functional.cross_entropy, training, block)
    assert_allclose(variance_at_0(tables), expected, rtol=1e-6)


def test_frozen_batch_norm_is_a_mean_and_running_statistics_are_refused_with_a_hint() -> None:
    _, notes, _, _ = trained(
        experiment("with_batch_norm", CROSS_ENTROPY, "labelled", batch_norm="frozen")
    )
    assert notes["loss"] == MEAN
    with pytest.raises(ConfigError, match="batch_norm: batch_statistics or batch_norm: frozen"):
        trained(experiment("with_batch_norm", CROSS_ENTROPY, "labelled"))


def test_a_first_layer_that_drops_in_place_leaves_the_data_as_they_were() -> None:
    runs, b = 400, 40
    of = experiment(
        "drops_in_place",
        CROSS_ENTROPY,
        "labelled",
        {"runs": runs, "runs_per_block": runs, "batch_sizes": [b]},
    )
    data = of.model.load(of, {})
    weights = of.model.draw_weights(of, 0, {})
    tables = of.model.train(Block(of, 0, b, 0, 1), weights, data)
    (x, y), _ = own_cases.labelled()
    assert_array_equal(data.examples[0].sets["training"][0], x)
    module = with_weights(own_cases.drops_in_place(), weights)
    torch.manual_seed(0)
    # All examples are in the batch: what varies is the dropout.
    draws = np.array(
        [
            plain_gradient(module, functional.cross_entropy, taken(x, slice(None)), tensor_of(y))
            for _ in range(runs)
        ]
    )
    own, ours = (draws - draws.mean(axis=0)) ** 2, tables.statistics
    expected, spread = own.sum(axis=1).mean(), own.sum(axis=1).std() / runs**0.5
    first = ours[ours["tensor"] == ALL].iloc[0]
    error = np.hypot(spread, np.sqrt(first["contribution_m2"] / (runs * (runs - 1))))
    assert abs(first["contribution_mean"] - expected) < 4 * error < 0.5 * expected


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (("one_column", "squares_of_all_pairs", "numbers"), r"broadcast to \(12, 12\)"),
        (("plain", "summed", "labelled"), "it is their sum"),
        (("drawn_unseeded", CROSS_ENTROPY, "labelled"), "two calls under the same seed give anoth"),
        (("plain", CROSS_ENTROPY, "unseeded"), "two calls under the same seed give other examples"),
        (("remembering", CROSS_ENTROPY, "labelled"), "it keeps something from call to call"),
        (("plain", CROSS_ENTROPY, "prints_and_ends"), "SystemExit: give a table"),
    ],
)
def test_what_would_give_wrong_numbers_is_refused_in_one_line(case, expected) -> None:
    with pytest.raises(ConfigError, match=expected) as caught:
        trained(experiment(*case))
    assert "\n" not in str(caught.value)


def test_an_embedding_that_changes_its_weights_is_named() -> None:
    of = experiment("Tagger", "of_tokens", "tokens", arguments={"make_model": {"max_norm": 0.5}})
    with pytest.raises(ConfigError, match=r"changes the parameter 'embedding.weight', as Embedd"):
        trained(of)


def test_a_last_mini_batch_that_does_not_fit_is_told_before_training() -> None:
    changes = {"batch_sizes": [4, 8]}
    of = experiment(
        "squeezed",
        "torch.nn.functional:binary_cross_entropy_with_logits",
        "signs",
        changes,
        arguments={"dataset": {"n": 41}},
    )
    expected = r"the last mini-batch of an epoch at b = 4, 1 of 41 examples.*last_batch: drop"
    with pytest.raises(ConfigError, match=expected):
        trained(of)
    once = experiment(
        "squeezed",
        "torch.nn.functional:binary_cross_entropy_with_logits",
        "signs",
        changes | {"sampling": "shuffled_once"},
        arguments={"dataset": {"n": 41}},
    )
    with pytest.raises(ConfigError, match=expected):
        trained(once)
    dropped = experiment(
        "squeezed",
        "torch.nn.functional:binary_cross_entropy_with_logits",
        "signs",
        changes | {"last_batch": "drop"},
        arguments={"dataset": {"n": 41}},
    )
    assert variance_at_0(trained(dropped)[0]) > 0


def test_sparse_gradients_of_embeddings_are_taken() -> None:
    sparse, dense = (
        trained(
            experiment("Tagger", "of_tokens", "tokens", arguments={"make_model": {"sparse": s}})
        )[0]
        for s in (True, False)
    )
    assert_allclose(variance_at_0(sparse), variance_at_0(dense), rtol=1e-10)


def test_a_binary_classifier_has_an_error_and_other_losses_of_one_column_none() -> None:
    (x, y), _ = own_cases.signs()
    tables, _, weights, _ = trained(experiment("one_column", "binary", "signs"))
    module = with_weights(own_cases.one_column(), weights)
    wrong = ((module(tensor_of(x))[:, 0] > 0) != tensor_of(y).bool()).double().mean().item()
    assert 0 < wrong < 1
    assert_allclose(last_losses(tables)[:, 1], wrong)
    of_tokens, *_ = trained(experiment("Tagger", "of_tokens", "tokens"))
    assert np.isnan(last_losses(of_tokens)[:, 1]).all()


def test_a_metric_of_ones_own_is_averaged_over_examples() -> None:
    (x, y), _ = own_cases.labelled()
    of = experiment("plain", CROSS_ENTROPY, "labelled", metric="own_cases:second_best")
    tables, _, weights, _ = trained(of)
    outputs = with_weights(own_cases.plain(), weights)(tensor_of(x))
    expected = own_cases.second_best(outputs, tensor_of(y)).double().mean().item()
    assert_allclose(last_losses(tables)[:, 1], expected)
    of = experiment("plain", CROSS_ENTROPY, "labelled", metric=CROSS_ENTROPY)
    with pytest.raises(ConfigError, match=r"metric: it gives .* allowed is one number an example"):
        trained(of)


def test_arguments_of_a_loss_may_be_class_weights() -> None:
    """A list becomes a tensor; the class and the ready-made module are one loss."""
    arguments = {"loss": {"weight": [1, 2, 20]}}
    by_class, by_module, by_function = (
        trained(experiment("plain", *settings))[0]
        if isinstance(settings, tuple)
        else trained(settings)[0]
        for settings in (
            experiment("plain", "torch.nn:CrossEntropyLoss", "by_class", arguments=arguments),
            ("weighted", "by_class"),
            experiment("plain", CROSS_ENTROPY, "by_class", arguments=arguments),
        )
    )
    assert_allclose(variance_at_0(by_class), variance_at_0(by_module), rtol=1e-12)
    assert_allclose(variance_at_0(by_function), variance_at_0(by_module), rtol=1e-12)


def test_labels_that_are_text_are_numbered_and_the_names_noted() -> None:
    text, notes, _, _ = trained(experiment("plain", CROSS_ENTROPY, "named"))
    numbers, *_ = trained(experiment("plain", CROSS_ENTROPY, "labelled"))
    assert notes["labels"] == ["cat", "dog", "emu"]
    assert variance_at_0(text) == variance_at_0(numbers)


@pytest.mark.parametrize("dataset", ["seeded_by_the_pipeline", "torch_datasets"])
def test_global_generators_are_seeded_before_a_data_set_is_made(dataset: str) -> None:
    first, second = (trained(experiment("plain", CROSS_ENTROPY, dataset))[0] for _ in range(2))
    assert first.statistics.equals(second.statistics)


def test_what_a_package_prints_is_in_the_log(caplog) -> None:
    with caplog.at_level(logging.INFO), pytest.raises(ConfigError, match="give a table"):
        trained(experiment("plain", CROSS_ENTROPY, "prints_and_ends"))
    assert "dataset prints: no such table" in caplog.text


def test_a_file_that_is_read_and_not_followed_is_named_in_the_log(tmp_path, caplog) -> None:
    path = tmp_path / "table.txt"
    np.savetxt(path, np.random.default_rng(0).normal(size=(50, 5)))
    arguments = {"dataset": {"path": str(path)}}
    trained(experiment("plain", CROSS_ENTROPY, "from_a_file", arguments=arguments))
    assert f"dataset reads {path}: its edits run the experiment again only if" in caplog.text
    caplog.clear()
    listed = {"arguments": arguments, "depends_on": [str(path)]}
    trained(experiment("plain", CROSS_ENTROPY, "from_a_file", **listed))
    assert "dataset reads" not in caplog.text


OPTIMIZERS = {
    "momentum": (
        {"kind": "sgd", "momentum": 0.9, "weight_decay": 0.0005},
        lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=0.0005),
    ),
    "adamw": (
        {"kind": "adamw", "weight_decay": 0.01},
        lambda p: torch.optim.AdamW(p, 0.05, weight_decay=0.01),
    ),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_after_the_first_are_those_of_torch_optim(name: str) -> None:
    settings, make_optimizer = OPTIMIZERS[name]
    tables, _, weights, block = trained(
        experiment("Recurrent", "torch.nn:MSELoss", "sequences", {"optimizer": settings})
    )
    (x, y), _ = own_cases.sequences()
    gradients = []
    for row in EpochSampler(32, 4, 6, block.stream()).order(0):
        module = with_weights(own_cases.Recurrent(), weights)
        optimizer = make_optimizer(module.parameters())
        steps = []
        for step in range(3):
            chosen = row[4 * step : 4 * step + 4]
            optimizer.zero_grad()
            functional.mse_loss(module(taken(x, chosen)), taken(y, chosen)).backward()
            steps.append(torch.cat([p.grad.flatten().clone() for p in module.parameters()]))
            optimizer.step()
        gradients.append(torch.stack(steps).numpy())
    expected = np.var(gradients, axis=0, ddof=1).sum(axis=1)
    rows = tables.statistics[tables.statistics["tensor"] == ALL].sort_values("step")
    assert_allclose(rows["contribution_mean"].iloc[:3], expected, rtol=1e-6)


def test_a_rate_in_scientific_notation_is_a_number_and_a_cosine_a_schedule() -> None:
    """YAML reads 1e-3, which has no point, as text."""
    rate = {"learning_rate": yaml.safe_load("{schedule: cosine, initial: 1e-3}")}
    of = experiment("plain", CROSS_ENTROPY, "labelled", rate)
    assert of.learning_rate.initial == 0.001
    assert variance_at_0(trained(of)[0]) > 0


def test_clipping_as_part_of_the_optimizer_is_told_where_it_belongs() -> None:
    changes = {"optimizer": {"kind": "sgd", "clip_norm": 1.0}}
    with pytest.raises(ConfigError, match=r"optimizer.clip_norm: unknown key.*clipping: \{norm"):
        experiment("plain", CROSS_ENTROPY, "labelled", changes)
