"""How often something is settled that is not so, by the ledger's own tests."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline_lib.calibration.coverage import Groups, Simulated, simulate
from pipeline_lib.calibration.laws import Law, mean_of
from pipeline_lib.claims.comparisons import SERIES, neighbours
from pipeline_lib.claims.ordering import Ordering, decide
from pipeline_lib.estimation.inference import decreasing_p_value
from pipeline_lib.estimation.reliability import decisive

Floats = NDArray[np.float64]
SIZES = (1, 2, 4, 8)


@dataclass(frozen=True)
class Settled:
    """Shares of experiments.

    tested: some comparison has two estimates precise enough to be tested.
    equal: with all variances equal, some comparison is settled, in whichever direction.
    refuted: with variances proportional to 1/b, the true order is refuted.
    confirmed: it is confirmed at every step.
    """

    tested: float
    equal: float
    refuted: float
    confirmed: float


def settled(
    law: Law, groups: Groups, experiments: int, rng: np.random.Generator, steps: int = 5
) -> Settled:
    """Own experiments of four batch sizes and independent steps, decided at level 0.05.

    Where variances fall, the gradient at b is the mean of b draws of ``law``, so its tail grows
    lighter as those of mini-batches do.
    """
    tested, equal = told_apart([law] * len(SIZES), groups, experiments, rng, steps)
    means, scales = [mean_of(law, b) for b in SIZES], 1 / np.array(SIZES)
    falling = _decided(means, scales, groups, (experiments, steps), rng)
    return Settled(
        tested=tested,
        equal=equal,
        refuted=sum(one.verdict == "refuted" for one in falling) / experiments,
        confirmed=sum(one.verdict == "confirmed" for one in falling) / experiments,
    )


def told_apart(
    laws: Sequence[Law], groups: Groups, experiments: int, rng: np.random.Generator, steps: int = 5
) -> tuple[float, float]:
    """Of own experiments with a law of its own at each size and equal variances: `tested`, `equal`.

    The shares are those of `Settled`.
    """
    found = _decided(laws, np.ones(len(SIZES)), groups, (experiments, steps), rng)
    wrong = sum(one.n_for + one.n_against > 0 for one in found)
    return len(found) / experiments, wrong / experiments


def in_training(
    laws: Sequence[Law], groups: Groups, experiments: int, rng: np.random.Generator, steps: int = 5
) -> tuple[float, float, float]:
    """Of gradients whose variances fall from law to law: `tested`, `refuted`, `confirmed`.

    The shares are those of `Settled`, with the variances that the laws have.
    """
    variances = np.array([law.variance for law in laws])
    if not (np.diff(variances) < 0).all():
        raise ValueError(f"the variances do not fall: {', '.join(map(str, variances))}")
    found = _decided(laws, variances, groups, (experiments, steps), rng)
    verdicts = [one.verdict for one in found]
    shares = (len(found), verdicts.count("refuted"), verdicts.count("confirmed"))
    tested, refuted, confirmed = (count / experiments for count in shares)
    return tested, refuted, confirmed


def _decided(
    laws: Sequence[Law],
    scales: Floats,
    groups: Groups,
    shape: tuple[int, int],
    rng: np.random.Generator,
) -> list[Ordering]:
    """The outcomes of those experiments in which some comparison is tested."""
    experiments, steps = shape
    estimates = [simulate(one, groups, experiments * steps, rng) for one in laws]
    usable = np.array([one.reliable & decisive(one.estimate) for one in estimates])
    tested = (usable[:-1] & usable[1:]).any(axis=0).reshape(shape).any(axis=1)
    rows = _rows(estimates, scales, steps)
    comparisons = neighbours(rows, series=[*SERIES, "experiment"])
    kept = comparisons[comparisons["experiment"].isin(np.flatnonzero(tested))]
    return [decide(table) for _, table in kept.groupby("experiment")]


def _rows(estimates: Sequence[Simulated], scales: Floats, steps: int) -> pd.DataFrame:
    """Rows of the ``variance`` artefact with the number of the experiment."""
    parts = []
    for b, one, scale in zip(SIZES, estimates, scales, strict=True):
        index = np.arange(len(one.reliable))
        parts.append(
            pd.DataFrame(
                {
                    "experiment": index // steps,
                    "init": 0,
                    "b": b,
                    "step": index % steps,
                    "quantity": "stochastic_gradient",
                    "tensor": "all",
                    "variance": scale * one.moments.mean,
                    "std_error": scale * one.interval.std_error,
                    "n_runs": one.moments.n_replicas,
                    "dof": one.moments.dof,
                    "reliable": one.reliable,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def tail_ratios(
    laws: tuple[Law, Law],
    groups: Groups,
    repeats: int,
    rng: np.random.Generator,
    levels: Sequence[float] = (1e-2, 1e-3, 1e-4),
) -> list[float]:
    """P(p ≤ level)/level of two equal variances, both directions and only if they are tested."""
    first, second = (simulate(law, groups, repeats, rng) for law in laws)
    tested = np.ones(repeats, np.bool_)
    for one in (first, second):
        tested &= one.reliable & decisive(one.estimate)
    one_sided = np.minimum(
        decreasing_p_value(first.estimate, second.estimate),
        decreasing_p_value(second.estimate, first.estimate),
    )
    p = np.where(tested, 2 * one_sided, 1.0)
    return [float((p <= level).mean() / level) for level in levels]
