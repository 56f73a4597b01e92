"""Control variates for var(g_t | F_t): what the run did by chance before t, whose mean is known.

var(g_t | F_t) is a function of the weights w_t. Most of its spread between runs comes from how far
earlier mini-batches took each run down the loss. Two numbers of every step tell that, and have mean
0 given F_s whatever the weights are: with ``G = E[g_s | F_s]``,

- ``along``: ``<G, g_s - G>``, the chance part of the decrease of the loss, to first order in the
  learning rate alpha,
- ``square``: ``|g_s|^2 - E[|g_s|^2 | F_s]``, to second order.

Sums of them over the steps before t, weighted with alpha_s and alpha_s^2, are martingales, so their
mean is 0 at every t. A second set, weighted by the training time so far besides, distinguishes
early from late fluctuations. The estimate is corrected by what they explain,
``v_r - beta_r' x_r``, where beta_r is the least-squares slope over all runs of the block but r.
Since x_r is independent of these and has mean 0, the expectation is that of v_r, exactly, for every
number of runs, where the controls of the other runs are linearly independent, as Gaussian inputs
make them. Whatever the optimiser, the controls are valid; how much they explain is another matter.

Where single runs have much of the leverage, as at small b, the corrected values scatter too little
for the error of their mean. They are spread about it by the factor sqrt(1 + h/2), h the largest
leverage, with which simulated intervals keep their level (docs/inference.md).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline_lib.estimation.statistics import (
    ALL,
    ALONG,
    SQUARE,
    STOCHASTIC,
    Tables,
    estimate_columns,
)

Floats = NDArray[np.float64]

RUNS_PER_CONTROL = 12
"""With fewer runs intervals do not keep their level at b = 1."""

_STEPS_AT_ONCE = 64
# Of a run's mean square: a direction with less is a combination of the others, up to rounding.
_NEGLIGIBLE = 1e-10
# A relative spread below this is that of rounding, which tells no error.
_ROUNDING = 1e-8


def controls(increments: Mapping[tuple[str, str], Floats], learning_rates: Floats) -> Floats:
    """The control variates (q, T, R) of each step and run, from all increments (T, R).

    q is twice the number of increments if the runs are at least `RUNS_PER_CONTROL` times as many;
    else it is that number, without regard to the training time; else 0.
    """
    keys = list(increments)
    n_steps, n_runs = increments[keys[0]].shape
    affordable = (q for q in (2 * len(keys), len(keys)) if n_runs >= RUNS_PER_CONTROL * q)
    sums = np.zeros((next(affordable, 0), n_steps, n_runs))
    rates = learning_rates[:n_steps, None]
    for k, before in enumerate(sums):
        key = keys[k % len(keys)]
        weights = rates if key[0] == ALONG else rates**2
        if k >= len(keys):
            weights = weights * np.cumsum(rates, axis=0)
        np.cumsum((weights * increments[key])[:-1], axis=0, out=before[1:])
    return sums


def enough_runs(n_runs: int, n_tensors: int) -> bool:
    """Whether there are any controls for ``n_runs`` of a network with so many tensors."""
    return n_runs >= RUNS_PER_CONTROL * 2 * n_tensors


def controlled(values: Floats, of_controls: Floats, widening: float = 0.5) -> Floats:
    """``values`` (..., T, R) of R independent runs less what the controls (q, T, R) explain.

    The slopes of a run are those of least squares, with an intercept, over all other runs. The
    results are spread about their mean by sqrt(1 + ``widening`` h), h the largest leverage. Steps
    with a number that is not finite stay as they are.
    """
    result = values.copy()
    if len(of_controls) == 0:
        return result
    usable = np.isfinite(of_controls).all(axis=(0, 2))
    usable &= np.isfinite(values).all(axis=(*range(values.ndim - 2), -1))
    steps = np.flatnonzero(usable)
    for start in range(0, len(steps), _STEPS_AT_ONCE):
        chosen = steps[start : start + _STEPS_AT_ONCE]
        x = np.moveaxis(of_controls[:, chosen], 0, -1)  # (t, R, q)
        before = values[..., chosen, :]
        explained, leverage = _explained(before, x)
        corrected = before - explained
        mean = corrected.mean(axis=-1, keepdims=True)
        factor = np.sqrt(1 + widening * leverage.max(axis=1, keepdims=True))
        spread = np.where(factor > 1, mean + factor * (corrected - mean), corrected)
        result[..., chosen, :] = spread
    return result


def _explained(values: Floats, x: Floats) -> tuple[Floats, Floats]:
    """``x_r . beta_r`` (..., t, R) for ``x`` (t, R, q), beta_r from all runs but r; leverages."""
    n_runs = x.shape[1]
    scale = np.sqrt(np.mean(x * x, axis=1, keepdims=True))
    x = x / np.where(scale > 0, scale, 1.0)
    design = x - x.mean(axis=1, keepdims=True)
    eigenvalues, vectors = np.linalg.eigh(np.swapaxes(design, 1, 2) @ design)
    kept = eigenvalues > _NEGLIGIBLE * n_runs
    inverse = np.where(kept, 1.0 / np.where(kept, eigenvalues, 1.0), 0.0)
    # Rows of `solved` are (X'X)^-1 x_r, from which the slopes without run r follow:
    # beta_r = beta - (X'X)^-1 x_r e_r / (1 - h_r), with the residual e_r and the leverage h_r.
    solved = (design @ vectors * inverse[:, None, :]) @ np.swapaxes(vectors, 1, 2)
    slopes = np.einsum("trq,...tr->...tq", solved, values)
    fitted = np.einsum("trq,...tq->...tr", design, slopes)
    residuals = values - values.mean(axis=-1, keepdims=True) - fitted
    leverage = np.einsum("trq,trq->tr", solved, design)
    left = 1 - 1 / n_runs - leverage  # 1 - h_r, the intercept included
    alone = left < 1e-9  # other runs tell no slope of a control that this one alone has
    own = np.einsum("trq,trq->tr", solved, x) * residuals / np.where(alone, 1.0, left)
    explained = np.einsum("trq,...tq->...tr", x, slopes) - own
    return np.where(alone | ~np.isfinite(explained), 0.0, explained), leverage


def controlled_tables(groups: Sequence[Tables], learning_rates: Floats) -> list[Tables]:
    """The tables of groups of runs with the rows of ``rao_blackwell`` corrected by all their runs.

    Each group's ``of_runs`` is taken out; they are those that `statistics.Summary` makes. Steps
    stay as they are where the correction would leave nothing but rounding.
    """
    n_steps = groups[0]["statistics"]["step"].nunique()
    of_groups = [group["of_runs"] for group in groups]
    sizes = [len(of) // n_steps for of in of_groups]
    values = {
        str(name): np.concatenate([of[name].to_numpy().reshape(n_steps, -1) for of in of_groups], 1)
        for name in of_groups[0].columns
    }
    by_part: dict[str, dict[str, Floats]] = {}
    for name, of in values.items():
        part, _, tensor = name.partition(" ")
        by_part.setdefault(part, {})[tensor] = of
    increments = {
        (what, name): of for what in (ALONG, SQUARE) for name, of in by_part[what].items()
    }
    tensors = list(by_part["conditional"])
    ends = np.cumsum(sizes)
    with np.errstate(over="ignore", invalid="ignore"):  # of runs that diverge
        x = controls(increments, learning_rates)
        conditional, deviations = (
            np.stack([by_part[part][name] for name in tensors])
            for part in ("conditional", "deviation")
        )
        if len(tensors) > 1:
            tensors.append(ALL)
            conditional, deviations = (
                np.concatenate([of, of.sum(0, keepdims=True)]) for of in (conditional, deviations)
            )
        own = controlled(conditional, x)
        told = own.std(axis=-1) > _ROUNDING * np.abs(own.mean(axis=-1))
        own = np.where(told[..., None], own, conditional)
        return [
            _corrected(
                group, tensors, own[..., end - size : end], deviations[..., end - size : end]
            )
            for group, size, end in zip(groups, sizes, ends, strict=True)
        ]


def _corrected(group: Tables, tensors: Sequence[str], own: Floats, deviations: Floats) -> Tables:
    """The tables of a group with its estimates made from ``own`` and ``deviations`` (n, T, R)."""
    rows = group["statistics"].copy()
    of_estimator = (rows["quantity"] == STOCHASTIC) & (rows["estimator"] == "rao_blackwell")
    for name, conditional, squares in zip(tensors, own, deviations, strict=True):
        chosen = of_estimator & (rows["tensor"] == name) & (rows["n_diverged"] == 0)
        steps = rows.loc[chosen, "step"].to_numpy()
        columns = pd.DataFrame(estimate_columns(conditional[steps], squares[steps]))
        rows.loc[chosen, columns.columns] = columns.to_numpy()
    return {"statistics": rows, **{k: group[k] for k in ("divergence", "noise")}}
