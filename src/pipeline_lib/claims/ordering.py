"""Whether estimates are ordered by batch size at every step: one family of comparisons.

The runs of different batch sizes are independent; those of different steps are not, which Holm's
adjustment allows for; both directions of all comparisons are one family. A comparison for which
both exact values are given is settled by them and is not a test (`p_values` says what is).

"Decreasing at all steps" is an intersection of claims: it is confirmed when every comparison is
settled in its favour (the largest adjusted p-value is below alpha), refuted when one is settled
against it, and otherwise left open, with the number that was decided.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline_lib.claims.p_values import (
    ENDS,
    are_tied,
    are_usable,
    fewest_runs,
    p_values,
    runs_needed,
)
from pipeline_lib.claims.verdict import Verdict
from pipeline_lib.estimation.inference import holm

Direction = Literal["decreasing", "increasing"]
Floats = NDArray[np.float64]

# Exact values closer than this, relatively, are not told apart: they carry float64 rounding.
ROUNDING = 1e-11


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
    runs = fewest_runs(tested)
    undecided = (~one.favour & ~one.against)[~one.known]
    level = alpha / max(2 * len(tested), 1)
    needed = runs_needed(tested, one.usable[~one.known], one.p_unadjusted, level)
    any_test = len(tested) > 0
    return Ordering(
        n_comparisons=len(comparisons),
        n_exact=int(one.known.sum()),
        n_exact_against=int((one.against & one.known).sum()),
        n_for=n_for,
        n_against=n_against,
        n_open=len(comparisons) - n_for - n_against,
        n_tied=int((are_tied(comparisons) & one.usable & ~one.known).sum()),
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
    small, large = (comparisons[f"exact_{end}"].to_numpy(np.float64) for end in ENDS)
    known = np.isfinite(small) & np.isfinite(large)
    difference = sign * (small - large)
    apart = np.abs(difference) > ROUNDING * np.maximum(np.abs(small), np.abs(large))
    favour, against = known & apart & (difference > 0), known & apart & (difference < 0)

    tested = comparisons[~known]
    usable = np.zeros(len(comparisons), np.bool_)
    usable[~known] = are_usable(tested)
    p_falls, p_rises = p_values(tested, usable[~known])
    p_for, p_against = (p_falls, p_rises) if sign > 0 else (p_rises, p_falls)
    adjusted_for, adjusted_against = np.split(holm(np.concatenate([p_for, p_against])), 2)
    favour[~known], against[~known] = adjusted_for < alpha, adjusted_against < alpha
    return _Settled(favour, against, known, usable, adjusted_for, adjusted_against, p_for)


def _median(runs: Floats) -> int | None:
    told = runs[np.isfinite(runs)]
    return int(np.ceil(np.median(told))) if told.size else None
