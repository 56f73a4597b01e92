"""Figures and the page of an experiment of the user's own: what is drawn, read back."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from pipeline_lib.errors import ConfigError
from pipeline_lib.estimation.statistics import ALL, STOCHASTIC
from pipeline_lib.figures import gradient_variance, own_losses, own_tensors
from pipeline_lib.pages.own_experiment import own_experiment_page


def variances(tensors: list[str]) -> pd.DataFrame:
    """Of tensor number k the variance (k + 1) / b at each of ten steps, of all their sum."""
    rows = [
        {
            "init": 0, "b": b, "step": step, "quantity": STOCHASTIC, "estimator": "sample",
            "tensor": name, "variance": size / b, "ci_low": 0.9 * size / b,
            "ci_high": 1.1 * size / b, "n_runs": 20, "dof": 19, "n_diverged": 0,
        }
        for b in (4, 16)
        for step in range(10)
        for name, size in [
            *((name, k + 1) for k, name in enumerate(tensors)),
            (ALL, sum(range(1, len(tensors) + 1))),
        ]
    ]  # fmt: skip
    return pd.DataFrame(rows)


def summary(metrics: tuple[str, ...], shift: float = 0.0) -> pd.DataFrame:
    rows = [
        {
            "init": 0, "b": b, "epoch": epoch, "split": split, "metric": metric,
            "mean": 1 / (b + epoch) + shift, "ci_low": 1 / (b + epoch) + shift - 0.01,
            "ci_high": 1 / (b + epoch) + shift + 0.01, "n_runs": 20, "n_diverged": 0,
        }
        for b in (4, 16)
        for epoch in range(4)
        for split in ("training", "validation")
        for metric in metrics
    ]  # fmt: skip
    return pd.DataFrame(rows)


def shown(figure) -> dict[str, list]:
    return {axes.get_title(): axes.get_lines() for axes in figure.axes if axes.get_visible()}


def key_of(figure) -> str:
    return figure.legends[0].get_title().get_text()


def test_every_tensor_has_a_panel_with_its_variances() -> None:
    names = [f"layer.{k}" for k in range(5)]
    figure = own_tensors.draw(variances(names), 0.95)
    panels = shown(figure)
    assert list(panels) == names
    for k, lines in enumerate(panels.values()):
        assert [line.get_ydata()[0] for line in lines] == [(k + 1) / 4, (k + 1) / 16]
    plt.close(figure)


def test_of_many_tensors_the_largest_are_drawn_and_the_rest_is_told() -> None:
    names = [f"layer.{k:02}" for k in range(own_tensors.MOST + 7)]
    figure = own_tensors.draw(variances(names), 0.95)
    assert list(shown(figure)) == names[7:]
    assert f"{own_tensors.MOST} of {len(names)} tensors" in key_of(figure)
    plt.close(figure)


def test_one_tensor_can_be_chosen() -> None:
    table = variances(["0.bias", "0.weight"])
    figure = gradient_variance.draw(table, 0.95, tensor="0.weight")
    first = [line.get_ydata()[0] for line in figure.axes[0].get_lines()]
    assert first == [2 / 4, 2 / 16]
    plt.close(figure)
    with pytest.raises(ConfigError, match=r"'weight' is no tensor; allowed: 0.bias, 0.weight, all"):
        gradient_variance.draw(table, 0.95, tensor="weight")


def test_losses_below_zero_have_their_place_and_an_error_its_row() -> None:
    figure = own_losses.draw(summary(("loss",), shift=-2.0), 0.95)
    assert list(shown(figure)) == ["training loss", "validation loss"]
    drawn = shown(figure)["training loss"][0].get_ydata()
    np.testing.assert_allclose(drawn, [1 / (4 + epoch) - 2 for epoch in range(4)])
    low, high = figure.axes[0].get_ylim()
    assert low < drawn.min() < drawn.max() < high
    plt.close(figure)
    # An error that no example has is a table of missing values.
    both = summary(("loss", "error"))
    figure = own_losses.draw(both, 0.95)
    assert len(shown(figure)) == 4
    plt.close(figure)
    both.loc[both["metric"] == "error", "mean"] = np.nan
    figure = own_losses.draw(both, 0.95)
    assert len(shown(figure)) == 2
    plt.close(figure)


def with_diverged(b: int, lost: int) -> pd.DataFrame:
    """Means that are missing from epoch 2 on at batch size ``b``, as ``lost`` runs diverged."""
    table = summary(("loss", "error"))
    gone = (table["b"] == b) & (table["epoch"] >= 2)
    table.loc[gone, ["mean", "ci_low", "ci_high"]] = np.nan
    table.loc[gone, "n_diverged"] = lost
    return table


def test_a_batch_size_at_which_runs_diverged_has_no_curve_but_a_note() -> None:
    figure = own_losses.draw(with_diverged(4, lost=2), 0.95)
    assert figure.legends[0].get_texts()[0].get_text() == "b = 16"
    assert all(len(lines) == 1 for lines in shown(figure).values())
    assert "b = 4: 2 of 20 runs diverged, the first by epoch 2" in key_of(figure)
    plt.close(figure)
    both = with_diverged(4, lost=2)
    both["mean"], both["n_diverged"] = np.nan, 20
    figure = own_losses.draw(both, 0.95)
    assert list(shown(figure)) == ["training loss", "validation loss"]
    assert "b = 16: 20 of 20 runs diverged, the first by epoch 0" in key_of(figure)
    plt.close(figure)


def test_the_page_says_how_many_runs_diverged() -> None:
    claims = pd.DataFrame(columns=["statement", "verdict", "evidence", "test", "scale_needed"])
    tables = {"claims": claims, "efficiency": pd.DataFrame(columns=["tensor", "b"])}
    page = own_experiment_page("mine", tables | {"metric_summary": with_diverged(4, 2)}, 0.95)
    # Loss and error on both splits.
    assert page.count(">2 of 20 runs diverged<") == 4
    assert "95 % interval 0.0426 to 0.0626" in page  # of b = 16
    missing = with_diverged(4, 2)
    missing.loc[missing["b"] == 16, ["mean", "ci_low", "ci_high"]] = np.nan
    missing.loc[missing["b"] == 16, "n_diverged"] = 20
    page = own_experiment_page("mine", tables | {"metric_summary": missing}, 0.95)
    assert "after epoch 3" in page
    assert "after epoch 1" not in page
    assert "20 of 20 runs diverged" in page


def test_the_page_has_the_verdict_the_last_losses_and_efficiency_where_there_are_two() -> None:
    claims = pd.DataFrame(
        [
            {
                "id": "mine", "statement": "It decreases.", "verdict": "confirmed",
                "evidence": "b = 4, 16", "test": "One-sided.", "scale_needed": None,
            }
        ]
    )  # fmt: skip
    efficiency = pd.DataFrame(
        {
            "init": 0, "b": [4, 4, 4], "step": [1, 2, 3], "tensor": ALL,
            "std_error_sample": [2.0, 3.0, 5.0], "std_error_rao_blackwell": 1.0,
            "runs_worth": [4.0, 9.0, 25.0],
        }
    )  # fmt: skip
    tables = {
        "claims": claims,
        "efficiency": efficiency,
        "metric_summary": summary(("loss",)),
    }
    page = own_experiment_page("mine", tables, 0.95)
    assert "confirmed" in page
    assert "validation loss after epoch 3" in page
    assert "after epoch 2" not in page
    assert "95 % interval 0.0426 to 0.0626" in page  # 1 / 19 at b = 16
    assert "plain runs that one Rao-Blackwell run is worth: all" in page
    assert "median over iterations, 4 to 25" in page
    page = own_experiment_page("mine", tables | {"efficiency": efficiency[:0]}, 0.95)
    assert "Rao-Blackwell run is worth" not in page
