"""Whether estimates are ordered by batch size at every step: one family of comparisons.

A row of a `variance`-shaped table is an estimate from `n_runs` runs of a non-negative quantity,
with its standard error. Neighbouring batch sizes are compared at every step, for every init,
quantity and tensor, by `inference.decreasing_p_value` in both directions. Means that need not be
positive or skewed, such as losses and gaps, are compared by Welch's t statistic instead: a column
``test`` says which. The runs of different batch sizes are independent; those of different steps are
not, which Holm's adjustment allows for; both directions of all comparisons are one family. A
comparison for which both exact values are given is settled by them and is not a test.

A variance takes part in a test only if it is `reliability.decisive`: of few runs with a large
spread no p-value as small as Holm asks for can be trusted (docs/inference.md).

"Decreasing at all steps" is an intersection of claims: it is confirmed when every comparison is
settled in its favour (the largest adjusted p-value is below alpha), refuted when one is settled
against it, and otherwise left open, with the number that was decided.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special  # scipy.stats takes a second to import

from pipeline_lib.claims.verdict import Verdict
from pipeline_lib.estimation.inference import decreasing_p_value, holm
from pipeline_lib.estimation.reliability import LEAST_DOF, Estimate, decisive, runs_to_decide
from pipeline_lib.estimation.statistics import ALL, FULL, STOCHASTIC

Direction = Literal["decreasing", "increasing"]
Floats = NDArray[np.float64]

SERIES = ["init", "step", "quantity", "tensor"]
# What the column ``test`` may say; without it every comparison is a log ratio.
LOG_RATIO, WELCH = "log_ratio", "welch"
# Exact values closer than this, relatively, are not told apart: they carry float64 rounding.
ROUNDING = 1e-11
_TESTED = ("estimate", "std_error", "dof")
_ENDS = ("small", "large")


@dataclass(frozen=True)
class Ordering:
    """Outcome of one family of comparisons.

    n_for, n_against, n_open: comparisons settled for the claim, against it, and not settled; they
        add up to n_comparisons, of which n_exact were settled by exact values.
    n_exact_against: comparisons settled against the claim by exact values.
    p_for: largest Holm-adjusted p-value of the tests for the claim; p_for_least: the smallest of
        them; p_against: the smallest of the tests against it, all adjusted as one family; None
        where every comparison is exact.
    n_runs: the smallest number of runs behind an estimate that was tested; None likewise.
    n_tied: open comparisons of two equal estimates without spread, which no number of runs settles.
    n_unusable: open comparisons in which an estimate is missing, flagged as unreliable or not
        precise enough to be tested.
    runs_needed: runs a batch size at which half of the open comparisons would be decided, or their
        estimates precise enough to be tested, if the estimates held; None where no number of runs
        can be told: the estimates do not favour the claim, or their tail was not seen.
    """

    n_comparisons: int
    n_exact: int
    n_exact_against: int
    n_for: int
    n_against: int
    n_open: int
    n_tied: int
    n_unusable: int
    p_for: float | None
    p_for_least: float | None
    p_against: float | None
    n_runs: int | None
    runs_needed: int | None

    @property
    def verdict(self) -> Verdict:
        if self.n_comparisons == 0:
            return "not tested at this scale"
        if self.n_against:
            return "refuted"
        if self.n_for == self.n_comparisons:
            return "confirmed"
        return "partly" if self.n_for else "not tested at this scale"

    @property
    def exact(self) -> bool:
        return self.n_comparisons > 0 and self.n_exact == self.n_comparisons

    @property
    def p_value(self) -> float | None:
        """The p-value that the verdict rests on; None where it rests on exact values or is open.

        Of a claim that holds partly, the smallest: that some comparison is settled by its test.
        """
        match self.verdict:
            case "refuted":
                return None if self.n_exact_against else self.p_against
            case "confirmed":
                return self.p_for
            case "partly":
                return None if self.n_exact else self.p_for_least
        return None

    def describe(self) -> str:
        """The counts as one sentence."""
        text = (
            f"Of {self.n_comparisons:,} comparisons {self.n_for:,} are settled in favour, "
            f"{self.n_against:,} against, and {self.n_open:,} are open"
        )
        if self.n_unusable:
            text += f" ({self.n_unusable:,} of these for want of a reliable estimate)"
        if self.exact:
            text += "; all have exact values"
        elif self.n_exact:
            text += f"; {self.n_exact:,} have exact values, the others are tested"
        if self.n_unusable and self.n_unusable == self.n_comparisons - self.n_exact:
            text += (
                "; none of the others is tested, since at so few runs, with such a spread, no test "
                "keeps its level"
            )
        return text + "."

    def scale_needed(self) -> str | None:
        """What would settle what is open; None where the verdict is final."""
        if self.verdict in ("confirmed", "refuted"):
            return None
        if self.n_open and self.n_tied == self.n_open:
            return "means that differ: what is open are equal means without spread"
        if self.runs_needed is not None:
            return f"about {self.runs_needed:,} runs a batch size for half of what is open"
        return "runs that see the tail of the gradients" if self.n_unusable else "more runs"


def neighbours(
    table: pd.DataFrame, exact: pd.DataFrame | None = None, series: list[str] | None = None
) -> pd.DataFrame:
    """Every comparison of a batch size with the next larger one of ``table``.

    Args:
        table: the columns of ``series``, ``b``, ``variance``, ``std_error``, ``n_runs``, ``dof``
            and ``reliable``, one row each (one estimator; see `best_estimator`).
        exact: ``theory`` rows, the columns of ``series``, ``b`` and ``variance``.
        series: what tells one curve in b from another; default ``SERIES``.

    Returns: one row a comparison: ``series``, ``b_small``, ``b_large``, the estimates and exact
        values of both (suffixes ``_small`` and ``_large``; exact ones nan where not given).

    The full gradient at step 0 is left out: it is not random.
    """
    keys = SERIES if series is None else series
    given = table[~_not_random(table)]
    if given.duplicated([*keys, "b"]).any():
        raise ValueError(f"more than one row for the same {', '.join([*keys, 'b'])}")
    columns = [*keys, "b", "variance", "std_error", "n_runs", "dof", "reliable"]
    rows = given[columns].rename(columns={"variance": "estimate"})
    for name in keys:
        if isinstance(rows[name].dtype, pd.CategoricalDtype):
            rows[name] = rows[name].astype(str)
    rows["exact"] = np.nan
    if exact is not None:
        wanted = exact["b"].isin(rows["b"].unique())
        known = exact.loc[wanted, [*keys, "b", "variance"]].rename(columns={"variance": "exact"})
        known = known.astype({name: rows[name].dtype for name in keys})
        rows = rows.drop(columns="exact").merge(known, on=[*keys, "b"], how="left")
    sizes = sorted(rows["b"].unique())
    parts = [
        pairs(rows[rows["b"] == small], rows[rows["b"] == large], keys)
        for small, large in pairwise(sizes)
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def pairs(first: pd.DataFrame, second: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Comparisons of every row of ``first`` with every row of ``second`` that shares its ``keys``.

    Both have the columns ``keys``, ``b``, ``estimate``, ``std_error``, ``n_runs``, ``dof``,
    ``reliable`` and ``exact``; with the initial weights left out of ``keys``, all of them are
    crossed (Figure 3a).
    """
    columns = [*keys, "b", "estimate", "std_error", "n_runs", "dof", "reliable", "exact"]
    return first[columns].merge(
        second[columns], on=keys, how="outer", suffixes=("_small", "_large")
    )


def decide(
    comparisons: pd.DataFrame, alpha: float = 0.05, direction: Direction = "decreasing"
) -> Ordering:
    """Settle a family of comparisons made by `neighbours` (or of the same columns).

    An estimate that is missing, diverged, flagged as unreliable or not precise enough settles
    nothing: its comparisons stay in the family, open. Exact values that agree to rounding leave the
    comparison open too.

    Raises:
        ValueError: if alpha is not in (0, 1).
    """
    if comparisons.empty:
        _check_level(alpha)
        return Ordering(0, 0, 0, 0, 0, 0, 0, 0, None, None, None, None, None)
    one = _settle(comparisons, alpha, direction)
    n_for, n_against = int(one.favour.sum()), int(one.against.sum())
    tested = comparisons[~one.known]
    runs = tested[["n_runs_small", "n_runs_large"]].min(axis=1).to_numpy(np.float64)
    undecided = (~one.favour & ~one.against)[~one.known]
    needed = _runs_needed(tested, one, runs, alpha / max(2 * len(tested), 1))
    any_test = len(tested) > 0
    return Ordering(
        n_comparisons=len(comparisons),
        n_exact=int(one.known.sum()),
        n_exact_against=int((one.against & one.known).sum()),
        n_for=n_for,
        n_against=n_against,
        n_open=len(comparisons) - n_for - n_against,
        n_tied=int((_tied(comparisons) & one.usable & ~one.known).sum()),
        n_unusable=int((~one.usable & ~one.known).sum()),
        p_for=float(one.p_for.max()) if any_test else None,
        p_for_least=float(one.p_for.min()) if any_test else None,
        p_against=float(one.p_against.min()) if any_test else None,
        n_runs=int(np.nanmin(runs)) if any_test and np.isfinite(runs).any() else None,
        runs_needed=_median(needed[undecided]),
    )


def signs(
    comparisons: pd.DataFrame, alpha: float = 0.05, direction: Direction = "decreasing"
) -> NDArray[np.int8]:
    """What `decide` finds of each comparison: 1 in favour, -1 against, 0 open.

    Raises:
        ValueError: if alpha is not in (0, 1).
    """
    if comparisons.empty:
        _check_level(alpha)
        return np.zeros(0, np.int8)
    one = _settle(comparisons, alpha, direction)
    return one.favour.astype(np.int8) - one.against.astype(np.int8)


@dataclass(frozen=True, eq=False)
class _Settled:
    """Of each comparison: settled for or against, exact on both sides, usable if not exact.

    p_for, p_against: of the comparisons that are not exact, adjusted as one family.
    """

    favour: NDArray[np.bool_]
    against: NDArray[np.bool_]
    known: NDArray[np.bool_]
    usable: NDArray[np.bool_]
    p_for: Floats
    p_against: Floats
    p_unadjusted: Floats  # of those for the claim


def _check_level(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie strictly between 0 and 1, got {alpha!r}")


def _settle(comparisons: pd.DataFrame, alpha: float, direction: Direction) -> _Settled:
    _check_level(alpha)
    sign = 1.0 if direction == "decreasing" else -1.0
    small, large = (comparisons[f"exact_{end}"].to_numpy(np.float64) for end in _ENDS)
    known = np.isfinite(small) & np.isfinite(large)
    difference = sign * (small - large)
    apart = np.abs(difference) > ROUNDING * np.maximum(np.abs(small), np.abs(large))
    favour, against = known & apart & (difference > 0), known & apart & (difference < 0)

    tested = comparisons[~known]
    usable = np.zeros(len(comparisons), np.bool_)
    usable[~known] = _usable(tested)
    p_falls, p_rises = _p_values(tested, usable[~known])
    p_for, p_against = (p_falls, p_rises) if sign > 0 else (p_rises, p_falls)
    adjusted_for, adjusted_against = np.split(holm(np.concatenate([p_for, p_against])), 2)
    favour[~known], against[~known] = adjusted_for < alpha, adjusted_against < alpha
    return _Settled(favour, against, known, usable, adjusted_for, adjusted_against, p_for)


def best_estimator(variance: pd.DataFrame) -> pd.DataFrame:
    """The rows of the Rao-Blackwellised estimator where there is one, of the plain one elsewhere.

    Both estimate the same variance without bias from the same runs, the former with less noise.
    """
    key = [*SERIES, "b"]
    blackwell = variance[variance["estimator"] == "rao_blackwell"]
    sample = variance[variance["estimator"] == "sample"]
    covered = pd.MultiIndex.from_frame(sample[key]).isin(pd.MultiIndex.from_frame(blackwell[key]))
    return pd.concat([blackwell, sample[~covered]], ignore_index=True)


def whole_gradient(variance: pd.DataFrame) -> pd.DataFrame:
    """The rows of the stochastic gradient, all tensors together, by the `best_estimator`."""
    rows = best_estimator(variance[variance["tensor"] == ALL])
    return rows[rows["quantity"] == STOCHASTIC]


def shared_steps(rows: pd.DataFrame) -> pd.DataFrame:
    """`neighbours` at the steps that both batch sizes record; a larger one takes fewer an epoch.

    A row with runs but no estimate is of runs that diverged, and stays.
    """
    comparisons = neighbours(rows)
    if not len(comparisons):
        return comparisons
    return comparisons.dropna(subset=["n_runs_small", "n_runs_large"])


def unadjusted_p_values(comparisons: pd.DataFrame) -> Floats:
    """One-sided p-value of each comparison for "larger at the smaller b"; 1 if missing.

    Exact values and reliability flags are not looked at.
    """
    return _p_values(comparisons, _present(comparisons))[0]


def _not_random(table: pd.DataFrame) -> "pd.Series[bool]":
    if not {"quantity", "step"} <= set(table.columns):
        return pd.Series(False, index=table.index)
    return (table["quantity"] == FULL) & (table["step"] == 0)


def _present(comparisons: pd.DataFrame) -> NDArray[np.bool_]:
    ends = [f"{name}_{end}" for name in ("estimate", "std_error") for end in _ENDS]
    return np.asarray(np.isfinite(comparisons[ends].to_numpy(np.float64)).all(axis=1))


def _tied(comparisons: pd.DataFrame) -> NDArray[np.bool_]:
    """Equal estimates without spread."""
    equal = comparisons["estimate_small"] == comparisons["estimate_large"]
    spread = comparisons["std_error_small"] + comparisons["std_error_large"]
    return (equal & (spread == 0)).to_numpy()


def _usable(comparisons: pd.DataFrame) -> NDArray[np.bool_]:
    usable = _present(comparisons)
    welch = _by_welch(comparisons)
    for end in _ENDS:
        flag = (comparisons[f"reliable_{end}"] == True).to_numpy()  # noqa: E712
        usable &= flag & (welch | decisive(_estimate(comparisons, end)))
    return np.asarray(usable, np.bool_)


def _estimate(comparisons: pd.DataFrame, end: str) -> Estimate:
    return Estimate(*(comparisons[f"{name}_{end}"].to_numpy(np.float64) for name in _TESTED))


def _by_welch(comparisons: pd.DataFrame) -> NDArray[np.bool_]:
    if "test" not in comparisons:
        return np.zeros(len(comparisons), np.bool_)
    return (comparisons["test"] == WELCH).to_numpy()


def _p_values(comparisons: pd.DataFrame, usable: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """p-values for "falls from small to large b" and "rises"; 1 where not usable."""
    welch = _by_welch(comparisons)
    falls, rises = np.ones(len(comparisons)), np.ones(len(comparisons))
    for chosen, test in ((welch, _welch), (~welch, _log_ratio)):
        at = chosen & usable
        if at.any():
            falls[at], rises[at] = test(comparisons[at])
    return falls, rises


def _log_ratio(comparisons: pd.DataFrame) -> tuple[Floats, Floats]:
    small, large = (_estimate(comparisons, end) for end in _ENDS)
    both = decreasing_p_value(small, large), decreasing_p_value(large, small)
    falls, rises = (np.where(np.isnan(p), 1.0, p) for p in both)
    return falls, rises


def _welch(comparisons: pd.DataFrame) -> tuple[Floats, Floats]:
    """Welch's t at the smaller dof − 1; 1 where the runs of neither batch size differ.

    With so many degrees of freedom, and not Welch's own number, the level is kept for normal means
    whatever their variances, also far out in the tail (Mickey and Brown 1966).
    """
    (mean_1, error_1, dof_1), (mean_2, error_2, dof_2) = (
        [comparisons[f"{name}_{end}"].to_numpy(np.float64) for name in _TESTED] for end in _ENDS
    )
    spread = error_1**2 + error_2**2 > 0
    dof = np.minimum(dof_1, dof_2) - 1
    t = (mean_1 - mean_2) / np.where(spread, np.hypot(error_1, error_2), 1.0)
    above, below = special.stdtr(dof, -t), special.stdtr(dof, t)
    return np.where(spread, above, 1.0), np.where(spread, below, 1.0)


def _runs_needed(tested: pd.DataFrame, one: _Settled, runs: Floats, level: float) -> Floats:
    """Of each comparison that is not exact, the runs that it needs; nan where that cannot be told.

    The z of a test grows as the root of the runs and has to reach that of ``level``.
    """
    z = -special.ndtri(one.p_unadjusted)
    for_power = (-special.ndtri(level) / np.where(z > 0, z, np.nan)) ** 2 * runs
    precision = np.zeros(len(tested))
    for end in _ENDS:
        needed = runs_to_decide(_estimate(tested, end))
        few = (tested[f"dof_{end}"] <= 1).to_numpy()
        precision = np.maximum(precision, np.where(few, LEAST_DOF + 1, needed))
    precision[precision <= runs] = np.nan  # so many there are: it is the tail that is not seen
    return np.where(one.usable[~one.known], for_power, precision)


def _median(runs: Floats) -> int | None:
    told = runs[np.isfinite(runs)]
    return int(np.ceil(np.median(told))) if told.size else None
