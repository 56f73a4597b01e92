"""How often an interval holds the variance, in all experiments and in those relied on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.calibration.laws import Draws, Law
from pipeline_lib.estimation.control_variates import controlled, enough_runs
from pipeline_lib.estimation.inference import Interval
from pipeline_lib.estimation.judged import judged
from pipeline_lib.estimation.reliability import Estimate
from pipeline_lib.estimation.variance import (
    Contributions,
    pool,
    rao_blackwell_contributions,
    sample_contributions,
    summarise,
    vector_moments,
)

Floats = NDArray[np.float64]
Groups = tuple[int, ...]  # the sizes of the groups that share a mean

# As few runs as are used, in one group and in several.
GROUPS: tuple[Groups, ...] = (
    (3,), (4,), (6,), (8,), (12,), (30,), (2, 2), (2,) * 6, (2,) * 25, (25,) * 4,
)  # fmt: skip
_PIECE = 4_000_000  # numbers drawn at once


@dataclass(frozen=True, eq=False)
class Simulated:
    """Estimates (N,) of repeated experiments, relative to the true variance."""

    moments: Contributions
    interval: Interval
    reliable: NDArray[np.bool_]

    @property
    def estimate(self) -> Estimate:
        return Estimate(self.moments.mean, self.interval.std_error, self.moments.dof)

    @property
    def covered(self) -> NDArray[np.bool_]:
        return np.asarray((self.interval.low <= 1) & (self.interval.high >= 1), np.bool_)


@dataclass(frozen=True)
class Coverage:
    """Shares of repeated experiments.

    covered: the interval holds the variance; below, above: it lies wholly below, above it;
        missing: there is none, since the runs do not differ.
    reliable: not flagged; covered_reliable: the interval holds the variance, of these.
    relied_and_missed: not flagged although the interval misses, of all.
    """

    covered: float
    below: float
    above: float
    missing: float
    reliable: float
    covered_reliable: float
    relied_and_missed: float


def simulate(
    law: Law, groups: Groups, repeats: int, rng: np.random.Generator, level: float = 0.95
) -> Simulated:
    """Repeated experiments of runs in ``groups``, by the functions that make the study's tables."""
    pieces = [
        [law.draw(rng, (n, size)) for size in groups]
        for n in _pieces(repeats, sum(groups) * law.numbers)
    ]
    moments = _moments(pieces, law.variance)
    found = judged(moments, level)
    reliable = found.reliable
    if pieces[0][0].plain is not None:
        plain = [[Draws(one.plain) for one in piece if one.plain is not None] for piece in pieces]
        reliable = reliable & judged(_moments(plain, law.variance), level).reliable
    return Simulated(moments, found.interval, reliable)


def _moments(pieces: Sequence[Sequence[Draws]], variance: float) -> Contributions:
    pooled = [
        pool([_contributions(group, variance) for group in _controlled(groups)])
        for groups in pieces
    ]
    names = Contributions.__dataclass_fields__
    return Contributions(
        **{name: np.concatenate([getattr(one, name) for one in pooled]) for name in names}
    )


def _controlled(groups: Sequence[Draws]) -> Sequence[Draws]:
    """The groups with what the controls of all their runs explain taken off."""
    if not groups[0].increments:
        return groups
    conditional = [one.conditional for one in groups if one.conditional is not None]
    # Repeats stand where `control_variates` has steps; each has made one step at a rate of 1.
    x = np.stack(
        [
            np.concatenate([one.increments[key] for one in groups], axis=1)
            for key in groups[0].increments
        ]
    )
    if not enough_runs(x.shape[2], len(x) // 2):
        return groups
    own = controlled(np.concatenate(conditional, axis=1), x)
    ends = np.cumsum([one.shape[1] for one in conditional])[:-1]
    return [
        replace(one, conditional=of)
        for one, of in zip(groups, np.split(own, ends, axis=1), strict=True)
    ]


def coverage(
    law: Law, groups: Groups, repeats: int, rng: np.random.Generator, level: float = 0.95
) -> Coverage:
    """The shares of ``repeats`` experiments; covered_reliable is nan if none is reliable."""
    found = simulate(law, groups, repeats, rng, level)
    relied = found.covered[found.reliable]
    return Coverage(
        covered=float(found.covered.mean()),
        below=float((found.interval.high < 1).mean()),
        above=float((found.interval.low > 1).mean()),
        missing=float(np.isnan(found.interval.low).mean()),
        reliable=float(found.reliable.mean()),
        covered_reliable=float(relied.mean()) if relied.size else float("nan"),
        relied_and_missed=float((found.reliable & ~found.covered).mean()),
    )


def named(groups: Sequence[int]) -> str:
    """``8``, ``2 + 2`` or ``25 x 2``: the number of groups, and their size."""
    if len(groups) == 1:
        return str(groups[0])
    if len(groups) == 2:
        return " + ".join(map(str, groups))
    return f"{len(groups)} x {groups[0]}"


def _contributions(draws: Draws, variance: float) -> Contributions:
    deviations = vector_moments(draws.vectors).sq_deviations / variance
    if draws.conditional is None:
        return summarise(sample_contributions(deviations))
    conditional = draws.conditional / variance
    return summarise(rao_blackwell_contributions(conditional, deviations), conditional)


def _pieces(repeats: int, numbers: int) -> Iterator[int]:
    most = max(1, _PIECE // numbers)
    while repeats > 0:
        yield min(repeats, most)
        repeats -= most
