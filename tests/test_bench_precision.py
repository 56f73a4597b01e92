"""The benchmark of precision: that its loops train what the study trains, and what it counts."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from pipeline_lib.estimation.statistics import STOCHASTIC, GradientRecord, statistics_rows
from pipeline_lib.estimation.variance import vector_moments
from pipeline_lib.models import MODELS
from pipeline_lib.study.config import load_study

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*NumPy array is not writable:UserWarning"),
]

# By experiment: batch size, runs on either side, and a rate that moves the gradient in few steps.
CASES = {
    "admission": (4, 200, 0.5),
    "teacher_student": (16, 200, 0.4),
    "mnist": (64, 40, 0.3),
    "yelp": (32, 20, 0.03),
}


@pytest.fixture
def bench(repository, monkeypatch):
    monkeypatch.syspath_prepend(str(repository / "bench"))
    import bench_precision

    threads = torch.get_num_threads()
    yield bench_precision
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", CASES)
def test_the_plain_loop_trains_what_the_study_trains(name, bench, repository):
    b, runs, rate = CASES[name]
    raw = yaml.safe_load((repository / "config.yaml").read_text()) | {"scale": "smoke"}
    experiment = bench.measured(load_study(raw, MODELS).experiments[name], runs)
    moving = dataclasses.replace(experiment.learning_rate, initial=rate)
    experiment = dataclasses.replace(experiment, learning_rate=moving)
    if name == "yelp":  # whose rate is 0 again at the end, over as many steps
        experiment = dataclasses.replace(experiment, epochs=1)
    weights, examples, is_own = bench.material(experiment, Path("nowhere"))
    assert is_own == (name == "teacher_student")  # which draws its own examples
    if name in ("mnist", "yelp"):  # one label, which is learnt in few steps
        x, *rest, y = examples["training"]
        pairs = (x, *rest, np.ones_like(y))
        one_label = bench.Tokens(*pairs) if name == "yelp" else pairs
        examples = dict.fromkeys(examples, one_label)
    case = bench.Case(experiment, b, weights, examples)
    torch.manual_seed(1)
    run = bench.plain_run(case)
    plain = np.array([run().double().square().sum(dim=1).numpy() for _ in range(runs)])

    rows = bench.statistics(case)
    rows = rows[(rows["quantity"] == STOCHASTIC) & (rows["estimator"] == "sample")]
    ours = rows[rows["tensor"] == "all"].set_index("step")["mean_sq_norm"]
    assert plain.shape == (runs, len(ours))
    error = plain.std(axis=0, ddof=1) * np.sqrt(2 / runs)
    assert np.all(np.abs(plain.mean(axis=0) - ours) < 4 * error)
    # The updates matter: with none the last gradient would be like the first.
    assert np.abs(ours.iloc[-1] - ours.iloc[0]) > 8 * error[-1]


def test_runs_needed_are_those_of_gaussian_gradients(bench):
    steps, runs, n_weights = 9, 2000, 10
    vectors = np.random.default_rng(1).standard_normal((steps, runs, n_weights))
    record = GradientRecord(
        np.arange(steps),
        {(STOCHASTIC, "all"): vector_moments(vectors)},
        np.ones((steps, runs), dtype=bool),
    )
    rows = statistics_rows(record, np.zeros(steps, dtype=np.int64))
    # var |g|^2 = 2 n and E |g|^2 = n, known to 4 % at a step and to 2 % in the median of nine
    needed = 2 / n_weights / 0.05**2
    assert bench.runs_needed(rows, "sample") == pytest.approx(needed, rel=0.08)


def test_an_estimate_takes_at_least_two_whole_runs(bench):
    row = bench.Row(plain_seconds=10.0, seconds=2.0, plain_runs=30.2, runs=0.4)
    assert row.faster == 10 * 31 / (2 * 2)
    assert row.at_equal_errors == pytest.approx(10 * 30.2 / (2 * 0.4))
    exact = bench.Row(plain_seconds=10.0, seconds=2.0, plain_runs=30.2, runs=None)
    assert exact.faster == 10 * 31 / 2
    assert exact.at_equal_errors is None


def test_the_table_says_where_data_are_random(bench, tmp_path, monkeypatch, capsys):
    options = ["--scale", "smoke", "--studies", "admission", "mnist", "--results", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["bench_precision.py", "--cpu-time", *options])
    bench.main()
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines()[2:]]
    assert len(rows) == 2 + 4
    assert {row[0].strip() for row in rows[2:]} == {"admission, random data", "mnist, random data"}
    assert [row[5].strip() for row in rows[2:4]] == ["exact", "exact"]
    assert all(float(row[6].replace(",", "")) > 0 for row in rows[2:])
