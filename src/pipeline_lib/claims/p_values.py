"""One-sided p-values of comparisons, and the runs that would settle them.

Variances are compared by `inference.decreasing_p_value` in both directions. Means that need not be
positive or skewed, such as losses and gaps, are compared by Welch's t statistic instead: a column
``test`` says which. The runs of different batch sizes are independent.

A variance takes part in a test only if it is `reliability.decisive`: of few runs with a large
spread no p-value as small as Holm asks for can be trusted (docs/inference.md).
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special  # scipy.stats takes a second to import

from pipeline_lib.estimation.inference import decreasing_p_value
from pipeline_lib.estimation.reliability import LEAST_DOF, Estimate, decisive, runs_to_decide

Floats = NDArray[np.float64]

# What the column ``test`` may say; without it every comparison is a log ratio.
LOG_RATIO, WELCH = "log_ratio", "welch"
ENDS = ("small", "large")
_TESTED = ("estimate", "std_error", "dof")


def unadjusted_p_values(comparisons: pd.DataFrame) -> Floats:
    """One-sided p-value of each comparison for "larger at the smaller b"; 1 if missing.

    Exact values and reliability flags are not looked at.
    """
    return p_values(comparisons, _present(comparisons))[0]


def p_values(comparisons: pd.DataFrame, usable: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """p-values for "falls from small to large b" and "rises"; 1 where not usable."""
    welch = _by_welch(comparisons)
    falls, rises = np.ones(len(comparisons)), np.ones(len(comparisons))
    for chosen, test in ((welch, _welch), (~welch, _log_ratio)):
        at = chosen & usable
        if at.any():
            falls[at], rises[at] = test(comparisons[at])
    return falls, rises


def _log_ratio(comparisons: pd.DataFrame) -> tuple[Floats, Floats]:
    small, large = (_estimate(comparisons, end) for end in ENDS)
    both = decreasing_p_value(small, large), decreasing_p_value(large, small)
    falls, rises = (np.where(np.isnan(p), 1.0, p) for p in both)
    return falls, rises


def _welch(comparisons: pd.DataFrame) -> tuple[Floats, Floats]:
    """Welch's t at the smaller dof − 1; 1 where the runs of neither batch size differ.

    With so many degrees of freedom, and not Welch's own number, the level is kept for normal means
    whatever their variances, also far out in the tail (Mickey and Brown 1966).
    """
    (mean_1, error_1, dof_1), (mean_2, error_2, dof_2) = (
        [comparisons[f"{name}_{end}"].to_numpy(np.float64) for name in _TESTED] for end in ENDS
    )
    spread = error_1**2 + error_2**2 > 0
    dof = np.minimum(dof_1, dof_2) - 1
    t = (mean_1 - mean_2) / np.where(spread, np.hypot(error_1, error_2), 1.0)
    above, below = special.stdtr(dof, -t), special.stdtr(dof, t)
    return np.where(spread, above, 1.0), np.where(spread, below, 1.0)


def _by_welch(comparisons: pd.DataFrame) -> NDArray[np.bool_]:
    if "test" not in comparisons:
        return np.zeros(len(comparisons), np.bool_)
    return (comparisons["test"] == WELCH).to_numpy()


def _estimate(comparisons: pd.DataFrame, end: str) -> Estimate:
    return Estimate(*(comparisons[f"{name}_{end}"].to_numpy(np.float64) for name in _TESTED))


def _present(comparisons: pd.DataFrame) -> NDArray[np.bool_]:
    ends = [f"{name}_{end}" for name in ("estimate", "std_error") for end in ENDS]
    return np.asarray(np.isfinite(comparisons[ends].to_numpy(np.float64)).all(axis=1))


def are_usable(comparisons: pd.DataFrame) -> NDArray[np.bool_]:
    """Both estimates there, flagged as reliable and precise enough to be tested."""
    usable = _present(comparisons)
    welch = _by_welch(comparisons)
    for end in ENDS:
        flag = (comparisons[f"reliable_{end}"] == True).to_numpy()  # noqa: E712
        usable &= flag & (welch | decisive(_estimate(comparisons, end)))
    return np.asarray(usable, np.bool_)


def are_tied(comparisons: pd.DataFrame) -> NDArray[np.bool_]:
    """Equal estimates without spread."""
    equal = comparisons["estimate_small"] == comparisons["estimate_large"]
    spread = comparisons["std_error_small"] + comparisons["std_error_large"]
    return (equal & (spread == 0)).to_numpy()


def fewest_runs(comparisons: pd.DataFrame) -> Floats:
    """Of the two runs behind each comparison, the smaller number; nan where neither has any."""
    runs = comparisons[[f"n_runs_{end}" for end in ENDS]].min(axis=1)
    return runs.to_numpy(np.float64)


def runs_needed(
    comparisons: pd.DataFrame, usable: NDArray[np.bool_], p_value: Floats, level: float
) -> Floats:
    """Runs a batch size that each comparison needs; nan where that cannot be told.

    The z of a test grows as the root of the runs and has to reach that of ``level``. Where a
    comparison is not ``usable``, it is the runs at which its estimates can be tested at all.
    """
    runs = fewest_runs(comparisons)
    z = -special.ndtri(p_value)
    for_power = (-special.ndtri(level) / np.where(z > 0, z, np.nan)) ** 2 * runs
    precision = np.zeros(len(comparisons))
    for end in ENDS:
        needed = runs_to_decide(_estimate(comparisons, end))
        few = (comparisons[f"dof_{end}"] <= 1).to_numpy()
        precision = np.maximum(precision, np.where(few, LEAST_DOF + 1, needed))
    precision[precision <= runs] = np.nan  # so many there are: it is the tail that is not seen
    return np.where(usable, for_power, precision)
