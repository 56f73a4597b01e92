"""Monte Carlo of the scalar two-layer network, whose gradients have heavy tails at small b.

The network of `theory.scalar_network` under SGD from fixed weights (w₁, w₂), with
e = w₂w₁ − w* and s = (1/b) Σ x² ~ χ²_b / b, drawn afresh at every iteration:

    g₁ = w₂ e s,  g₂ = w₁ e s,  w ← w − α_t g.

g_t is a polynomial of degree 3^t in each early s, so `var(g_t | F_0)` can be carried by runs so
rare that no sample of them holds one. The exact variances of `theory.scalar_network` show by how
much an estimate misses, and how often its reliability flag says so.

Arrays hold runs along the last axis and the two layers (g₁, g₂) along the first, in float64.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.estimation.variance import (
    Contributions,
    pool,
    rao_blackwell_contributions,
    sample_contributions,
    summarise,
    vector_moments,
)
from pipeline_lib.logs import progress
from pipeline_lib.seeding import seed_sequence
from pipeline_lib.theory.batch_polynomial import Rational, as_fraction, as_rational
from pipeline_lib.theory.scalar_network import ScalarNetwork, checked_rates

log = logging.getLogger(__name__)
Floats = NDArray[np.float64]

# Runs simulated together: bounds the memory (about 40 MB) and stays near the cache. Part of the
# definition of the random streams, so changing it changes the numbers.
CHUNK = 250_000


@dataclass(frozen=True)
class ScalarTraining:
    """The scalar network, whose steps t < ``max_step`` take the ``learning_rates``."""

    network: ScalarNetwork
    learning_rates: Sequence[Rational]
    max_step: int


@dataclass(frozen=True)
class StepEstimate:
    """Estimates of `var(g_t | F_0)` at one step.

    estimates: by estimator, ``sample`` and ``rao_blackwell``; the fields have shape (2,) for g₁ and
        g₂, or (2, K) for K repeats, and are nan where a run has overflowed.
    n_diverged: number of runs, over all repeats, whose squared gradient is not finite.
    """

    step: int
    estimates: Mapping[str, Contributions]
    n_diverged: int


def estimate(
    training: ScalarTraining,
    batch_size: int,
    n_runs: int,
    seed: int,
    chunk: int = CHUNK,
) -> list[StepEstimate]:
    """`var(g_{t,1} | F_0)` and `var(g_{t,2} | F_0)` for t = 0, …, max_step from `n_runs` runs.

    Runs are simulated in equal chunks (to within one run) of at most `chunk` runs and pooled by
    `variance.pool`, which loses one degree of freedom a chunk. Each (b, n_runs, chunk number) has
    its own stream, so experiments of different size are independent.

    Raises:
        ValueError: if there are fewer than two runs or learning rates are missing.
    """
    _check_runs(n_runs)
    sizes = _split(n_runs, chunk)
    blocks = []
    what = f"b = {batch_size}: chunks of {sizes[0]} runs"
    for index, size in enumerate(progress(sizes, len(sizes), what)):
        stream = seed_sequence(seed, "heavy_tails", batch_size, n_runs, index)
        blocks.append(_simulate(training, batch_size, (size,), stream))
    result = []
    for parts in zip(*blocks, strict=True):
        pooled = {
            name: pool([part.estimates[name] for part in parts]) for name in parts[0].estimates
        }
        result.append(StepEstimate(parts[0].step, pooled, sum(part.n_diverged for part in parts)))
    _warn_of_divergence(result, batch_size, n_runs)
    return result


def repeat_estimates(
    training: ScalarTraining,
    batch_size: int,
    n_runs: int,
    n_repeats: int,
    seed: int,
    chunk: int = CHUNK,
) -> list[StepEstimate]:
    """The experiment of `n_runs` runs, `n_repeats` times over: estimates of shape (2, n_repeats).

    Repeats are simulated in groups of at most `chunk` runs together (or one repeat, if longer).

    Raises:
        ValueError: if there are fewer than two runs, no repeats, or learning rates are missing.
    """
    _check_runs(n_runs)
    if n_repeats < 1:
        raise ValueError(f"the number of repeats must be positive, got {n_repeats}")
    blocks = []
    for index, size in enumerate(_split(n_repeats, max(1, chunk // n_runs))):
        stream = seed_sequence(seed, "heavy_tails_repeats", batch_size, n_runs, n_repeats, index)
        shape = (size, n_runs)
        blocks.append(_simulate(training, batch_size, shape, stream))
    result = []
    for parts in zip(*blocks, strict=True):
        joined = {
            name: _join([part.estimates[name] for part in parts]) for name in parts[0].estimates
        }
        result.append(StepEstimate(parts[0].step, joined, sum(part.n_diverged for part in parts)))
    _warn_of_divergence(result, batch_size, n_runs * n_repeats)
    return result


def draw_factors(generator: np.random.Generator, batch_size: int, shape: tuple[int, ...]) -> Floats:
    """s = (1/b) Σ x² of independent mini-batches of b standard normal x, an array of `shape`."""
    if batch_size < 1:
        raise ValueError(f"batch_size must be positive, got {batch_size}")
    if batch_size == 1:  # four times as fast as the rejection sampler below shape 1/2
        x = generator.standard_normal(shape)
        return np.asarray(x * x)
    return generator.standard_gamma(batch_size / 2, shape) * (2 / batch_size)


def gradients(
    network: ScalarNetwork, learning_rates: Sequence[Rational], draw: Callable[[], Floats]
) -> Iterator[tuple[Floats, Floats]]:
    """Population gradients G = (w₂e, w₁e) and stochastic gradients g = G s at t = 0, 1, ….

    There is one pair, each (2, ..., R), for every learning rate and a last one after them.
    ``draw`` returns the next iteration's s, of any shape (..., R). Values that overflow become inf
    or nan without a warning.
    """
    w1, w2, target, *rates = (
        float(as_fraction(as_rational(value)))
        for value in (network.w1, network.w2, network.target, *learning_rates)
    )
    weights: Floats | None = None
    for rate in (*rates, 0.0):
        s = draw()
        if weights is None:
            weights = np.stack([np.full(s.shape, w1), np.full(s.shape, w2)])
        with np.errstate(over="ignore", invalid="ignore"):
            population = weights[::-1] * (weights[0] * weights[1] - target)
            stochastic = population * s
            weights = weights - rate * stochastic
        yield population, stochastic


def conditional_variance(population: Floats, batch_size: int) -> Floats:
    """`var(g_t | F_t) = G² var(s) = (2/b) G²`, in the shape of the population gradients G."""
    return np.asarray(2 / batch_size * population * population)


def contributions(population: Floats, stochastic: Floats, batch_size: int) -> dict[str, Floats]:
    """Contributions (2, ..., R) of both estimators of `var(g_t | F_0)` (see `variance`)."""
    deviations = vector_moments(stochastic[..., None]).sq_deviations
    full_deviations = vector_moments(population[..., None]).sq_deviations
    return {
        "sample": sample_contributions(deviations),
        "rao_blackwell": rao_blackwell_contributions(
            conditional_variance(population, batch_size), full_deviations
        ),
    }


def _simulate(
    training: ScalarTraining,
    batch_size: int,
    shape: tuple[int, ...],
    stream: np.random.SeedSequence,
) -> list[StepEstimate]:
    """One independent experiment for each row of `shape` = (..., R)."""
    draw = partial(draw_factors, np.random.default_rng(stream), batch_size, shape)
    rates = checked_rates(training.learning_rates, training.max_step)
    pairs = gradients(training.network, rates, draw)
    result = []
    for step, (population, stochastic) in enumerate(pairs):
        # Overflow is a finding, counted and never averaged in; so are its consequences below.
        with np.errstate(over="ignore", invalid="ignore"):
            lost = ~np.isfinite(stochastic * stochastic).all(axis=0)
            estimates = {}
            conditional = conditional_variance(population, batch_size)
            conditional[:, lost.any(axis=-1)] = np.nan
            parts = {"rao_blackwell": conditional}
            for name, values in contributions(population, stochastic, batch_size).items():
                values[:, lost.any(axis=-1)] = np.nan
                estimates[name] = summarise(values, parts.get(name))
        result.append(StepEstimate(step, estimates, int(lost.sum())))
    return result


def _join(parts: Sequence[Contributions]) -> Contributions:
    names = [field.name for field in fields(Contributions)]
    columns = (np.concatenate([getattr(part, name) for part in parts], axis=-1) for name in names)
    return Contributions(*columns)


def _split(total: int, most: int) -> list[int]:
    """`total` as the fewest parts of at most `most`, equal to within one, the larger ones first."""
    n_parts = -(-total // most)
    return [total // n_parts + (index < total % n_parts) for index in range(n_parts)]


def _check_runs(n_runs: int) -> None:
    if n_runs < 2:
        raise ValueError(f"a variance over runs needs at least 2, got {n_runs}")


def _warn_of_divergence(estimates: Sequence[StepEstimate], batch_size: int, n_runs: int) -> None:
    for one in estimates:
        if one.n_diverged:
            log.warning(
                "b = %d: %d of %d runs are not finite at step %d; it has no estimate",
                batch_size,
                one.n_diverged,
                n_runs,
                one.step,
            )
            return
