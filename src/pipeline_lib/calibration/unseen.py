"""Whether a flag could tell that rare runs, which carry much of a variance, have not been seen.

The setting is the Rao–Blackwell form of the network of one unit a layer at t = 2, whose intervals
miss where rare runs are missing. A statistic of the contributions is a flag if it is larger there
than in laws whose intervals are right.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.calibration.coverage import Groups, Simulated, simulate
from pipeline_lib.calibration.laws import (
    Law,
    gaussian,
    mixture,
    regression,
    scalar_network,
    two_layer,
)

Floats = NDArray[np.float64]
GROUPS: tuple[Groups, ...] = ((30,), (2,) * 25, (25,) * 4)
INNOCENT = 0.05


def right() -> list[Law]:
    """Laws whose intervals hold the variance as often as they say, at 30 runs and more."""
    plain = [gaussian(1), gaussian(8), gaussian(1000), mixture(0.5, 8)]
    return [*plain, regression(True), two_layer(True), scalar_network(True, 1)]


def statistics_of(one: Simulated) -> Mapping[str, Floats]:
    """What tables keep of contributions that could show a heavy tail, by name."""
    moments = one.moments
    n = moments.n_replicas
    spread = np.sqrt(moments.m2 / n)
    skewness = moments.m3 / n / spread**3
    variation = spread / moments.mean
    with np.errstate(divide="ignore", invalid="ignore"):
        conditional = np.sqrt(moments.conditional_m2 / n) / moments.conditional_mean
    return {
        "skewness": skewness,
        "skewness / coefficient of variation": skewness / variation,
        "skewness² / coefficient of variation": skewness * np.abs(skewness) / variation,
        "largest run's share of the spread": (moments.max - moments.mean) ** 2 / moments.m2,
        "relative spread of conditional variances": np.nan_to_num(conditional),
    }


@dataclass(frozen=True)
class Flag:
    """A flag that fires above ``threshold``: in at most 5 % of the reliable of each right law.

    caught: share of the reliable estimates with a wrong interval that it fires on.
    reliable, holds: what it leaves of the setting: the share of estimates relied on, and of these
        that whose interval holds the variance.
    """

    name: str
    threshold: float
    caught: float
    reliable: float
    holds: float


def flags(groups: Groups, repeats: int, rng: np.random.Generator) -> list[Flag]:
    """The best that each statistic can do at these runs, and first the setting without a flag."""
    innocent = [simulate(law, groups, repeats, rng) for law in right()]
    found = simulate(scalar_network(True, 2), groups, repeats, rng)
    missed = found.reliable & ~found.covered
    result = [_flag("none", np.inf, np.zeros(repeats), found, missed)]
    for name, values in statistics_of(found).items():
        of_right = (statistics_of(one)[name][one.reliable] for one in innocent)
        threshold = max(np.quantile(some, 1 - INNOCENT) for some in of_right if some.size)
        result.append(_flag(name, float(threshold), values, found, missed))
    return result


def _flag(
    name: str, threshold: float, values: Floats, found: Simulated, missed: NDArray[np.bool_]
) -> Flag:
    fires = values > threshold
    left = found.reliable & ~fires
    shares = _share(fires[missed]), _share(left), _share(found.covered[left])
    return Flag(name, threshold, *shares)


def _share(chosen: NDArray[np.bool_]) -> float:
    return float(chosen.mean()) if chosen.size else float("nan")
