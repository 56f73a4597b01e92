"""The scalar two-layer network as long tables: exact theory, and Monte Carlo against it."""

from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
import pandas as pd
from flint import fmpq_poly
from numpy.typing import NDArray

from pipeline_lib.estimation.judged import Judged, judged
from pipeline_lib.estimation.statistics import FULL, STOCHASTIC
from pipeline_lib.estimation.variance import Contributions
from pipeline_lib.theory.batch_polynomial import (
    coefficients,
    decreasing_from,
    value_at,
)
from pipeline_lib.theory.heavy_tails import ScalarTraining, estimate, repeat_estimates
from pipeline_lib.theory.scalar_claims import degree
from pipeline_lib.theory.scalar_network import ScalarVariance, variances

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

TENSORS = ("W1", "W2")
# Exact and estimated values that agree to this relative precision are equal: a contribution that
# does not vary, as at t = 0 with the mini-batch's noise integrated out, has an interval as narrow
# as the rounding error of its mean.
_ROUNDING = 1e-9


def coefficient_table(exact: Sequence[ScalarVariance]) -> pd.DataFrame:
    """Coefficients of 1, 1/b, 1/b², … of every variance, as rationals and rounded to float64.

    A variance that is zero has one row, of power 0. Beyond the range of float64: infinite.
    """
    rows = []
    for step, quantity, tensor, polynomial in _polynomials(exact):
        for power, value in enumerate(coefficients(polynomial) or [Fraction(0)]):
            rows.append((step, quantity, tensor, power, _to_float(value), str(value)))
    names = ["step", "quantity", "tensor", "power", "coefficient", "coefficient_rational"]
    return pd.DataFrame(rows, columns=names)


def degree_rows(exact: Sequence[ScalarVariance]) -> pd.DataFrame:
    """Degrees in 1/b against the bounds of Theorem 4, and b₀ of Theorem 5.

    ``bound_stated`` is 2·3^t and ``bound_formula`` 2·3^{t+1}; ``tight`` is 3^{t+1} − t − 2 for the
    stochastic gradient and one less for the full one, which lacks the last factor s. b₀ has an
    enclosure over the reals and a value over the integers (see `DecreasingFrom`). A variance that
    does not depend on b has degree 0 and no b₀; nor has one that increases in b for all large b.
    """
    rows = []
    for step, quantity, tensor, polynomial in _polynomials(exact):
        low, high, integer = np.nan, np.nan, None
        start = decreasing_from(polynomial) if polynomial.degree() > 0 else None
        if start is not None:
            low, high = (_to_float(bound) for bound in start.real)
            integer = start.integer
        rows.append(
            {
                "step": step,
                "quantity": quantity,
                "tensor": tensor,
                "degree": max(polynomial.degree(), 0),
                "bound_stated": 2 * 3**step,
                "bound_formula": 2 * 3 ** (step + 1),
                "tight": degree(step) - (quantity == FULL),
                "decreasing_from_real_low": low,
                "decreasing_from_real_high": high,
                "decreasing_from_integer": integer,
            }
        )
    return pd.DataFrame(rows).astype({"decreasing_from_integer": "Int32"})


def exact_variance_table(
    exact: Sequence[ScalarVariance], batch_sizes: Sequence[int]
) -> pd.DataFrame:
    """The exact variances at each b, computed as rationals and rounded once to float64."""
    rows = [
        (b, step, quantity, tensor, _to_float(value_at(polynomial, b)))
        for b in batch_sizes
        for step, quantity, tensor, polynomial in _polynomials(exact)
    ]
    return pd.DataFrame(rows, columns=["b", "step", "quantity", "tensor", "variance"])


def heavy_tails_table(
    training: ScalarTraining,
    batch_sizes: Sequence[int],
    run_counts: Sequence[int],
    seed: int,
    level: float,
) -> pd.DataFrame:
    """One experiment of each number of runs at each b: estimates, intervals at `level`, truth.

    ``covered`` says whether the interval holds the exact variance; it is false where a run has
    overflowed and there is no estimate.
    """
    truth = _truth(training, batch_sizes)
    parts = []
    for b in batch_sizes:
        for n_runs in run_counts:
            for one in estimate(training, b, n_runs, seed):
                for name, moments in one.estimates.items():
                    exact = truth[b, one.step]
                    found = _judged(moments, level, one.step, name)
                    interval = found.interval
                    below, above = _misses(interval.low, interval.high, exact)
                    parts.append(
                        pd.DataFrame(
                            {
                                "b": b,
                                "step": one.step,
                                "tensor": TENSORS,
                                "runs": n_runs,
                                "estimator": name,
                                "variance": moments.mean,
                                "std_error": interval.std_error,
                                "ci_low": interval.low,
                                "ci_high": interval.high,
                                "max_share": found.max_share,
                                "reliable": found.reliable,
                                "n_diverged": one.n_diverged,
                                "exact": exact,
                                "covered": ~below & ~above & np.isfinite(interval.high),
                            }
                        )
                    )
    return pd.concat(parts, ignore_index=True)


def repeats_table(
    training: ScalarTraining,
    batch_sizes: Sequence[int],
    n_runs: int,
    n_repeats: int,
    seed: int,
    level: float,
) -> pd.DataFrame:
    """What becomes of the experiment of `n_runs` runs when it is repeated `n_repeats` times.

    q05, median, q95: quantiles of the estimate. missed_below, missed_above: share of the repeats
    whose interval at `level` lies wholly below or above the exact variance. flagged: share that
    `reliability` or `precise` flag; flagged_of_missed_below: share of those among the repeats
    missed below, nan if there are none. A repeat in which a run overflows has no estimate: it
    counts as flagged and not as missed, and leaves no quantiles.
    """
    truth = _truth(training, batch_sizes)
    parts = []
    for b in batch_sizes:
        for one in repeat_estimates(training, b, n_runs, n_repeats, seed):
            for name, moments in one.estimates.items():
                exact = truth[b, one.step]
                found = _judged(moments, level, one.step, name)
                below, above = _misses(found.interval.low, found.interval.high, exact[:, None])
                flagged = ~found.reliable
                low, median, high = np.quantile(moments.mean, [0.05, 0.5, 0.95], axis=-1)
                n_below = below.sum(axis=-1)
                caught = (below & flagged).sum(axis=-1) / np.maximum(n_below, 1)
                parts.append(
                    pd.DataFrame(
                        {
                            "b": b,
                            "step": one.step,
                            "tensor": TENSORS,
                            "estimator": name,
                            "runs": n_runs,
                            "repeats": n_repeats,
                            "q05": low,
                            "median": median,
                            "q95": high,
                            "exact": exact,
                            "missed_below": below.mean(axis=-1),
                            "missed_above": above.mean(axis=-1),
                            "flagged": flagged.mean(axis=-1),
                            "flagged_of_missed_below": np.where(n_below > 0, caught, np.nan),
                        }
                    )
                )
    return pd.concat(parts, ignore_index=True)


def _polynomials(exact: Sequence[ScalarVariance]) -> Iterator[tuple[int, str, str, fmpq_poly]]:
    for one in exact:
        yield one.step, STOCHASTIC, "W1", one.g1
        yield one.step, STOCHASTIC, "W2", one.g2
        yield one.step, FULL, "W1", one.population_g1
        yield one.step, FULL, "W2", one.population_g2


def _truth(
    training: ScalarTraining,
    batch_sizes: Sequence[int],
) -> dict[tuple[int, int], Floats]:
    """Exact variances (2,) of the stochastic gradients of both layers, by (b, step)."""
    exact = variances(training.network, training.learning_rates, training.max_step)
    if len(exact) <= training.max_step:
        raise ValueError(f"no exact variance at step {len(exact)} within the time allowed")
    return {
        (b, one.step): np.array([_to_float(value_at(p, b)) for p in (one.g1, one.g2)])
        for b in batch_sizes
        for one in exact
    }


def _judged(moments: Contributions, level: float, step: int, estimator: str) -> Judged:
    """Of runs that share their weights at step 0, where the Rao–Blackwell form has no error."""
    return judged(moments, level, certain=step == 0 and estimator == "rao_blackwell")


def _misses(low: Floats, high: Floats, exact: Floats) -> tuple[Bools, Bools]:
    """Whether intervals lie wholly below, and wholly above, the exact value."""
    below = np.asarray(high < exact * (1 - _ROUNDING), np.bool_)
    above = np.asarray(low > exact * (1 + _ROUNDING), np.bool_)
    return below, above


def _to_float(value: Fraction) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
