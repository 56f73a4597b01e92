"""Linear regression trained in epochs, exactly, on a few samples.

In an epoch the samples are visited in a random order, b at a time; the last mini-batch is smaller
where b does not divide n. Given the set U of samples that the epoch has used, the next mini-batch
is a uniform subset of the others. With v = (w, 1), a step is linear, v <- A_B v, so the moments
M_U = E[v vᵀ; U used] close over the subsets:

    M_{U ∪ B} += A_B M_U A_Bᵀ / C(n − |U|, |B|),

over all B outside U. At the end of an epoch every path has used all samples; the next begins with
their sum. `epoch_moments` costs, for each epoch, one product for every pair (U, B): 0.5 million at
n = 16 and b = 1. With one order for all epochs (`shuffled_once_moments`) weights and order depend
on each other for ever, and all n!/(b!⋯) orders are gone through instead.

Arrays may hold float64 or `fractions.Fraction`; results have the type of the input.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[Any]

MAX_SAMPLES = 16
MAX_ORDERS = 500_000


@dataclass(frozen=True, eq=False)
class PathMoments:
    """Moments given the initial weights; entry t is at w_t, the weights after t mini-batches.

    stochastic_gradient, full_gradient: (T,) var(g_t) and var(∇L(w_t)).
    expected_loss: (T + 1,) E L(w_t) of the mean loss over all n samples.
    steps_per_epoch: the number of mini-batches in an epoch.
    """

    stochastic_gradient: Numbers
    full_gradient: Numbers
    expected_loss: Numbers
    steps_per_epoch: int

    def after_epochs(self) -> Numbers:
        """E L after 0, 1, … epochs."""
        return self.expected_loss[:: self.steps_per_epoch]


@dataclass(frozen=True, eq=False)
class EpochProblem:
    """Samples (n, p), targets (n,), initial weights (p,), and one learning rate a step.

    Raises:
        ValueError: shapes that do not fit together or fewer than two samples.
    """

    features: Numbers
    target: Numbers
    initial_weights: Numbers
    learning_rates: Sequence[Any]

    def __post_init__(self) -> None:
        shape = self.features.shape
        if (
            len(shape) != 2
            or shape[0] < 2
            or self.target.shape != shape[:1]
            or self.initial_weights.shape != shape[1:]
        ):
            raise ValueError(
                "expected features (n, p) with n >= 2, target (n,) and initial_weights (p,), got "
                f"{shape}, {self.target.shape} and {self.initial_weights.shape}"
            )

    @property
    def n(self) -> int:
        return len(self.features)

    def gradient_maps(self) -> Numbers:
        """C_i (n, p, p + 1) with ∇L_i(w) = C_i (w, 1)."""
        augmented = np.concatenate([self.features, -self.target[:, None]], axis=1)
        return np.asarray(self.features[:, :, None] * augmented[:, None, :])


def batch_sizes_of_epoch(n: int, batch_size: int) -> list[int]:
    """The sizes of an epoch's mini-batches: b, …, b and what is left.

    Raises:
        ValueError: unless 1 <= b <= n.
    """
    if not 1 <= batch_size <= n:
        raise ValueError(f"batch size must be a whole number in [1, {n}], got {batch_size}")
    full, rest = divmod(n, batch_size)
    return [batch_size] * full + [rest] * (rest > 0)


def epoch_moments(problem: EpochProblem, batch_size: int, n_epochs: int) -> PathMoments:
    """Exact moments of SGD in epochs, each in a new random order.

    Raises:
        ValueError: n above 16, a batch size outside [1, n], or too few learning rates.
    """
    n = problem.n
    if n > MAX_SAMPLES:
        raise ValueError(f"n must be at most {MAX_SAMPLES}, got {n}")
    sizes = batch_sizes_of_epoch(n, batch_size)
    rates = _rates(problem, len(sizes) * n_epochs)
    maps = problem.gradient_maps()
    start = np.append(problem.initial_weights, _one(problem))
    totals = _Totals(problem)
    states = {0: np.outer(start, start)}
    for step, rate in enumerate(rates):
        size = sizes[step % len(sizes)]
        codes = np.array(sorted(states))
        stacked = np.stack([states[code] for code in codes.tolist()])
        free = n - bin(int(codes[0])).count("1")
        weight = _one(problem) / comb(free, size)
        moved: dict[int, Numbers] = {}
        second, first = 0 * weight, 0 * problem.initial_weights
        for batch in combinations(range(n), size):
            mask = sum(1 << i for i in batch)
            open_ = (codes & mask) == 0
            if not open_.any():
                continue
            chosen = stacked[open_]
            gradient_map = maps[list(batch)].sum(axis=0) / size
            whole = chosen.sum(axis=0) * weight
            second = second + np.trace(gradient_map @ whole @ gradient_map.T)
            first = first + gradient_map @ whole[:, -1]
            update = _update(gradient_map, rate, problem)
            after = (update @ chosen @ update.T) * weight
            for code, matrix in zip((codes[open_] | mask).tolist(), after, strict=True):
                moved[code] = moved[code] + matrix if code in moved else matrix
        totals.add(stacked.sum(axis=0), second - first @ first)
        ends = free == size
        states = {0: moved[(1 << n) - 1]} if ends else moved
    totals.finish(sum(states.values(), 0 * np.outer(start, start)))
    return totals.result(len(sizes))


def shuffled_once_moments(problem: EpochProblem, batch_size: int, n_epochs: int) -> PathMoments:
    """Exact moments of SGD in epochs that all have the same random order.

    Raises:
        ValueError: more than 500,000 orders, a bad batch size, or too few learning rates.
    """
    n = problem.n
    sizes = batch_sizes_of_epoch(n, batch_size)
    count = prod(comb(n - sum(sizes[:k]), size) for k, size in enumerate(sizes))
    if count > MAX_ORDERS:
        raise ValueError(f"{count:,} orders of {n} samples, at most {MAX_ORDERS:,} are allowed")
    orders = np.array(list(ordered_batches(n, sizes)))
    rates = _rates(problem, len(sizes) * n_epochs)
    ends = np.cumsum([0, *sizes])
    weights = np.tile(problem.initial_weights, (len(orders), 1))
    stochastic, full, losses = [], [], [_mean_loss(problem, weights)]
    for step, rate in enumerate(rates):
        k = step % len(sizes)
        batch = orders[:, ends[k] : ends[k + 1]]
        x = problem.features[batch]
        residual = (x * weights[:, None, :]).sum(axis=-1) - problem.target[batch]
        g = (x * residual[:, :, None]).sum(axis=1) / sizes[k]
        whole = (weights @ problem.features.T - problem.target) @ problem.features / n
        stochastic.append(_variance(g))
        full.append(_variance(whole))
        weights = weights - rate * g
        losses.append(_mean_loss(problem, weights))
    return PathMoments(np.array(stochastic), np.array(full), np.array(losses), len(sizes))


def ordered_batches(n: int, sizes: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Every way to deal 0, …, n − 1 into mini-batches of the given sizes, one after the other."""

    def deal(left: tuple[int, ...], sizes: Sequence[int]) -> Iterator[tuple[int, ...]]:
        if not sizes:
            yield ()
            return
        for batch in combinations(left, sizes[0]):
            rest = tuple(i for i in left if i not in batch)
            for others in deal(rest, sizes[1:]):
                yield (*batch, *others)

    return deal(tuple(range(n)), sizes)


class _Totals:
    """Collects the moments of the whole gradient and the loss from E v vᵀ."""

    def __init__(self, problem: EpochProblem) -> None:
        maps = problem.gradient_maps()
        self.map = maps.sum(axis=0) / problem.n
        augmented = np.concatenate([problem.features, -problem.target[:, None]], axis=1)
        self.loss_form = augmented.T @ augmented / (2 * problem.n)
        self.stochastic: list[Any] = []
        self.full: list[Any] = []
        self.losses: list[Any] = []

    def add(self, moments: Numbers, stochastic: Any) -> None:
        mean = self.map @ moments[:, -1]
        self.stochastic.append(stochastic)
        self.full.append(np.trace(self.map @ moments @ self.map.T) - mean @ mean)
        self.finish(moments)

    def finish(self, moments: Numbers) -> None:
        self.losses.append((self.loss_form * moments).sum())

    def result(self, steps_per_epoch: int) -> PathMoments:
        return PathMoments(
            np.array(self.stochastic), np.array(self.full), np.array(self.losses), steps_per_epoch
        )


def _update(gradient_map: Numbers, rate: Any, problem: EpochProblem) -> Numbers:
    """A_B (p + 1, p + 1): v <- v − alpha (C_B v, 0)."""
    p = len(problem.initial_weights)
    update = np.array([[_one(problem) * (i == j) for j in range(p + 1)] for i in range(p + 1)])
    update[:p] = update[:p] - rate * gradient_map
    return update


def _one(problem: EpochProblem) -> Any:
    """1 in the type of the numbers; divided by an integer it stays exact for fractions."""
    return problem.features.flat[0] * 0 + 1


def _rates(problem: EpochProblem, n_steps: int) -> list[Any]:
    if len(problem.learning_rates) < n_steps:
        raise ValueError(
            f"{n_steps} steps need as many learning rates, got {len(problem.learning_rates)}"
        )
    return list(problem.learning_rates[:n_steps])


def _mean_loss(problem: EpochProblem, weights: Numbers) -> Any:
    residual = weights @ problem.features.T - problem.target
    return (residual**2).sum() / (2 * residual.size)


def _variance(values: Numbers) -> Any:
    """The trace of the covariance matrix of equally likely rows."""
    centred = values - values.sum(axis=0) / len(values)
    return (centred**2).sum() / len(values)
