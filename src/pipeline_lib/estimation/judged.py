"""What the moments of contributions tell: an interval, and whether to rely on the estimate."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline_lib.estimation.inference import Interval, variance_interval
from pipeline_lib.estimation.reliability import Estimate, precise, reliability
from pipeline_lib.estimation.variance import Contributions

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Relative spread of contributions that are equal but for the rounding of their mean.
ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Judged:
    """The interval of an estimate, the share of its largest run, and whether it is relied on."""

    interval: Interval
    max_share: Floats
    reliable: Bools


def judged(moments: Contributions, level: float, certain: ArrayLike = False) -> Judged:
    """Judge estimates by all that ``moments`` hold of them: dof and conditional variances too.

    Where the contributions have no spread there is no error and no interval, and the estimate is
    not relied on: two contributions of a pair, or of runs that take two values, are equal, and so
    are those of few runs where a gradient is 0 but for rare ones. Only where ``certain`` does no
    spread mean no error (see `certain.Certain`): low = high = the estimate.
    """
    n, mean = moments.n_replicas, moments.mean
    alike = np.sqrt(moments.m2 / n) <= ROUNDING * mean
    untold = alike & ~np.asarray(certain, np.bool_)
    interval = variance_interval(
        n,
        mean,
        np.where(untold, np.nan, moments.m2),
        moments.m3,
        level,
        dof=moments.dof,
        conditional_m2=moments.conditional_m2,
    )
    max_share, light = reliability(n, mean, moments.max)
    # Short of divergence the third moments overflow first: no error bar, nothing to rely on.
    enough = precise(Estimate(mean, interval.std_error, moments.dof))
    return Judged(interval, max_share, light & enough)
