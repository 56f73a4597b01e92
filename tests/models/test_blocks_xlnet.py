"""The block of XLNet classifiers, and Figure 5."""

from dataclasses import replace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from blocks import scheduled_plan
from pipeline_lib.artifacts.block_tables import BlockTables
from pipeline_lib.data.reviews_table import Tokens
from pipeline_lib.errors import ConfigError
from pipeline_lib.estimation.statistics import CLIPPED, STOCHASTIC
from pipeline_lib.figures.epoch_panels import (
    accuracy_panels,
    draw,
    loss_panels,
    source_note,
    variance_panels,
)
from pipeline_lib.models.transformer.block import Dropout, initial_weights, transformer_block
from pipeline_lib.models.transformer.memory import CHUNK
from pipeline_lib.models.transformer.xlnet import xlnet_module
from pipeline_lib.seeding import seed_sequence
from pipeline_lib.study.learning_rate import LearningRate
from pipeline_lib.study.optimizers import AdamW
from pipeline_lib.study.settings import Clipping

SIZES = {"d_model": 8, "n_layer": 1, "n_head": 2, "d_inner": 16, "dropout": 0.1}
VOCABULARY = 40


def tokens(n: int, seed: int) -> Tokens:
    rng = np.random.default_rng(seed)
    ids = rng.integers(4, VOCABULARY, (n, 6)).astype(np.int32)
    return Tokens(ids, np.ones_like(ids), (np.arange(n) % 2).astype(np.int8))


def weights_of(scale: float, init: int = 0) -> dict[str, np.ndarray]:
    return initial_weights(SIZES, VOCABULARY, scale, seed_sequence(1, "initial_weights", init))


def block(
    scale: float = 0.02,
    dropout: float = 0.1,
    batch_size: int = 4,
    n_replicas: int = 3,
    **changes: Any,
) -> BlockTables:
    plan = scheduled_plan(
        12,
        LearningRate("warmup_linear", 1e-3, warmup=0.5),
        "every",
        batch_size=batch_size,
        epochs=2,
        n_replicas=n_replicas,
        stream=seed_sequence(1, "orders"),
        evaluated_epochs={"training": [0, 2], "validation": [2]},
        chunk=CHUNK,
        optimizer=AdamW(weight_decay=0.0),
        clipping=Clipping(0.05, "tensor"),
    )
    return transformer_block(
        weights_of(scale),
        Dropout(SIZES | {"dropout": dropout}, seed_sequence(1, "dropout")),
        {"training": tokens(12, 1), "validation": tokens(6, 2)},
        replace(plan, **changes),
    )


def test_weights_belong_to_their_stream_and_scale() -> None:
    one, again, other = (weights_of(0.02, init) for init in (0, 0, 1))
    wide = weights_of(0.2)
    name = "network.transformer.word_embedding.weight"
    assert_array_equal(one[name], again[name])
    assert not np.array_equal(one[name], other[name])
    assert_allclose(wide[name], 10 * one[name], rtol=1e-5)
    assert set(one) == {n for n, _ in xlnet_module(VOCABULARY, SIZES).named_parameters()}


def test_every_step_is_recorded_before_and_after_clipping() -> None:
    result = block()
    assert set(result.statistics["quantity"]) == {STOCHASTIC, CLIPPED}
    assert_array_equal(np.sort(result.statistics["step"].unique()), np.arange(6))
    sizes = result.statistics.pivot(index="step", columns="quantity", values="mean_sq_norm")
    assert (sizes[CLIPPED] < sizes[STOCHASTIC]).all()
    evaluated = result.metrics[result.metrics["split"] == "validation"]
    assert_array_equal(evaluated["epoch"], [2] * 3)


@pytest.mark.slow
def test_the_average_over_examples_and_dropout_has_the_mean_of_the_plain_estimate() -> None:
    """Both estimate the same variance; at step 0 the average varies by its draws alone."""
    first = {"recorded": [0], "averaged": 12, "evaluated_epochs": {}}
    result = block(scale=0.2, dropout=0.1, n_replicas=60, **first)
    rows = result.statistics[result.statistics["quantity"] == STOCHASTIC].set_index("estimator")
    n = 60
    plain, averaged = (rows.loc[name] for name in ("sample", "rao_blackwell"))
    errors = [np.sqrt(row["contribution_m2"] / (n * (n - 2))) for row in (plain, averaged)]
    assert errors[1] < errors[0]
    difference = plain["contribution_mean"] - averaged["contribution_mean"]
    assert abs(difference) < 4 * np.hypot(*errors) < plain["contribution_mean"]


def test_the_given_weights_are_where_training_starts() -> None:
    """The loss before training is that of the network itself, by transformers."""
    module = xlnet_module(VOCABULARY, SIZES, seed=5).eval()
    weights = {name: torch.as_tensor(weight) for name, weight in weights_of(0.5).items()}
    module.load_state_dict(weights, strict=False)
    training = tokens(12, 1)
    with torch.no_grad():
        scores = module(torch.as_tensor(training.input_ids))
        loss = torch.nn.functional.cross_entropy(scores, torch.as_tensor(training.labels).long())
    metrics = block(scale=0.5).metrics
    before = metrics[(metrics["split"] == "training") & (metrics["epoch"] == 0)]
    assert_allclose(before["loss"], float(loss), rtol=1e-5)


def test_warmup_starts_from_a_rate_of_0_so_that_step_1_has_the_same_weights() -> None:
    """With dropout off, the variance at steps 0 and 1 is that of mini-batches alone."""
    result = block(dropout=0.0, batch_size=12, n_replicas=2)
    whole = result.statistics[result.statistics["quantity"] == STOCHASTIC].set_index("step")
    # Every example is in the batch: runs agree as long as their weights do, but for rounding.
    assert (whole["contribution_mean"] < 1e-9 * whole["mean_sq_norm"]).all()


def test_too_little_memory_is_told_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline_lib.training.memory.free_memory", lambda device: 1000)
    with pytest.raises(ConfigError, match=r"b = 4: three replicas take \d+ MiB"):
        block()


def summary(metric: str) -> pd.DataFrame:
    rows = [
        (0, b, epoch, split, metric, 0.1 * b / (epoch + 1), n_diverged)
        for b, n_diverged in ((1, 0), (2, 0), (4, 1))
        for epoch in range(3)
        for split in ("training", "validation")
    ]
    columns = ["init", "b", "epoch", "split", "metric", "mean", "n_diverged"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.assign(ci_low=frame["mean"] - 0.01, ci_high=frame["mean"] + 0.02, n_runs=5)


def test_accuracy_is_one_less_the_error_and_its_interval_turned() -> None:
    panels = accuracy_panels(summary("error"))
    error = summary("error")
    for split, panel in zip(("training", "validation"), panels.values(), strict=True):
        of_split = error[error["split"] == split]
        assert_allclose(panel["mean"], 1 - of_split["mean"])
        assert (panel["ci_low"] < panel["mean"]).all()
        assert (panel["mean"] < panel["ci_high"]).all()


def test_panels_draw_the_sizes_that_no_run_left() -> None:
    figure = draw(loss_panels(summary("loss")), "mean loss over runs", 0.95, "a note")
    for axes in figure.axes:
        assert len(axes.lines) == 2
        assert_allclose(axes.lines[0].get_ydata(), [0.1, 0.05, 0.1 / 3])
    key = figure.legends[0]
    plt.close(figure)
    assert "a note" in key.get_title().get_text()
    assert "b = 4: 1 of 5 runs diverged" in key.get_title().get_text()


def test_variance_has_a_logarithmic_axis_and_both_gradients() -> None:
    table = pd.DataFrame(
        {
            "init": 0,
            "b": [4, 4, 4, 4],
            "epoch": [0, 1, 0, 1],
            "quantity": [STOCHASTIC, STOCHASTIC, CLIPPED, CLIPPED],
            "tensor": "all",
            "estimator": "sample",
            "variance": [4.0, 3.0, 2.0, 1.0],
            "ci_low": 0.5,
            "ci_high": 5.0,
            "n_runs": 5,
            "n_diverged": 0,
        }
    )
    figure = draw(variance_panels(table), "variance over runs", 0.95)
    assert [axes.get_title() for axes in figure.axes] == [
        "gradient before clipping",
        "gradient after clipping",
    ]
    assert figure.axes[0].get_yscale() == "log"
    assert_allclose(figure.axes[1].lines[0].get_ydata(), [2.0, 1.0])
    plt.close(figure)
    assert source_note("Yelp", {"n_layer": 2, "d_model": 8}) == "Yelp; XLNet of 2 layers, width 8"
