"""Measured speeds of a GPU: written, read by the plan, and refused where they are none."""

import json
from pathlib import Path

import pytest
import yaml

from pipeline_lib.errors import ConfigError
from pipeline_lib.models import MODELS
from pipeline_lib.study import rates
from pipeline_lib.study.config import load_study
from pipeline_lib.study.cost import GPU, Speed, asked_for, block_cost, seconds
from pipeline_lib.study.plan import plan
from pipeline_lib.study.rates import gpu_speed, write_rates

RATES = Path("gpu_rates.json")
FAST, SLOW = Speed(5e13, 1e-3, "group"), Speed(2e13, 3e-3, "group")


def test_the_slower_of_a_kind_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "rates.json"
    write_rates({"perceptron": [FAST, SLOW], "transformer": [FAST]}, "a card", path)
    assert gpu_speed("perceptron", GPU, path) == SLOW
    assert gpu_speed("transformer", GPU, path) == FAST
    turns = Speed(1e12, 1e-3, "turn")
    assert gpu_speed("transformer", turns, path) == Speed(5e13, 1e-3, "turn")
    assert gpu_speed("own.py:Kind", GPU, path) == GPU
    assert json.loads(path.read_text())["card"] == "a card"
    assert gpu_speed("perceptron", GPU, tmp_path / "absent.json") == GPU


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"speeds": []}',
        '{"speeds": {"perceptron": 3}}',
        '{"speeds": {"perceptron": {"operations_per_second": "fast", "seconds_per_step": 0}}}',
        '{"speeds": {"perceptron": {"operations_per_second": 0, "seconds_per_step": 0}}}',
        '{"speeds": {"perceptron": {"operations_per_second": NaN, "seconds_per_step": 0}}}',
        '{"speeds": {"perceptron": {"operations_per_second": 1, "seconds_per_step": -1}}}',
    ],
)
def test_what_is_no_rate_is_refused_in_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "rates.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"rates\.json: .*allowed") as error:
        gpu_speed("perceptron", GPU, path)
    assert "\n" not in str(error.value)


def test_what_cannot_be_read_is_refused_in_one_line(tmp_path: Path) -> None:
    folder, binary, huge = tmp_path / "a.json", tmp_path / "b.json", tmp_path / "c.json"
    folder.mkdir()
    binary.write_bytes(b"\xff\xfe")
    rate = {"operations_per_second": 10**400, "seconds_per_step": 0}
    huge.write_text(json.dumps({"speeds": {"perceptron": rate}}))
    for path in (folder, binary, huge):
        with pytest.raises(ConfigError, match=rf"{path.name}: .*allowed") as error:
            gpu_speed("perceptron", GPU, path)
        assert "\n" not in str(error.value)


def test_the_plan_and_the_queue_go_by_rates_in_the_working_folder(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = yaml.safe_load((repository / "config.yaml").read_text()) | {"scale": "paper"}
    study = load_study(raw, MODELS)
    mnist = study.experiments["mnist"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(rates, "RATES", RATES)

    def hours() -> float:
        table = plan(study)
        row = table[(table["experiment"] == "mnist") & (table["b"] == 64)]
        return float(row["gpu_hours_per_job"].item())

    cost = block_cost(mnist, 64)
    assert cost is not None
    assert hours() == pytest.approx(seconds(cost, GPU) / 3600)
    before = asked_for(mnist, 64, 1, "cuda")["runtime"]
    write_rates({"perceptron": [Speed(2e12, 1e-3, "group")]}, "a card")
    assert RATES.exists()
    assert hours() == pytest.approx(seconds(cost, Speed(2e12, 1e-3, "group")) / 3600)
    assert asked_for(mnist, 64, 1, "cuda")["runtime"] > 1.5 * before
