"""Modules of the user's own: blocks against plain loops and enumeration, and each early error."""

import copy
import itertools
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from numpy.testing import assert_allclose
from torch import Tensor, nn
from torch.nn import functional

from blocks import scheduled_plan
from pipeline_lib.claims.own import decreasing_variance
from pipeline_lib.errors import ConfigError
from pipeline_lib.estimation.statistics import ALL
from pipeline_lib.imports import load_object, source_files
from pipeline_lib.models import MODELS
from pipeline_lib.models.module.block import bytes_kept, can_vectorise, chunk_of, module_block
from pipeline_lib.models.module.own_checks import check_fit
from pipeline_lib.models.module.own_data import OwnData, load_data
from pipeline_lib.models.module.own_module import load_weights, make_module, weights_of
from pipeline_lib.sampling.epochs import EpochSampler
from pipeline_lib.seeding import seed_sequence
from pipeline_lib.study.config import load_study
from pipeline_lib.study.learning_rate import LearningRate
from pipeline_lib.study.optimizers import PLAIN_SGD, Adam, Sgd

ROOT = Path(__file__).resolve().parents[2]
STREAM = seed_sequence(7, "own")
RATE = LearningRate("inverse_time", 0.1)
OPTIMIZERS = pytest.mark.parametrize("optimizer", ["sgd", "adam"])


def linear(p: int = 2) -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(p, 1), nn.Flatten(0)).double()


def classifier() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()


def regression_data(n: int = 5, p: int = 2) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    pair = rng.standard_normal((n, p)), rng.standard_normal(n)
    return {"training": pair, "validation": pair}


def labelled_data(n: int = 12) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    pair = rng.standard_normal((n, 4)), rng.integers(3, size=n)
    return {"training": pair, "validation": pair}


def run(module, loss, sets, batch_size, epochs, n_replicas, optimizer="sgd", **settings):
    plan = scheduled_plan(
        len(sets["training"][0]),
        RATE,
        "every",
        batch_size=batch_size,
        epochs=epochs,
        n_replicas=n_replicas,
        stream=STREAM,
        evaluated_epochs={"training": [epochs]},
        chunk=chunk_of(batch_size),
        optimizer={"sgd": Sgd(), "adam": Adam()}[optimizer],
        **settings,
    )
    return module_block(module, loss, sets, plan)


def gradients_along(module, loss, sets, order, batch_size, n_steps, optimizer) -> np.ndarray:
    """Gradients at each step of one run by torch's own optimiser, (n_steps, parameters)."""
    module = copy.deepcopy(module)
    x, y = (torch.as_tensor(part) for part in sets["training"])
    parameters = list(module.parameters())
    kind = torch.optim.SGD if optimizer == "sgd" else torch.optim.Adam
    stepper = kind(parameters, lr=1.0)
    steps = []
    for t in range(n_steps):
        chosen = order[t * batch_size : (t + 1) * batch_size]
        stepper.param_groups[0]["lr"] = 0.1 / (t + 1)
        stepper.zero_grad()
        loss(module(x[chosen]), y[chosen]).backward()
        steps.append(torch.cat([p.grad.flatten() for p in parameters]).numpy().copy())
        stepper.step()
    return np.array(steps)


def of_all(statistics: pd.DataFrame) -> pd.DataFrame:
    return statistics[statistics["tensor"] == ALL].sort_values("step")


@OPTIMIZERS
def test_variance_is_that_of_plain_loops_over_the_same_orders(optimizer: str) -> None:
    sets, module = labelled_data(), classifier()
    result = run(module, functional.cross_entropy, sets, 4, 2, 6, optimizer)
    sampler = EpochSampler(12, 4, 6, STREAM)
    orders = np.concatenate([sampler.order(0), sampler.order(1)], axis=1)
    gradients = np.array(
        [
            gradients_along(module, functional.cross_entropy, sets, order, 4, 6, optimizer)
            for order in orders
        ]
    )
    expected = gradients.var(axis=0, ddof=1).sum(axis=1)
    assert_allclose(of_all(result.statistics)["contribution_mean"], expected, rtol=1e-8)
    assert result.divergence.empty


@OPTIMIZERS
def test_estimates_agree_with_the_enumeration_of_all_orders(optimizer: str) -> None:
    """Linear regression on 5 examples, b = 2: every one of the 120 orders is equally likely."""
    sets, module = regression_data(), linear()
    result = run(module, functional.mse_loss, sets, 2, 1, 3000, optimizer, last_batch="drop")
    every = np.array(
        [
            gradients_along(module, functional.mse_loss, sets, list(order), 2, 2, optimizer)
            for order in itertools.permutations(range(5))
        ]
    )
    exact = every.var(axis=0).sum(axis=1)
    rows = of_all(result.statistics)
    n = rows["n_replicas"]
    error = np.sqrt(rows["contribution_m2"] / (n * (n - 1)))
    z = (rows["contribution_mean"] - exact) / error
    assert (np.abs(z) < 4).all(), z
    assert (error < 0.05 * exact).all()  # or the test could not fail


def test_step_0_of_linear_regression_has_its_closed_form() -> None:
    """(1/b - 1/n) n/(n-1) times the population variance of one example's gradient."""
    sets, module = regression_data(), linear()
    x, y = sets["training"]
    weight, bias = (p.detach().numpy() for p in module.parameters())
    residual = x @ weight[0] + bias[0] - y
    single = 2 * residual[:, None] * np.column_stack([x, np.ones(5)])
    closed = (1 / 2 - 1 / 5) * 5 / 4 * single.var(axis=0).sum()
    every = np.array(
        [
            gradients_along(module, functional.mse_loss, sets, list(pair), 2, 1, "sgd")[0]
            for pair in itertools.combinations(range(5), 2)
        ]
    )
    assert_allclose(every.var(axis=0).sum(), closed, rtol=1e-12)
    rows = of_all(run(module, functional.mse_loss, sets, 2, 1, 3000).statistics)
    first = rows.iloc[0]
    error = np.sqrt(first["contribution_m2"] / 3000 / 2999)
    assert abs(first["contribution_mean"] - closed) < 4 * error < 0.2 * closed


class Branching(nn.Module):
    """Its forward pass depends on the data, which torch.func cannot vectorise."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) if x.sum() > 0 else self.linear(2 * x)


def test_a_module_that_cannot_be_vectorised_is_trained_one_by_one(caplog) -> None:
    sets, module = labelled_data(), Branching().double()
    with caplog.at_level(logging.WARNING):
        assert not can_vectorise(module, functional.cross_entropy, sets["training"])
    assert "one after the other" in caplog.text
    result = run(module, functional.cross_entropy, sets, 4, 1, 3)
    assert (of_all(result.statistics)["contribution_mean"] > 0).all()


class Scaled(nn.Linear):
    """Its outputs have a scale of their own, a parameter without dimensions."""

    def __init__(self) -> None:
        super().__init__(4, 3)
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * super().forward(x)


@OPTIMIZERS
def test_a_parameter_may_be_a_single_number(optimizer: str) -> None:
    sets, module = labelled_data(), Scaled().double()
    rows = run(module, functional.cross_entropy, sets, 4, 1, 6, optimizer).statistics
    assert set(rows["tensor"]) == {ALL, "scale", "weight", "bias"}
    order = EpochSampler(12, 4, 6, STREAM).order(0)
    gradients = np.array(
        [
            gradients_along(module, functional.cross_entropy, sets, of, 4, 3, optimizer)
            for of in order
        ]
    )
    assert [name for name, _ in module.named_parameters()] == ["weight", "bias", "scale"]
    expected = gradients[:, :, -1].var(axis=0, ddof=1)
    of_scale = rows[rows["tensor"] == "scale"].sort_values("step")
    assert_allclose(of_scale["contribution_mean"], expected, rtol=1e-8)


def test_dropout_draws_depend_on_the_stream_alone() -> None:
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 3)).double()
    loss, sets = functional.cross_entropy, labelled_data()
    first = run(module, loss, sets, 4, 1, 5)
    state = torch.random.get_rng_state()
    again = run(module, loss, sets, 4, 1, 5)
    assert first.statistics.equals(again.statistics)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_what_a_forward_pass_keeps_grows_with_the_batch_and_holds_no_weights() -> None:
    x, y = (torch.as_tensor(part) for part in labelled_data()["training"])
    module = classifier()
    few, many = (bytes_kept(module, functional.cross_entropy, x[:b], y[:b]) for b in (3, 12))
    assert 0 < few < many <= 4 * few + 64
    # Inputs, the activation of 5 units, its scores twice at most, labels and a scalar.
    assert many <= 12 * 8 * (4 + 5 + 3 + 3 + 1) + 64


def test_too_little_memory_is_told(monkeypatch) -> None:
    monkeypatch.setattr("pipeline_lib.training.memory.free_memory", lambda device: 4000)
    with pytest.raises(ConfigError, match=r"b = 4: three replicas take \d+ MiB"):
        run(classifier(), functional.cross_entropy, labelled_data(), 4, 1, 5)


def test_fewer_replicas_at_once_do_not_change_the_runs(monkeypatch) -> None:
    sets, module = labelled_data(), classifier()
    whole = run(module, functional.cross_entropy, sets, 4, 1, 6)
    monkeypatch.setattr("pipeline_lib.models.module.block.most_that_fit", lambda *_: 3)
    groups = run(module, functional.cross_entropy, sets, 4, 1, 6)
    assert set(groups.statistics["dof"]) == {4}
    assert_allclose(groups.metrics["loss"], whole.metrics["loss"], rtol=1e-12)


# --- made from the configuration


def test_initial_weights_depend_on_seed_and_init_alone() -> None:
    def make(width: int = 3) -> nn.Module:
        return nn.Linear(width, 2)

    torch.manual_seed(123)
    state = torch.random.get_rng_state()
    first = weights_of(make_module(make, {"width": 4}, "float64", 1, 0))
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(5)
    again = weights_of(make_module(make, {"width": 4}, "float64", 1, 0))
    other = weights_of(make_module(make, {"width": 4}, "float64", 1, 1))
    assert first["weight"].shape == (2, 4)
    assert first["weight"].dtype == np.float64
    assert (first["weight"] == again["weight"]).all()
    assert (first["weight"] != other["weight"]).all()
    module = nn.Linear(4, 2).double()
    load_weights(module, first)
    assert (module.weight.detach().numpy() == first["weight"]).all()
    with pytest.raises(ConfigError, match="does not take the initial weights"):
        load_weights(nn.Linear(5, 2), first)


def test_data_may_be_tensors_and_take_the_precision_of_the_model() -> None:
    x, y = np.ones((4, 2), dtype=np.float32), torch.tensor([0, 1, 0, 1], dtype=torch.uint8)
    data = load_data(lambda n: ((x[:n], y[:n]), (x, y)), {"n": 3}, "float64")
    sets = data.sets
    assert sets["training"][0].dtype == np.float64
    assert sets["training"][1].dtype == np.int64
    assert [len(part) for part in sets["training"]] == [3, 3]
    changed = load_data(lambda: ((2 * x[:3], y[:3]), (x, y)), {}, "float64")
    assert data.digest() != changed.digest()
    assert data.digest() == copy.deepcopy(data).digest()


def normalised() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)).double()


class Counting(nn.Module):
    """Counts its calls in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.linear(x)


class Pair(nn.Linear):
    """Returns two tensors."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(x), x


def summed(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(outputs, targets, reduction="sum")


def each(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(outputs, targets, reduction="none")


FIVE_LABELS = {
    split: (x, np.where(np.arange(12) == 11, 4, y)) for split, (x, y) in labelled_data().items()
}


@pytest.mark.parametrize(
    ("module", "loss", "sets", "largest", "expected"),
    [
        (normalised(), functional.cross_entropy, labelled_data(), 4, "1 is a BatchNorm1d with"),
        (Counting().double(), functional.cross_entropy, labelled_data(), 4, "the buffer 'calls'"),
        (classifier(), summed, labelled_data(), 4, "loss must be the mean over examples"),
        (classifier(), each, labelled_data(), 4, r"give shape \(8,\); allowed is one number"),
        (classifier(), lambda o, t: 1.0, labelled_data(), 4, "give float; allowed is one number"),
        (classifier(), functional.cross_entropy, labelled_data(), 13, "13 is above the 12 train"),
        (nn.Linear(7, 3).double(), summed, labelled_data(), 4, r"not take inputs \(8, 4\) float64"),
        (Pair(4, 3).double(), summed, labelled_data(), 4, r"outputs \(\(8, 3\) float64, \(8, 4\)"),
        # Without flattening (8, 1) and (8,) would be broadcast to (8, 8).
        (
            linear()[0],
            functional.mse_loss,
            regression_data(12),
            4,
            r"outputs \(8, 1\) float64 and targets \(8,\) float64 do not fit",
        ),
        # The label 4 of the last example has no score.
        (classifier(), functional.cross_entropy, FIVE_LABELS, 4, "do not fit: IndexError"),
        (
            classifier(),
            lambda o, t: functional.cross_entropy(o, t) * torch.inf,
            labelled_data(),
            4,
            "inf on training examples at the initial weights",
        ),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(module, loss, sets, largest, expected) -> None:
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(ConfigError, match=expected) as caught:
        check_fit(module, loss, OwnData(sets), [largest])
    assert "\n" not in str(caught.value)
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_what_fits_is_left_as_it_was() -> None:
    module = nn.Sequential(nn.Linear(4, 5), nn.Dropout(0.5), nn.Linear(5, 3)).double()
    check_fit(module, functional.cross_entropy, OwnData(labelled_data()), [12])
    assert module.training
    assert module[1].training


@pytest.mark.parametrize(
    ("make_model", "expected"),
    [
        (lambda: 3, "returns type int; allowed is a torch.nn.Module"),
        (lambda: nn.ReLU(), "no parameter to train"),
        (lambda width: None, "calling it fails: TypeError"),
    ],
)
def test_what_makes_no_module_is_told(make_model, expected) -> None:
    with pytest.raises(ConfigError, match=expected):
        make_module(make_model, {}, "float32", 1, 0)


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        (np.zeros(3), "it is to return"),
        (((np.zeros((3, 1)), np.zeros(2)), (np.zeros((3, 1)), np.zeros(3))), "training has x of"),
        (((np.zeros((3, 1)), np.zeros(3, "datetime64[D]")),) * 2, "numbers are of type datetime64"),
    ],
)
def test_a_dataset_of_another_form_is_told(dataset, expected) -> None:
    with pytest.raises(ConfigError, match=expected) as caught:
        load_data(lambda: dataset, {}, "float32")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("torch.nn.functional", "names no object; expected 'package.module:name'"),
        ("torch.nn:functional.cross_entropy", "names no object"),
        ("no_such_package.networks:make_model", "no module 'no_such_package'; expected 'package.m"),
        ("torch.no_such_module:make_model", "no module 'torch.no_such_module'; expected"),
        ("torch.nn.functional:cross_entropie", "torch.nn.functional has no 'cross_entropie'; expe"),
        ("math:pi", "is of type float; allowed: what can be called"),
        ("own_broken:make", "importing it fails: No module named 'absent'"),
        ("own_raising:make", "importing it fails: ValueError: first line"),
    ],
)
def test_an_import_path_that_names_nothing_is_told(
    reference, expected, tmp_path, monkeypatch
) -> None:
    (tmp_path / "own_broken.py").write_text("import absent\n")
    (tmp_path / "own_raising.py").write_text("raise ValueError('first line\\nsecond')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=expected) as caught:
        load_object("config: experiments.mine.model.loss", reference)
    assert "\n" not in str(caught.value)
    assert repr(reference) in str(caught.value)


def test_an_import_path_that_exists_is_followed() -> None:
    assert load_object("loss", "torch.nn.functional:mse_loss") is functional.mse_loss


def test_source_files_are_those_of_the_package_in_the_first_folder(tmp_path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder / "pack/sub").mkdir(parents=True)
        for name in ("__init__.py", "sub/net.py", "notes.txt"):
            (tmp_path / folder / "pack" / name).touch()
    (tmp_path / "two/alone.py").touch()
    folders = [tmp_path / "one", tmp_path / "two"]
    found = source_files("pack.sub.net:make", folders)
    assert found == [tmp_path / "one/pack" / name for name in ("__init__.py", "sub/net.py")]
    assert source_files("alone:make", folders) == [tmp_path / "two/alone.py"]
    assert source_files("torch.nn:Linear", folders) == []


# --- the configuration


def study_with(**changes) -> object:
    raw = yaml.safe_load((ROOT / "config.yaml").read_text())
    example = yaml.safe_load((ROOT / "examples/digits/config.yaml").read_text())
    mine = example["experiments"]["digits_plain_adam"]
    for path, value in changes.items():
        *parents, last = path.split("__")
        target = mine
        for part in parents:
            target = target[part]
        if value is None:
            del target[last]
        else:
            target[last] = value
    raw["experiments"]["mine"] = mine
    raw["only"] = ["mine"]
    return load_study(raw, MODELS)


def test_only_the_chosen_experiments_are_built() -> None:
    study = study_with()
    assert study.chosen == ("mine",)
    assert "mnist" in study.experiments
    experiment = study.experiments["mine"]
    assert experiment.optimizer.kind == "adam"
    assert experiment.evaluated_epochs().keys() == {"training", "validation"}
    assert experiment.training()["model"]["arguments"]["dataset"] == {"training": 1280}
    assert (
        study_with(optimizer=None, model__arguments=None).experiments["mine"].optimizer == PLAIN_SGD
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"model__loss": "cross_entropy"}, "model.loss: 'cross_entropy' names no object"),
        ({"model__make_model": 3}, "model.make_model: 3 is of the wrong type"),
        ({"model__arguments": {"losses": {}}}, "arguments.losses: unknown key"),
        ({"initial_weights__scale": 1.0}, "initial_weights.scale: 1.0 is not for a model of kind"),
        ({"optimizer": {"kind": "adagard"}}, "the nearest is adagrad"),
        (
            {"optimizer": {"kind": "adam", "clip_norm": 1.0}},
            "clip_norm: unknown key; allowed: kind",
        ),
        ({"distorted_every": 1}, "distorted_every: not for a model of kind module"),
        ({"iterations": 5}, "iterations: not for a model of kind module"),
        ({"epochs": None}, "epochs: missing; a model of kind module needs it"),
    ],
)
def test_a_mistake_in_the_configuration_is_told_in_one_line(changes, expected) -> None:
    with pytest.raises(ConfigError) as caught:
        study_with(**changes)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_choice_is_told() -> None:
    raw = yaml.safe_load((ROOT / "config.yaml").read_text()) | {"only": ["mnits"]}
    with pytest.raises(ConfigError, match="only: 'mnits' is no experiment; allowed: admission"):
        load_study(raw, MODELS)


# --- the verdict


def variances(at: dict[int, list[float]], relative_error: float = 0.01) -> pd.DataFrame:
    rows = [
        {"b": b, "step": step, "variance": value, "std_error": relative_error * value}
        for b, values in at.items()
        for step, value in enumerate(values)
    ]
    constant = {
        "init": 0,
        "quantity": "stochastic_gradient",
        "tensor": ALL,
        "estimator": "sample",
        "n_runs": 100,
        "dof": 99,
        "reliable": True,
    }
    return pd.DataFrame(rows).assign(**constant)


@pytest.mark.parametrize(
    ("at", "verdict", "n_comparisons"),
    [
        # The largest size has fewer steps, which leaves nothing open.
        ({8: [4.0, 3.0, 2.0], 32: [1.0, 0.9, 0.8], 64: [0.5]}, "confirmed", 4),
        ({8: [4.0, 3.0], 32: [1.0, 3.9]}, "refuted", 2),
        ({8: [4.0, 3.0], 32: [1.0, 3.0]}, "partly", 2),
        ({8: [4.0, 3.0]}, "not tested at this scale", 0),
    ],
)
def test_verdict_on_the_order(at, verdict, n_comparisons) -> None:
    found = decreasing_variance(variances(at), "mine")
    assert (found.verdict, found.n_comparisons) == (verdict, n_comparisons)
    assert found.id == "mine"
