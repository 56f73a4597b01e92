"""Linear regression under four ways of drawing mini-batches: what theorems assume, what is done.

    fresh              b of the n samples, without replacement, afresh at every iteration
    with_replacement   b draws with replacement, afresh at every iteration
    epochs             every epoch visits the samples in a new random order
    shuffled_once      every epoch visits them in the same random order

The first two have exact variances (`linear_regression`). The other two are simulated here, R runs
in lock-step from the same weights. Given its past H_t, the mini-batch of a run in epochs is a
uniform b-subset of the m samples U that the epoch has left, so by Lemma 1 on U

    var(g_t | H_t) = c_{b,m} ((1/m) Σ_U |∇L_i|² − |∇L_U|²),   E[g_t | H_t] = ∇L_U,

whose mean over runs plus the variance of ∇L_U estimates var(g_t | F_0) without bias and with less
noise than the plain estimate. With one order for all epochs that holds in the first epoch; in later
ones the past determines the mini-batch, and the estimate is the plain one.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline_lib.estimation.variance import (
    Contributions,
    rao_blackwell_contributions,
    sample_contributions,
    summarise,
    vector_moments,
)
from pipeline_lib.theory.epochs_exact import batch_sizes_of_epoch
from pipeline_lib.theory.linear_regression import batch_factor
from pipeline_lib.theory.regression_moments import RegressionProblem

Floats = NDArray[np.float64]
Scheme = Literal["fresh", "with_replacement", "epochs", "shuffled_once"]
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)
IN_EPOCHS: tuple[Scheme, ...] = ("epochs", "shuffled_once")


@dataclass(frozen=True, eq=False)
class SchemeEstimates:
    """Estimates of var(g_t | F_0), with fields of shape (T,), by both estimators."""

    sample: Contributions
    rao_blackwell: Contributions


def estimate_in_epochs(
    problem: RegressionProblem,
    learning_rates: ArrayLike,
    batch_size: int,
    scheme: Scheme,
    n_runs: int,
    rng: np.random.Generator,
) -> SchemeEstimates:
    """Estimate var(g_t | F_0) at every step from R runs in epochs.

    Args:
        learning_rates: (T,); T steps are taken, of as many epochs as that makes.
        scheme: ``epochs`` or ``shuffled_once``.

    Raises:
        ValueError: another scheme, a batch size outside [1, n] or fewer than two runs.
    """
    plain, better = [], []
    for g, conditional, mean in _steps(problem, learning_rates, batch_size, scheme, n_runs, rng):
        plain.append(summarise(sample_contributions(vector_moments(g).sq_deviations)))
        spread = vector_moments(mean).sq_deviations
        better.append(summarise(rao_blackwell_contributions(conditional, spread), conditional))
    return SchemeEstimates(_stacked(plain), _stacked(better))


def _steps(
    problem: RegressionProblem,
    learning_rates: ArrayLike,
    batch_size: int,
    scheme: Scheme,
    n_runs: int,
    rng: np.random.Generator,
) -> Iterator[tuple[Floats, Floats, Floats]]:
    """g_t (R, p), var(g_t | H_t) (R,) and E[g_t | H_t] (R, p) of each run, step by step."""
    if scheme not in IN_EPOCHS:
        raise ValueError(f"scheme is {scheme!r}; allowed: {', '.join(IN_EPOCHS)}")
    n = problem.n
    sizes = batch_sizes_of_epoch(n, batch_size)
    starts = np.cumsum([0, *sizes])
    weights = np.tile(problem.initial_weights, (n_runs, 1))
    orders = np.empty((n_runs, n), dtype=np.int64)
    for step, rate in enumerate(np.asarray(learning_rates, dtype=np.float64)):
        epoch, k = divmod(step, len(sizes))
        if k == 0 and (epoch == 0 or scheme == "epochs"):
            orders = rng.permuted(np.tile(np.arange(n), (n_runs, 1)), axis=1)
        batch = orders[:, starts[k] : starts[k + 1]]
        x = problem.features[batch]
        residual = np.einsum("rbp,rp->rb", x, weights) - problem.target[batch]
        g = np.einsum("rb,rbp->rp", residual, x) / sizes[k]
        if scheme == "epochs" or epoch == 0:
            conditional, mean = _given_the_past(problem, weights, orders[:, starts[k] :], sizes[k])
        else:
            conditional, mean = np.zeros(n_runs), g
        yield g, conditional, mean
        weights = weights - rate * g


def _given_the_past(
    problem: RegressionProblem, weights: Floats, left: NDArray[np.int64], size: int
) -> tuple[Floats, Floats]:
    """var(g | H) (R,) and E[g | H] (R, p) of a mini-batch of the samples ``left`` (R, m)."""
    n_runs, m = left.shape
    inside = np.zeros((n_runs, problem.n))
    np.put_along_axis(inside, left, 1.0, axis=1)
    residual = inside * (weights @ problem.features.T - problem.target)
    mean = residual @ problem.features / m
    if size == m:
        return np.zeros(n_runs), mean
    squares = residual**2 @ np.sum(problem.features**2, axis=1) / m
    spread = np.maximum(squares - np.sum(mean**2, axis=1), 0.0)
    return float(batch_factor(size, m)) * spread, mean


def _stacked(parts: list[Contributions]) -> Contributions:
    names = [field.name for field in dataclasses.fields(Contributions)]
    return Contributions(*(np.array([getattr(part, name) for part in parts]) for name in names))
