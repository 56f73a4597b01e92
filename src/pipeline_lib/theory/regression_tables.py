"""Linear regression beyond the variance as long tables: runs needed, limits, test losses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline_lib.theory.expected_losses import Sample, expected_losses
from pipeline_lib.theory.linear_regression import Sampling, batch_factor, sampling_factor
from pipeline_lib.theory.regression_fourth import fourth_moments
from pipeline_lib.theory.regression_limits import (
    inverse_time_limit,
    noise_at_minimum,
    smallest_stable_batch_size,
    stationary_state,
)
from pipeline_lib.theory.regression_moments import Optimiser, RegressionProblem

Floats = NDArray[np.float64]
ESTIMATORS = ("sample", "rao_blackwell")


@dataclass(frozen=True)
class PrecisionPlan:
    """What to tell of the estimates of an experiment.

    steps: the steps t; n_runs: the experiment's runs for every batch size; precisions: relative
    standard errors for which the number of runs is wanted.
    """

    steps: Sequence[int]
    n_runs: int
    precisions: Sequence[float]


def precision_table(
    problem: RegressionProblem,
    learning_rates: Sequence[float],
    batch_sizes: Sequence[int],
    plan: PrecisionPlan,
    init: int,
) -> pd.DataFrame:
    """Rows of the ``precision`` artefact: exact standard errors of both estimators of var(g_t).

    ``relative_std_error`` is that of ``n_runs`` runs, as a share of the variance; ``runs_needed``
    the smallest number of runs at which it is at most ``precision``. Batch sizes of n or more,
    whose gradient does not vary, have no rows.
    """
    rows = []
    for b in (size for size in batch_sizes if size < problem.n):
        moments = fourth_moments(problem, learning_rates, b, plan.steps)
        for (step, one), estimator, precision in product(
            zip(plan.steps, moments, strict=True), ESTIMATORS, plan.precisions
        ):
            rows.append(
                {
                    "init": init,
                    "b": b,
                    "step": step,
                    "estimator": estimator,
                    "variance": one.variance,
                    "n_runs": plan.n_runs,
                    "relative_std_error": one.standard_error(estimator, plan.n_runs) / one.variance,
                    "precision": precision,
                    "runs_needed": one.runs_needed(estimator, precision),
                }
            )
    return pd.DataFrame(rows)


def constant_rate_table(
    problem: RegressionProblem,
    learning_rates: Sequence[float],
    batch_sizes: Sequence[int],
    samplings: Sequence[Sampling],
) -> pd.DataFrame:
    """Rows of the ``limits`` artefact at constant learning rates: values as t → ∞.

    ``radius`` is the factor by which the covariance approaches its limit in a step; where it is 1
    or more there is none, and the values are missing. ``smallest_stable_b`` is the smallest batch
    size of all at which there is one, missing if there is none.
    """
    rows = []
    for sampling, rate in product(samplings, learning_rates):
        smallest = smallest_stable_batch_size(problem, rate, sampling)
        for b in batch_sizes:
            state = stationary_state(problem, rate, float(sampling_factor(b, problem.n, sampling)))
            rows.append(
                {
                    "schedule": "constant",
                    "sampling": sampling,
                    "learning_rate": rate,
                    "b": b,
                    "radius": state.radius,
                    "smallest_stable_b": smallest,
                    "stochastic_gradient": state.stochastic_gradient,
                    "full_gradient": state.full_gradient,
                    "excess_loss": state.excess_loss,
                }
            )
    return _limits(rows)


def inverse_time_table(
    problem: RegressionProblem, initial_rates: Sequence[float], batch_sizes: Sequence[int]
) -> pd.DataFrame:
    """Rows of the ``limits`` artefact at the rates a/(t+1), a from ``initial_rates``.

    ``stochastic_gradient`` is lim var(g_t); ``full_gradient`` and ``excess_loss`` are the limits of
    t times these, missing where a lambda_min(H) <= 1/2 and they fall more slowly than 1/t.
    """
    hessian, noise = problem.hessian, float(np.trace(noise_at_minimum(problem)))
    rows = []
    for initial, b in product(initial_rates, batch_sizes):
        factor = float(batch_factor(b, problem.n))
        limit = inverse_time_limit(problem, initial, factor)
        rows.append(
            {
                "schedule": "inverse_time",
                "sampling": "fresh",
                "learning_rate": initial,
                "b": b,
                "radius": None,
                "smallest_stable_b": None,
                "stochastic_gradient": factor * noise,
                "full_gradient": None if limit is None else np.trace(hessian @ limit @ hessian),
                "excess_loss": None if limit is None else 0.5 * np.sum(hessian * limit),
            }
        )
    return _limits(rows)


def split_rows(features: Floats, target: Floats, share: float = 0.8) -> tuple[Sample, Sample]:
    """The first ``share`` of the rows as a training set, the rest as a test set."""
    n = int(share * len(target))
    return Sample(features[:n], target[:n]), Sample(features[n:], target[n:])


@dataclass(frozen=True)
class Training:
    """A run of SGD as planned: learning rates (T,) and momentum and weight decay."""

    learning_rates: Sequence[float]
    optimiser: Optimiser


def losses_table(
    problem: RegressionProblem,
    test: Sample,
    trainings: Mapping[str, Training],
    batch_sizes: Sequence[int],
    steps: Sequence[int],
) -> pd.DataFrame:
    """Rows of the ``test_loss`` artefact: expected losses of the training and the test set.

    Args:
        trainings: by the name that goes into the column ``optimiser``.
        steps: those that have rows, below the number of learning rates.
    """
    factor = batch_factor(batch_sizes, problem.n)
    chosen = np.asarray(steps)
    parts = []
    for name, training in trainings.items():
        found = expected_losses(problem, test, training.learning_rates, factor, training.optimiser)
        parts.append(
            pd.DataFrame(
                {
                    "optimiser": name,
                    "b": np.tile(batch_sizes, len(chosen)),
                    "step": np.repeat(chosen, len(batch_sizes)),
                    "training_loss": found.training[chosen].ravel(),
                    "test_loss": found.test[chosen].ravel(),
                    "gap": found.gap[chosen].ravel(),
                    "training_noise": found.training_noise[chosen].ravel(),
                    "test_noise": found.test_noise[chosen].ravel(),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def _limits(rows: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    frame = pd.DataFrame(list(rows))
    for name in ("radius", "stochastic_gradient", "full_gradient", "excess_loss"):
        frame[name] = frame[name].astype("float64")
    frame["smallest_stable_b"] = frame["smallest_stable_b"].astype("Int32")
    return frame
