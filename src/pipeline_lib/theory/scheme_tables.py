"""Ways of drawing mini-batches as long tables: at equal iterations and at equal epochs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline_lib.estimation.certain import Certain
from pipeline_lib.estimation.judged import judged
from pipeline_lib.estimation.statistics import STOCHASTIC
from pipeline_lib.seeding import seed_sequence
from pipeline_lib.theory.epochs_exact import (
    EpochProblem,
    batch_sizes_of_epoch,
    epoch_moments,
    shuffled_once_moments,
)
from pipeline_lib.theory.linear_regression import Sampling, exact_moments
from pipeline_lib.theory.regression_moments import RegressionProblem
from pipeline_lib.theory.sampling_schemes import IN_EPOCHS, estimate_in_epochs

Floats = NDArray[np.float64]
AFRESH: tuple[Sampling, ...] = ("fresh", "with_replacement")
EXACT = "exact"


@dataclass(frozen=True)
class SchemeRuns:
    """How the schemes without exact values are estimated: runs, seed and level of intervals."""

    n_runs: int
    seed: int
    level: float


def sampling_schemes_table(
    problem: RegressionProblem,
    learning_rates: Sequence[float],
    batch_sizes: Sequence[int],
    runs: SchemeRuns,
) -> pd.DataFrame:
    """Rows of the ``sampling_schemes`` artefact: var(g_t | F_0) by scheme, batch size and step.

    Schemes that draw afresh have exact values; the others estimates by both estimators with
    intervals, from runs whose stream depends on the scheme and the batch size alone.
    """
    steps = np.arange(len(learning_rates))
    parts = []
    for scheme in AFRESH:
        moments = exact_moments(
            problem.features,
            problem.target,
            problem.initial_weights,
            learning_rates,
            batch_sizes,
            scheme,
        )
        for b, values in zip(batch_sizes, moments.stochastic_gradient.T, strict=True):
            parts.append(_rows(scheme, b, steps, EXACT, values, None))
    for scheme_in_epochs in IN_EPOCHS:
        for b in batch_sizes:
            stream = seed_sequence(runs.seed, "sampling_schemes", scheme_in_epochs, b, runs.n_runs)
            found = estimate_in_epochs(
                problem,
                learning_rates,
                b,
                scheme_in_epochs,
                runs.n_runs,
                np.random.default_rng(stream),
            )
            for name in ("sample", "rao_blackwell"):
                one = getattr(found, name)
                rows = pd.DataFrame({"step": steps, "quantity": STOCHASTIC, "estimator": name})
                certain = Certain(whole_batches=b >= problem.n).rows(rows)
                interval = judged(one, runs.level, certain).interval
                spread = (interval.std_error, interval.low, interval.high)
                parts.append(_rows(scheme_in_epochs, b, steps, name, one.mean, spread))
    return pd.concat(parts, ignore_index=True)


def equal_epochs_table(
    problem: RegressionProblem,
    learning_rates: Sequence[float],
    batch_sizes: Sequence[int],
    n_epochs: int,
) -> pd.DataFrame:
    """Rows of the ``equal_epochs`` artefact: E L after whole epochs, exact for all four schemes.

    A scheme that draws afresh takes as many steps as an epoch of that batch size has.
    """
    rows = []
    for rate in learning_rates:
        for b in batch_sizes:
            steps = len(batch_sizes_of_epoch(problem.n, b))
            rates = [rate] * (steps * n_epochs + 1)
            given = EpochProblem(problem.features, problem.target, problem.initial_weights, rates)
            losses = {
                "epochs": epoch_moments(given, b, n_epochs).after_epochs(),
                "shuffled_once": shuffled_once_moments(given, b, n_epochs).after_epochs(),
            }
            for scheme in AFRESH:
                moments = exact_moments(
                    problem.features, problem.target, problem.initial_weights, rates, [b], scheme
                )
                losses[scheme] = moments.expected_loss[::steps, 0]
            for name, values in losses.items():
                rows += [(name, rate, b, epoch, loss) for epoch, loss in enumerate(values.tolist())]
    return pd.DataFrame(rows, columns=["scheme", "learning_rate", "b", "epoch", "loss"])


def small_sample(features: Floats, target: Floats, rows: int) -> RegressionProblem:
    """The first ``rows`` rows, standardised on their own, with an intercept; weights zero.

    Args:
        features: (n, k) without the intercept.
    """
    x, y = features[:rows], target[:rows]
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    y = (y - y.mean()) / y.std()
    x = np.column_stack([np.ones(rows), x])
    return RegressionProblem(x, y, np.zeros(x.shape[1]))


def _rows(
    scheme: str,
    b: int,
    steps: NDArray[np.int64],
    estimator: str,
    values: Floats,
    spread: tuple[Floats, Floats, Floats] | None,
) -> pd.DataFrame:
    error, low, high = spread or (np.full(len(values), np.nan),) * 3
    return pd.DataFrame(
        {
            "scheme": scheme,
            "b": b,
            "step": steps,
            "estimator": estimator,
            "variance": values,
            "std_error": error,
            "ci_low": low,
            "ci_high": high,
        }
    )
