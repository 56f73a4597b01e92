"""Time until the variance of the gradient is known to ±5 %, on this machine.

    python bench/bench_precision.py [--cpu-time] [--studies mnist yelp] > table.md

Compared are, for one experiment of each study at a scale of config.yaml, without evaluations,

- a plain PyTorch loop (`plain_loops`): one run after the other, keeping the gradient at the steps
  that the study records. What becomes of it afterwards is not timed. Its estimate is the sample
  variance over runs;
- this project: for linear regression the exact moments, which need no runs: the recursion of all
  steps and all batch sizes of the experiment, an equal share of its time for each size; for the
  others a training block with the Rao–Blackwell estimator, statistics and averaging over other
  examples included.

The runs needed are (SE/V)² R/0.05², with the standard error SE of an estimate V from R runs: at
each recorded step, of all tensors together, then the median over steps. Both estimators are taken
from the same runs of this project. An estimate takes at least two runs, and whole ones; `faster`
counts these, `at equal errors` the ratio without rounding, which is that of smaller errors. Linear
regression is run only to tell what the plain loop needs.

Seconds a run are the shortest of three plain runs and the mean over the runs of one block, made
between them, after a short training of both; exact moments are taken twenty times, and the
shortest counts. Compare ratios, not seconds, between machines. On one with other work,
`--cpu-time` compares processor seconds of one thread instead.

Data are the tables below `results/SCALE/data` that `make study` leaves, and where they are missing
random numbers of the same shape: the table says so, and its runs needed are not the study's.
"""

import argparse
import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from plain_loops import Case, plain_run

from pipeline_lib.data.admissions import Design
from pipeline_lib.data.reviews_table import Tokens
from pipeline_lib.estimation.aggregation import variance_table
from pipeline_lib.estimation.statistics import ALL, STOCHASTIC
from pipeline_lib.models import MODELS, LinearRegression, Perceptron, Transformer
from pipeline_lib.models.initial_weights import gaussian_weights
from pipeline_lib.models.linear_regression.settings import ROWS
from pipeline_lib.models.transformer.block import initial_weights
from pipeline_lib.study.config import load_study
from pipeline_lib.study.experiment import EpochExperiment, Experiment
from pipeline_lib.study.model import TrainingData, Weights
from pipeline_lib.theory.linear_regression import exact_moments

REPOSITORY = Path(__file__).resolve().parent.parent
PRECISION = 0.05
LEAST_RUNS = 2  # of a variance over runs
EXACT_TIMES = 20  # which take about as long as one plain run
# The experiment of each study, its batch sizes here, and how many runs tell the standard errors.
STUDIES = {
    "admission": ((4, 64), 1000),
    "teacher_student": ((4, 64), 100),
    "mnist": ((64, 256), 6),
    "yelp": ((32, 64), 6),
}


@dataclasses.dataclass(frozen=True)
class Row:
    """What was measured at one batch size. ``runs`` are of the plain loop and, if any, of here."""

    plain_seconds: float
    seconds: float
    plain_runs: float
    runs: float | None

    @property
    def faster(self) -> float:
        """The ratio of times of whole runs, at least two."""
        time_here = self.seconds * (1 if self.runs is None else whole(self.runs))
        return self.plain_seconds * whole(self.plain_runs) / time_here

    @property
    def at_equal_errors(self) -> float | None:
        """The same for fractions of runs; None where there is no error."""
        if self.runs is None:
            return None
        return self.plain_seconds * self.plain_runs / (self.seconds * self.runs)


def whole(runs: float) -> int:
    return max(LEAST_RUNS, math.ceil(runs))


def measure(case: Case, short: Case, clock: Callable[[], float]) -> Row:
    """Time the case on both sides; ``short`` is what warms up."""

    def seconds(work: Callable[[], object]) -> float:
        start = clock()
        work()
        return clock() - start

    plain_run(short)()
    statistics(short)
    plain, tables = plain_run(case), []
    times = [seconds(plain)]
    here = seconds(lambda: tables.append(statistics(case))) / case.experiment.runs
    times += [seconds(plain) for _ in range(2)]
    plain_runs = runs_needed(tables[0], "sample")
    if isinstance(case.experiment.model, LinearRegression):
        sizes = len(case.experiment.batch_sizes)
        here = min(seconds(lambda: exact(case)) for _ in range(EXACT_TIMES)) / sizes
        return Row(min(times), here, plain_runs, None)
    return Row(min(times), here, plain_runs, runs_needed(tables[0], "rao_blackwell"))


def statistics(case: Case) -> pd.DataFrame:
    """Rows of the artefact ``statistics`` of a block of this project."""
    data = TrainingData(case.examples, "")
    table: pd.DataFrame = case.experiment.model.train(case.block, case.weights, data).statistics
    return table


def exact(case: Case) -> None:
    """The exact moments of linear regression, at every step and batch size of the experiment."""
    experiment, design = case.experiment, case.examples
    rates, start = experiment.learning_rates(), case.weights["weights"]
    sizes, sampling = experiment.batch_sizes, experiment.sampled
    exact_moments(design.features, design.target, start, rates, sizes, sampling)


def runs_needed(rows: pd.DataFrame, estimator: str) -> float:
    """Runs for the relative standard error `PRECISION`: the median over steps, of all tensors.

    ``rows`` are those of the artefact ``statistics``.
    """
    table = variance_table({(0, 0): [rows]}, 0.95)
    chosen = table[
        (table["quantity"] == STOCHASTIC)
        & (table["tensor"] == ALL)
        & (table["estimator"] == estimator)
    ]
    of_a_run = (chosen["std_error"] / chosen["variance"]) ** 2 * chosen["n_runs"]
    return float(of_a_run.median()) / PRECISION**2


def measured(experiment: Experiment, runs: int) -> Any:
    """The experiment with so many runs in one block and no evaluation."""
    changes: dict[str, Any] = {}
    if isinstance(experiment, EpochExperiment):
        changes = {"evaluate_every": "never"}
        if experiment.distorted_every is not None:
            changes["distorted_every"] = "never"
    return dataclasses.replace(experiment, runs=runs, runs_per_block=runs, **changes)


def shortened(case: Case) -> Case:
    """A few steps of two runs."""
    experiment, examples = measured(case.experiment, 2), case.examples
    if isinstance(experiment, EpochExperiment):
        experiment = dataclasses.replace(experiment, epochs=1)
        examples = {split: first(part, 4 * case.b) for split, part in examples.items()}
    else:
        experiment = dataclasses.replace(experiment, iterations=3)
    return dataclasses.replace(case, experiment=experiment, examples=examples)


def first(examples: Any, n: int) -> Any:
    """The first ``n`` of token rows or of pairs of inputs and labels."""
    parts = tuple(part[:n] for part in examples)
    return Tokens(*parts) if isinstance(examples, Tokens) else parts


def made_up(model: Any, n: int) -> Any:
    """``n`` random examples of the shape of the study's data; None where it draws its own."""
    rng = np.random.default_rng(0)
    if isinstance(model, LinearRegression):
        features = rng.standard_normal((n, model.n_weights))
        features[:, 0] = 1
        names = tuple(f"x{k}" for k in range(model.n_weights))
        return Design(features, rng.standard_normal(n), names)
    if isinstance(model, Perceptron):
        images = rng.uniform(-1, 1, (n, model.layers[0])).astype(model.dtype)
        examples: Any = (images, rng.integers(0, model.layers[-1], n))
        return dict.fromkeys(("training", "validation", "distorted"), examples)
    if isinstance(model, Transformer):
        ids = rng.integers(4, model.vocabulary, (n, model.tokens), dtype=np.int32)
        examples = Tokens(ids, np.ones_like(ids), rng.integers(0, 2, n).astype(np.int8))
        return dict.fromkeys(("training", "validation"), examples)
    return None


def made_up_weights(experiment: Any) -> Weights:
    """Initial weights for `made_up` examples."""
    model, drawn = experiment.model, experiment.initial_weights
    if isinstance(model, LinearRegression):
        shape = {"weights": (model.n_weights,)}
        return dict(gaussian_weights(shape, drawn.scale, drawn.seed, 0))
    if isinstance(model, Transformer):
        stream = np.random.SeedSequence(drawn.seed)
        return dict(initial_weights(model.sizes, model.vocabulary, drawn.scale, stream))
    weights: Weights = model.draw_weights(experiment, 0, {})
    return weights


def material(experiment: Any, results: Path) -> tuple[Weights, Any, bool]:
    """Initial weights, examples, and whether these are the study's own."""
    model, name = experiment.model, experiment.name
    needed = {**model.sources(name), **model.weight_sources(name)}
    sources = {key: results / path for key, path in needed.items()}
    if all(path.exists() for path in sources.values()):
        weights = model.draw_weights(experiment, 0, sources)
        return weights, model.load(experiment, sources).examples, True
    n = ROWS["admissions"] if isinstance(model, LinearRegression) else model.training_examples
    return made_up_weights(experiment), made_up(model, n), False


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", nargs="+", choices=STUDIES, default=list(STUDIES))
    parser.add_argument("--scale", default="quick", help="of config.yaml (default: quick)")
    parser.add_argument("--results", type=Path, help="folder of the data (default: results/SCALE)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu-time", action="store_true", help="processor seconds of one thread")
    options = parser.parse_args()
    threads = 1 if options.cpu_time else options.threads
    clock = time.process_time if options.cpu_time else time.perf_counter
    torch.set_num_threads(threads)
    raw = yaml.safe_load((REPOSITORY / "config.yaml").read_text())
    experiments = load_study(raw | {"scale": options.scale}, MODELS).experiments
    results = options.results or REPOSITORY / "results" / options.scale
    what = "processor seconds" if options.cpu_time else "seconds"
    print(f"{threads} threads, scale {options.scale}, {what}\n")
    print("| study | b | a run, plain | a run, here | runs, plain | runs, here | faster |"
          " at equal errors |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|")
    for name in options.studies:
        batch_sizes, runs = STUDIES[name]
        experiment = measured(experiments[name], runs)
        weights, examples, is_own = material(experiment, results)
        for b in batch_sizes:
            case = Case(experiment, b, weights, examples, threads)
            row = measure(case, shortened(case), clock)
            columns = (
                name + ("" if is_own else ", random data"),
                b,
                number(row.plain_seconds),
                number(row.seconds),
                number(row.plain_runs),
                "exact" if row.runs is None else number(row.runs),
                number(row.faster),
                number(row.at_equal_errors),
            )
            print("|", " | ".join(map(str, columns)), "|", flush=True)


if __name__ == "__main__":
    main()
