"""A block trained by AdamW against a plain loop over torch's own optimiser, and in groups."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pipeline_lib.artifacts.block_tables import BlockTables
from pipeline_lib.artifacts.files import write_table
from pipeline_lib.estimation.statistics import ALL, CLIPPED, STOCHASTIC
from pipeline_lib.sampling.epochs import EpochSampler
from pipeline_lib.seeding import seed_sequence
from pipeline_lib.study.learning_rate import LearningRate
from pipeline_lib.study.optimizers import AdamW
from pipeline_lib.study.settings import Clipping
from pipeline_lib.training.dropout_stack import DropoutReplicas
from pipeline_lib.training.epoch_plan import EpochData, EpochPlan, LearningRates
from pipeline_lib.training.epoch_run import BATCHES
from pipeline_lib.training.epochs import epoch_block
from pipeline_lib.training.gradient_records import all_moments, chunked_sq_norms

ORDERS, DROPOUT = seed_sequence(2, "orders"), seed_sequence(2, "dropout")
N, BATCH, EPOCHS, REPLICAS = 11, 4, 3, 5
STEPS = 3 * EPOCHS
RECORDED = (0, 1, 3, 4, 6, 7)
PEAK, WARMUP, MAX_NORM, DECAY = 0.1, 2, 0.2, 0.3


def module(dropout: float = 0.0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        layers = [nn.Linear(4, 6), nn.Tanh(), nn.Dropout(dropout), nn.Linear(6, 3)]
        return nn.Sequential(*layers).double()


def examples(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, 4)), rng.integers(3, size=n)


TRAIN, VALIDATION = examples(N, 1), examples(7, 2)


RATES = LearningRate("warmup_linear", PEAK, WARMUP / STEPS).values(STEPS)


def block(
    dropout: float = 0.0, group_size: int | None = None, rates: LearningRates = RATES
) -> BlockTables:
    evaluated_epochs = {"train": [0, 3], "validation": range(EPOCHS + 1)}
    plan = EpochPlan(
        rates,
        BATCH,
        EPOCHS,
        REPLICAS,
        ORDERS,
        RECORDED,
        evaluated_epochs,
        chunk=3,
        optimizer=AdamW(betas=(0.8, 0.9), eps=1e-6, weight_decay=DECAY),
        clipping=Clipping(MAX_NORM, "tensor"),
        per_tensor=False,
    )
    return epoch_block(
        lambda r: DropoutReplicas(module(dropout), cross_entropy, r, DROPOUT),
        EpochData.on("cpu", *TRAIN, {"train": TRAIN, "validation": VALIDATION}),
        plan,
        group_size,
    )


class PlainRun:
    """One replica, by a loop that shares nothing but the orders."""

    def __init__(self, replica: int) -> None:
        self.raw: dict[int, list[Tensor]] = {}
        self.clipped: dict[int, list[Tensor]] = {}
        self.metrics: dict[tuple[str, int], tuple[float, float]] = {}
        self.net = module()
        parameters = list(self.net.parameters())
        adam = torch.optim.AdamW(parameters, lr=1, betas=(0.8, 0.9), eps=1e-6, weight_decay=DECAY)
        sampler = EpochSampler(N, BATCH, REPLICAS, ORDERS)
        x, y = map(torch.from_numpy, TRAIN)
        self.evaluate(0)
        for epoch in range(EPOCHS):
            order = sampler.order(epoch)[replica]
            losses, wrong = 0.0, 0
            for place in range(3):
                step = 3 * epoch + place
                chosen = order[4 * place : 4 * place + 4]
                self.net.zero_grad()
                scores = self.net(x[chosen])
                loss = cross_entropy(scores, y[chosen])
                loss.backward()
                losses += loss.item() * len(chosen)
                wrong += int((scores.argmax(dim=1) != y[chosen]).sum())
                self.raw[step] = [p.grad.clone().flatten() for p in parameters]
                for p in parameters:
                    p.grad *= min(1.0, MAX_NORM / float(p.grad.norm()))
                self.clipped[step] = [p.grad.clone().flatten() for p in parameters]
                warm, cold = step / WARMUP, (STEPS - step) / (STEPS - WARMUP)
                adam.param_groups[0]["lr"] = PEAK * min(warm, cold)
                adam.step()
            self.metrics[BATCHES, epoch + 1] = (losses / N, wrong / N)
            self.evaluate(epoch + 1)

    @torch.no_grad()
    def evaluate(self, epoch: int) -> None:
        for split, (xs, ys) in {"train": TRAIN, "validation": VALIDATION}.items():
            scores, y = self.net(torch.from_numpy(xs)), torch.from_numpy(ys)
            wrong = (scores.argmax(dim=1) != y).double().mean()
            self.metrics[split, epoch] = (float(cross_entropy(scores, y)), float(wrong))


def test_a_block_is_the_plain_loop() -> None:
    runs = [PlainRun(r) for r in range(REPLICAS)]
    result = block()
    table = result.statistics
    assert len(table) == 2 * len(RECORDED)
    assert set(table["tensor"]) == {ALL}
    assert_array_equal(table["epoch"], table["step"] // 3)
    for row in table.itertuples():
        steps = [(run.raw if row.quantity == STOCHASTIC else run.clipped)[row.step] for run in runs]
        vectors = np.stack([torch.cat(step).numpy() for step in steps])
        deviations = ((vectors - vectors.mean(axis=0)) ** 2).sum(axis=1)
        assert_allclose(row.contribution_mean, deviations.sum() / (REPLICAS - 1), rtol=1e-8)
        assert_allclose(row.mean_sq_norm, (vectors**2).sum() / REPLICAS, rtol=1e-8)
    of_all = table.set_index(["quantity", "step"])["contribution_mean"]
    assert (of_all[CLIPPED] < 0.9 * of_all[STOCHASTIC]).all(), "clipping does something"
    metrics = result.metrics
    assert len(metrics) == REPLICAS * (2 + EPOCHS + 1 + EPOCHS)
    for row in metrics.itertuples():
        loss, error = runs[row.replica].metrics[row.split, row.epoch]
        assert_allclose([row.loss, row.error], [loss, error], rtol=1e-9)
    assert len(result.divergence) == 0


def test_groups_train_the_same_replicas() -> None:
    whole, parts = block(0.4), block(0.4, group_size=3)
    pd.testing.assert_frame_equal(whole.metrics, parts.metrics, rtol=1e-10)
    assert_array_equal(parts.statistics["dof"], 3)
    assert_allclose(parts.statistics["mean_sq_norm"], whole.statistics["mean_sq_norm"], rtol=1e-10)
    assert not np.allclose(block().metrics["loss"], whole.metrics["loss"], rtol=1e-3)


def test_records_may_be_cut_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = block()
    monkeypatch.setattr("pipeline_lib.training.epoch_record._STEPS_PER_RECORD", 2)
    pd.testing.assert_frame_equal(block().statistics, whole.statistics, check_exact=True)


def test_tables_fit_their_schemas(tmp_path: Path) -> None:
    result = block(group_size=2)
    for kind in ("statistics", "divergence", "metrics"):
        write_table(tmp_path / f"{kind}.parquet", getattr(result, kind), kind)


def test_a_diverged_replica_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        # Weight decay multiplies the weights by -0.3e200 at step 1.
        result = block(rates=lambda step: 1e200 if step else 0.0, group_size=3)
    assert result.divergence["replica"].tolist() == list(range(REPLICAS))
    assert "5 of 5 replicas diverged" in caplog.text
    first = result.divergence["step"].min()
    numbers = result.statistics.set_index("step")["contribution_mean"]
    assert first > 1
    assert numbers[numbers.index >= first].isna().all()
    assert numbers[numbers.index <= 1].notna().all()
    last = result.metrics[result.metrics["epoch"] == EPOCHS]
    assert last[["loss", "error"]].isna().all(axis=None)


def test_a_short_mini_batch_is_not_recorded() -> None:
    with pytest.raises(ValueError, match="short mini-batch"):
        epoch_block(
            lambda r: DropoutReplicas(module(), cross_entropy, r, DROPOUT),
            EpochData.on("cpu", *TRAIN, {}),
            EpochPlan([0.1] * 3, BATCH, 1, 2, ORDERS, range(3), {}),
        )


def test_moments_in_parts_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    gradients = {
        "a": torch.randn(4, 5, 7, generator=generator, dtype=torch.float64),
        "b": torch.randn(4, generator=generator, dtype=torch.float64),
    }
    whole = all_moments(STOCHASTIC, gradients, False)[STOCHASTIC, ALL]
    norms = chunked_sq_norms(gradients["a"])
    assert_allclose(norms, gradients["a"].square().sum(dim=(1, 2)), rtol=1e-13)
    # As on a device without compiled code, six columns at a time.
    for name in ("gradient_records", "replica_moments"):
        monkeypatch.setattr(f"pipeline_lib.training.{name}.has_kernel", lambda tensor: False)
    monkeypatch.setattr("pipeline_lib.training.gradient_records.NUMBERS_AT_ONCE", 24)
    parts = all_moments(STOCHASTIC, gradients, False)[STOCHASTIC, ALL]
    vectors = torch.cat([gradients["a"].flatten(1), gradients["b"][:, None]], dim=1)
    deviations = (vectors - vectors.mean(dim=0)).square().sum(dim=1)
    for found in (whole, parts):
        assert_allclose(found["sq_deviations"], deviations, rtol=1e-12)
        assert_allclose(found["sq_norm_of_mean"], vectors.mean(dim=0).square().sum(), rtol=1e-12)
    assert_allclose(chunked_sq_norms(gradients["a"]), norms, rtol=1e-13)
