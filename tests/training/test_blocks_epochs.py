"""A block trained in epochs against every shuffle, a plain loop, and itself in groups."""

import logging
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import Tensor, nn
from torch.nn import functional

from pipeline_lib.artifacts.block_tables import BlockTables
from pipeline_lib.artifacts.files import read_table, write_table
from pipeline_lib.artifacts.schemas import SCHEMAS
from pipeline_lib.estimation.inference import sidak_level, variance_interval
from pipeline_lib.estimation.statistics import ALL, STOCHASTIC
from pipeline_lib.models.perceptron.replicas import MlpReplicas
from pipeline_lib.sampling.epochs import EpochSampler
from pipeline_lib.seeding import seed_sequence
from pipeline_lib.training.epoch_plan import EpochData, EpochPlan
from pipeline_lib.training.epochs import epoch_block
from pipeline_lib.training.module_stack import ModuleReplicas

STREAM = seed_sequence(3, "epochs")
TENSORS = ("W1", "b1", "W2", "b2")


def weights_of(p: int, hidden: int, classes: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64) / shape[-1] ** 0.5

    return {
        "W1": draw(hidden, p),
        "b1": 0.1 * draw(hidden),
        "W2": draw(classes, hidden),
        "b2": 0.1 * draw(classes),
    }


def examples(n: int, p: int, classes: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, p)), rng.integers(classes, size=n)


WEIGHTS = weights_of(5, 6, 3)
X, Y = examples(11, 5, 3)
TEST = examples(7, 5, 3, seed=2)


def data(device: str = "cpu", dtype: type = np.float64) -> EpochData:
    sets = {name: (x.astype(dtype), y) for name, (x, y) in {"train": (X, Y), "test": TEST}.items()}
    return EpochData.on(device, *sets["train"], sets)


PLAN = EpochPlan(
    learning_rates=lambda step: 0.2,
    batch_size=4,
    epochs=3,
    n_replicas=6,
    stream=STREAM,
    recorded=(0, 1, 3, 7),
    evaluated_epochs={"train": [1], "test": range(4)},
)


def block(
    weights: dict[str, Tensor] = WEIGHTS, group_size: int | None = None, **changes
) -> BlockTables:
    """A block of `PLAN`, but for ``changes``."""
    return epoch_block(
        lambda r: MlpReplicas(weights, len(r), threads=2),
        data(dtype=weights["W1"].numpy().dtype),
        replace(PLAN, **changes),
        group_size,
    )


def loss_of(parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
    hidden = functional.linear(x, parameters["W1"], parameters["b1"]).relu()
    return functional.cross_entropy(
        functional.linear(hidden, parameters["W2"], parameters["b2"]), y
    )


def gradients_along(
    order: np.ndarray,
    sizes: list[int],
    rates: list[float],
    x: np.ndarray,
    y: np.ndarray,
    weights: dict[str, Tensor],
) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
    """Gradients at every step of a run on consecutive examples of ``order``; its final weights."""
    weights = {name: weight.clone() for name, weight in weights.items()}
    steps, start = [], 0
    for size, rate in zip(sizes, rates, strict=True):
        chosen = order[start : start + size]
        start += size
        leaves = {name: weight.clone().requires_grad_() for name, weight in weights.items()}
        loss = loss_of(leaves, torch.from_numpy(x[chosen]), torch.from_numpy(y[chosen]))
        gradients = torch.autograd.grad(loss, list(leaves.values()))
        steps.append(dict(zip(leaves, gradients, strict=True)))
        for name, gradient in steps[-1].items():
            weights[name] -= rate * gradient
    return steps, weights


def joined(gradients: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """Flat gradients by tensor, and of all together."""
    flat = {name: gradient.flatten().numpy() for name, gradient in gradients.items()}
    return flat | {ALL: np.concatenate(list(flat.values()))}


@pytest.mark.slow
@pytest.mark.parametrize("group_size", [None, 1000])
def test_variance_is_that_over_all_shuffles(group_size: int | None) -> None:
    """Every order of four examples is as likely as any other: the truth is a finite mean."""
    x, y = examples(4, 3, 2, seed=8)
    weights = weights_of(3, 4, 2)
    rate, n_replicas = 0.7, 4000
    runs = [
        gradients_along(np.array(order), [2, 2], [rate] * 2, x, y, weights)[0]
        for order in permutations(range(4))
    ]
    result = epoch_block(
        lambda r: MlpReplicas(weights, len(r), threads=2),
        EpochData.on("cpu", x, y, {}),
        EpochPlan([rate] * 2, 2, 1, n_replicas, STREAM, [0, 1], {}),
        group_size,
    ).statistics
    assert len(result) == 10
    assert (result["n_replicas"] == n_replicas).all()
    for row in result.itertuples():
        interval = variance_interval(
            n_replicas,
            row.contribution_mean,
            row.contribution_m2,
            row.contribution_m3,
            sidak_level(0.999, len(result)),
        )
        truth = spread([joined(run[row.step])[row.tensor] for run in runs])
        assert interval.low < truth < interval.high, (row.tensor, row.step)
        if (row.tensor, row.step) == (ALL, 1):
            # Not so if the second mini-batch were drawn afresh from all examples.
            afresh = [
                np.concatenate([one, two])
                for one in permutations(range(4), 2)
                for two in permutations(range(4), 2)
            ]
            others = [gradients_along(o, [2, 2], [rate] * 2, x, y, weights)[0] for o in afresh]
            wrong = spread([joined(run[1])[ALL] for run in others])
            assert not interval.low < wrong < interval.high


def spread(vectors: list[np.ndarray]) -> float:
    """E |v - E v|^2 of vectors that are equally likely."""
    deviations = np.stack(vectors) - np.mean(vectors, axis=0)
    return float((deviations**2).sum(axis=1).mean())


@pytest.mark.parametrize("last_batch", ["keep", "drop"])
def test_a_block_is_the_plain_loop(last_batch: str) -> None:
    epochs, n_replicas = 3, 5
    recorded = (0, 1, 3, 4, 7) if last_batch == "keep" else (0, 1, 2, 3, 5)
    sampler = EpochSampler(len(X), 4, n_replicas, STREAM, last_batch)
    sizes = [4, 4, 3] if last_batch == "keep" else [4, 4]
    rates = [0.3 / (1 + t) for t in range(len(sizes) * epochs)]
    result = block(
        n_replicas=n_replicas,
        recorded=recorded,
        learning_rates=rates.__getitem__,
        last_batch=last_batch,
        evaluated_epochs={"train": [epochs], "test": [0, 2]},
    )
    after: list[list[dict[str, Tensor]]] = [[WEIGHTS] * n_replicas]
    steps: list[list[dict[str, np.ndarray]]] = []
    for epoch in range(epochs):
        of_epoch = rates[epoch * len(sizes) : (epoch + 1) * len(sizes)]
        orders = sampler.order(epoch)
        runs = [
            gradients_along(orders[r], sizes, of_epoch, X, Y, after[-1][r])
            for r in range(n_replicas)
        ]
        after.append([final for _, final in runs])
        steps += [[joined(run[t]) for run, _ in runs] for t in range(len(sizes))]

    table = result.statistics
    assert sorted(table["step"].unique()) == list(recorded)
    assert set(table["tensor"]) == {*TENSORS, ALL}
    assert set(table["quantity"]) == {STOCHASTIC}
    assert set(table["estimator"]) == {"sample"}
    assert_array_equal(table["epoch"], table["step"] // len(sizes))
    for row in table.itertuples():
        vectors = np.stack([run[row.tensor] for run in steps[row.step]])
        deviations = ((vectors - vectors.mean(axis=0)) ** 2).sum()
        assert_allclose(row.sum_sq_dev, deviations, rtol=1e-9, atol=1e-20)
        assert_allclose(row.contribution_mean, deviations / (n_replicas - 1), rtol=1e-9)
        assert_allclose(row.mean_sq_norm, (vectors**2).sum() / n_replicas, rtol=1e-9)
    assert len(result.divergence) == 0

    metrics = result.metrics
    assert len(metrics) == 3 * n_replicas
    sets = {"train": (X, Y), "test": TEST}
    for row in metrics.itertuples():
        x, y = (torch.from_numpy(part) for part in sets[row.split])
        weights = after[row.epoch][row.replica]
        assert_allclose(row.loss, loss_of(weights, x, y), rtol=1e-10)
        hidden = (x @ weights["W1"].T + weights["b1"]).relu()
        label = (hidden @ weights["W2"].T + weights["b2"]).argmax(dim=1)
        assert_allclose(row.error, (label != y).double().mean(), rtol=1e-12)


def test_recording_changes_no_path() -> None:
    few, many = block(recorded=(0,)), block(recorded=(0, 1, 3, 4, 6, 7))
    assert_allclose(few.metrics["loss"], many.metrics["loss"], rtol=1e-12)
    shared = many.statistics.query("step == 0").reset_index(drop=True)
    pd.testing.assert_frame_equal(few.statistics, shared)


def test_steps_at_once_change_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = block(recorded=(0, 7))
    for at_once in (1, 2):
        monkeypatch.setattr("pipeline_lib.training.epoch_run._STEPS_AT_ONCE", at_once)
        parts = block(recorded=(0, 7))
        pd.testing.assert_frame_equal(parts.statistics, whole.statistics, check_exact=True)
        pd.testing.assert_frame_equal(parts.metrics, whole.metrics, check_exact=True)


@pytest.mark.parametrize(("seconds", "most"), [(0.01, 64), (2.0, 3), (60.0, 1)])
def test_slow_steps_are_not_put_off_for_long(
    seconds: float, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    together: list[int] = []

    def descend_through(self, batches, rates) -> None:
        together.append(len(batches))
        clock[0] += seconds * len(batches)

    monkeypatch.setattr("pipeline_lib.training.epoch_run.time.monotonic", lambda: clock[0])
    monkeypatch.setattr(MlpReplicas, "descend_through", descend_through)
    block(batch_size=1, epochs=20, recorded=(0,), evaluated_epochs={})
    assert max(together) == min(most, len(Y))
    assert together[0] == 1, "until it is known how long a step takes"


def test_more_records_than_are_kept_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = block(recorded=(0, 1, 3, 4, 6, 7))
    monkeypatch.setattr("pipeline_lib.training.epoch_record._STEPS_PER_RECORD", 1)
    pd.testing.assert_frame_equal(block(recorded=(0, 1, 3, 4, 6, 7)).statistics, whole.statistics)


def test_groups_train_the_same_replicas() -> None:
    whole, parts = block(n_replicas=7), block(n_replicas=7, group_size=3)
    pd.testing.assert_frame_equal(whole.metrics, parts.metrics, check_exact=True)
    one, two = whole.statistics, parts.statistics
    assert_array_equal(two["n_replicas"], 7)
    assert_array_equal(one["dof"], 6)
    assert_array_equal(two["dof"], 4)  # groups of 3, 2 and 2
    assert_allclose(one["mean_sq_norm"], two["mean_sq_norm"], rtol=1e-12)
    assert_array_equal(one["epoch"], two["epoch"])
    order = EpochSampler(len(X), 4, 7, STREAM).order(0)
    runs = [gradients_along(row, [4, 4], [0.2] * 2, X, Y, WEIGHTS)[0] for row in order]
    for row in two.query("step <= 1").itertuples():
        vectors = np.stack([joined(run[row.step])[row.tensor] for run in runs])
        groups = np.split(vectors, [3, 5])
        within = sum(((group - group.mean(axis=0)) ** 2).sum() for group in groups)
        assert_allclose(row.sum_sq_dev, within, rtol=1e-9)
        assert_allclose(row.contribution_mean, within / 4, rtol=1e-9)


def test_averages_over_examples_belong_to_replicas_not_to_groups() -> None:
    whole, parts = (block(n_replicas=7, group_size=size, averaged=6).statistics for size in (7, 3))
    for estimator in ("sample", "rao_blackwell"):
        one, two = (t[t["estimator"] == estimator].reset_index() for t in (whole, parts))
        assert_allclose(one["conditional_variance"], two["conditional_variance"], rtol=1e-12)
    assert set(whole["quantity"]) == {"stochastic_gradient", "full_gradient"}
    averaged = whole[whole["estimator"] == "rao_blackwell"]
    assert (averaged["conditional_variance"] > 0).all()
    plain = block(n_replicas=7).statistics
    same = whole.query("estimator == 'sample' and quantity == 'stochastic_gradient'")
    numbers = ["step", "tensor", "contribution_mean", "contribution_m2"]
    pd.testing.assert_frame_equal(
        same[numbers].reset_index(drop=True), plain[numbers].reset_index(drop=True)
    )


def test_any_module_trains_as_the_built_in_network() -> None:
    given = block()
    module = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3)).double()
    names = {"W1": "0.weight", "b1": "0.bias", "W2": "2.weight", "b2": "2.bias", ALL: ALL}
    module.load_state_dict({names[name]: weight for name, weight in WEIGHTS.items()})
    result = epoch_block(
        lambda r: ModuleReplicas(module, functional.cross_entropy, len(r)), data(), PLAN
    )
    pd.testing.assert_frame_equal(result.metrics, given.metrics, rtol=1e-10)
    expected = given.statistics.assign(tensor=given.statistics["tensor"].map(names))
    order = ["tensor", "step"]
    pd.testing.assert_frame_equal(
        result.statistics.sort_values(order, ignore_index=True),
        expected.sort_values(order, ignore_index=True),
        rtol=1e-9,
    )


def test_a_constant_rate_is_a_sequence_or_a_function() -> None:
    given = block()
    result = block(learning_rates=np.full(9, 0.2), recorded=np.array([0, 1, 3, 7]))
    pd.testing.assert_frame_equal(result.statistics, given.statistics)
    pd.testing.assert_frame_equal(result.metrics, given.metrics)


@pytest.mark.parametrize("kind", ["statistics", "divergence", "metrics"])
def test_tables_fit_their_schemas(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"{kind}.parquet"
    table = getattr(block(), kind)
    write_table(path, table, kind)
    assert list(read_table(path, kind).columns) == SCHEMAS[kind].names
    write_table(path, getattr(block(evaluated_epochs={}), kind), kind)


@pytest.mark.parametrize("recorded", [(0, 1, 3, 4, 6, 7), (0,)])
def test_a_diverged_replica_is_reported(
    recorded: tuple[int, ...], caplog: pytest.LogCaptureFixture
) -> None:
    single = {name: weight.float() for name, weight in WEIGHTS.items()}
    with caplog.at_level(logging.WARNING):
        result = block(single, 3, recorded=recorded, learning_rates=lambda step: 1e30)
    lost = result.divergence
    assert lost["replica"].tolist() == list(range(6)), "indices count over the whole block"
    # With one record, before the first step, the loss is seen after the last of nine.
    assert set(lost["step"]) <= set(recorded[1:]) | {9}
    if recorded == (0,):
        assert (lost["step"] == 9).all()
    assert "6 of 6 replicas diverged" in caplog.text
    metrics = result.metrics
    before = metrics["epoch"] == 0
    assert metrics[before].notna().all(axis=None)
    assert metrics[metrics["epoch"] == 3][["loss", "error"]].isna().all(axis=None)
    numbers = result.statistics.set_index("step")
    assert np.isfinite(numbers.loc[0, "contribution_mean"]).all()
    first = lost["step"].min()
    assert numbers.loc[numbers.index >= first, "contribution_mean"].isna().all()


def test_an_infinite_weight_behind_dead_units_is_divergence() -> None:
    """The gradient is finite, the loss too: only the weight tells."""
    dead = {name: weight.clone() for name, weight in WEIGHTS.items()}
    dead["b1"] = torch.full_like(dead["b1"], -torch.inf)
    result = block(dead, recorded=(0, 3), evaluated_epochs={})
    assert_array_equal(result.divergence["step"], 0)
    assert result.statistics["contribution_mean"].isna().all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recorded": ()}, "recorded steps must be some of 0 to 8"),
        ({"recorded": (9,)}, "recorded steps must be some of 0 to 8"),
        ({"recorded": (0, 2)}, "short mini-batch"),
        ({"evaluated_epochs": {"test": [4]}}, r"nothing to evaluate.*\[4\]"),
        ({"evaluated_epochs": {"other": [1]}}, "nothing to evaluate.*other"),
    ],
)
def test_what_does_not_exist_is_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        block(**change)


def test_too_few_learning_rates_are_refused() -> None:
    with pytest.raises(ValueError, match="9 steps need as many learning rates, got 8"):
        block(learning_rates=[0.1] * 8)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_and_cpu_agree() -> None:
    on_cpu = block()
    weights = {name: weight.cuda() for name, weight in WEIGHTS.items()}
    on_gpu = epoch_block(lambda r: MlpReplicas(weights, len(r)), data("cuda"), PLAN)
    assert_allclose(on_gpu.metrics["loss"], on_cpu.metrics["loss"], rtol=1e-9)
    for column in ("mean_sq_norm", "contribution_mean", "contribution_m2"):
        assert_allclose(on_gpu.statistics[column], on_cpu.statistics[column], rtol=1e-9)
