"""Which estimates to rely on, and which are precise enough for a verdict.

A sample of few runs cannot show that its tail is light, and where the tail is heavy and unseen the
estimate is too small and its error too: the interval misses, and a test finds differences that are
none. Two signs are looked at: the share of the largest run (`reliability`), and the relative
standard error with the error that it has itself (`precise`, `decisive`).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special  # scipy.stats takes a second to import

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

# Of 1,000 runs one may carry a tenth of the estimate before it is called unreliable; of more runs,
# less (see `reliability`).
SHARE_FLOOR = 0.1
# The confidence with which an error is bounded, from its own chi-squared law (see `error_bound`).
BOUND_LEVEL = 0.95
# Squares of the largest relative errors that can be relied on: at few runs and at many. Between
# them SCATTER/dof: contributions may scatter half again as much as the χ²_1 of one dimension.
PRECISE, PRECISE_FLOOR, SCATTER = 0.4**2, 0.15**2, 4.8
# And of those that a verdict can rest on. A light tail beside a heavy one that was not seen is what
# misleads a test, so contributions may scatter hardly more than those of one Gaussian dimension.
DECISIVE, DECISIVE_FLOOR, DECISIVE_SCATTER = 0.2**2, 0.07**2, 2.6
LEAST_DOF = 3  # of a reliable estimate; its error then has two degrees of freedom


@dataclass(frozen=True, eq=False)
class Estimate:
    """A variance estimate as tables hold it: its value, standard error and dof (n less groups)."""

    mean: ArrayLike
    std_error: ArrayLike
    dof: ArrayLike


def float_arrays(*arrays: ArrayLike) -> list[FloatArray]:
    return [np.array(a) for a in np.broadcast_arrays(*(np.asarray(a, np.float64) for a in arrays))]


def checked(estimate: Estimate) -> FloatArray:
    """Mean, standard error and dof (3, ...); the first two nan where there is no valid error."""
    mean, error, dof = float_arrays(estimate.mean, estimate.std_error, estimate.dof)
    usable = (dof > 1) & (mean >= 0) & (error >= 0) & np.isfinite(mean + error)
    return np.stack([np.where(usable, mean, np.nan), np.where(usable, error, np.nan), dof])


def error_bound(dof: ArrayLike) -> FloatArray:
    """By what a standard error is multiplied to bound the true one at `BOUND_LEVEL`.

    √((dof − 1)/χ²_{dof−1}), the chi-squared quantile at 1 − BOUND_LEVEL: right for independent
    normal contributions, and more than that for deviations in many dimensions. 15.9 at dof = 2, 4.4
    at 3, 1.9 at 7, 1.13 at 100.
    """
    free = np.asarray(dof, np.float64) - 1
    safe = np.where(free > 0, free, 1.0)
    bound = np.sqrt(safe / special.chdtri(safe, BOUND_LEVEL))
    return np.where(free > 0, bound, np.nan)


def reliability(
    n_runs: ArrayLike, mean: ArrayLike, max_contribution: ArrayLike
) -> tuple[FloatArray, BoolArray]:
    """Share of Σ y carried by the largest run, and whether it is no sign of a heavy tail.

    max_share = max y/(n V̂), between 1/n and 1 (0 where every contribution is 0). No sign where
    max_share ≤ max(floor, u/(n − 1 + u)), u = 2 log(1000 n): u bounds the largest of n chi²_1
    variables of mean 1 except with probability below 0.001, so the squared deviation of a Gaussian
    gradient of any dimension is flagged in well under 1 % of cases. This term rules below about 220
    runs. Above, floor = 0.1 min(1, √(1000/n)): a larger share means that one run moved the estimate
    by more than the floor, and the largest share of contributions with a finite variance falls
    faster than n^{-1/2}. The flag detects tails that were seen too thinly (y = x^18 with 1,000
    runs: nearly always); a tail of which nothing at all was seen leaves no trace in the sample, so
    at few runs `precise` has to exclude it. Unusable input gives (nan, False).
    """
    n, mean_, largest = float_arrays(n_runs, mean, max_contribution)
    usable = (n >= 2) & (mean_ >= 0) & np.isfinite(mean_) & np.isfinite(largest)
    total = np.where(usable & (mean_ > 0), n * mean_, 1.0)
    share = np.where(usable, np.where(mean_ > 0, largest / total, 0.0), np.nan)
    u = 2 * np.log(1000 * np.where(usable, n, 2.0))
    floor = SHARE_FLOOR * np.minimum(1.0, np.sqrt(1000 / np.where(usable, n, 2.0)))
    threshold = np.maximum(floor, u / (np.where(usable, n, 2.0) - 1 + u))
    return share, np.asarray(share <= threshold, np.bool_)


def relative_error_bound(estimate: Estimate) -> FloatArray:
    """SE/V̂ times `error_bound`; 0 without spread, nan where there is no error."""
    mean, error, dof = checked(estimate)
    relative = np.where(error == 0, 0.0, error / np.where(mean > 0, mean, 1.0))
    return np.where(np.isnan(mean), np.nan, relative * error_bound(dof))


def precise(estimate: Estimate) -> BoolArray:
    """Whether the runs are enough to tell that the tail is light, and how large the error is.

    The square of `relative_error_bound` may be at most 4.8/dof, within [0.0225, 0.16], and dof must
    be at least `LEAST_DOF`. One-dimensional Gaussian gradients have 2/dof and pass from some 30
    runs on; those of many dimensions, and Rao–Blackwellised ones, from 4. Heavier tails than
    Gaussian scatter more, and pass where they are known to 15 %.
    """
    bound = relative_error_bound(estimate)
    dof = np.asarray(estimate.dof, np.float64)
    most = np.clip(SCATTER / np.maximum(dof, 1), PRECISE_FLOOR, PRECISE)
    return np.asarray((dof >= LEAST_DOF) & (bound**2 <= most), np.bool_)


def _most_decisive(dof: FloatArray) -> FloatArray:
    """The largest square of `relative_error_bound` for a verdict; never above that of `precise`."""
    return np.clip(DECISIVE_SCATTER / np.maximum(dof, 1), DECISIVE_FLOOR, DECISIVE)


def decisive(estimate: Estimate) -> BoolArray:
    """Whether an estimate is precise enough for a verdict: known to 20 %, of many runs to 7 %.

    The square of `relative_error_bound` may be at most 2.6/dof, within [0.0049, 0.04].
    """
    most = _most_decisive(np.asarray(estimate.dof, np.float64))
    return np.asarray(precise(estimate) & (relative_error_bound(estimate) ** 2 <= most), np.bool_)


def scatter(estimate: Estimate) -> FloatArray:
    """Squared coefficient of variation of the contributions, dof (SE/V̂)²; 0 without spread.

    2 for the squared deviations of one Gaussian dimension, 2/p of p alike.
    """
    mean, error, dof = checked(estimate)
    relative = np.where(error == 0, 0.0, error / np.where(mean > 0, mean, 1.0))
    return np.asarray(relative**2 * dof)


def runs_to_decide(estimate: Estimate) -> FloatArray:
    """About how many runs in one group make an estimate `decisive`, if its law is as it seems.

    The error shrinks with the root of the runs, and its bound with more of them; at least 4, and
    nan where there is no error to start from.
    """
    scattered = scatter(estimate)
    candidates = np.unique(np.round(np.geomspace(LEAST_DOF, 1e8, 400)))
    enough = _most_decisive(candidates) * candidates / error_bound(candidates) ** 2
    enough = np.maximum.accumulate(enough)
    index = np.minimum(np.searchsorted(enough, scattered), candidates.size - 1)
    return np.where(np.isnan(scattered), np.nan, candidates[index] + 1)
