"""The test of lack of fit, and from how many runs on it keeps its level.

The χ² of a fit's residuals takes their standard errors as known. Those of few runs are not, and
skewed contributions err together with their errors, so a true fit is rejected too often: by how
much is simulated (`calibration.fit_test`) and kept in `fit_levels`, from which the number of runs
is read. No verdict is given below it, nor of estimates that scatter more than those simulated.
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special  # scipy.stats takes a second to import

from pipeline_lib.claims.fit_levels import LEVELS
from pipeline_lib.estimation.inference import holm
from pipeline_lib.estimation.reliability import DECISIVE_SCATTER, Estimate, scatter

Floats = NDArray[np.float64]
ALPHA = 0.05
PASSED_THROUGH = 0.99  # leverage of an estimate that the fit passes through
KNOWN = 0.02**2  # square of the relative error of an estimate that may scatter
Level = tuple[str, int, int, float, float]
"""A law, runs in one group, experiments, and their shares that are tested, and also rejected."""


def lack_of_fit(chi_squared: ArrayLike, dof: ArrayLike) -> Floats:
    """p-values of the hypothesis that the polynomials fit, Holm-adjusted over them."""
    free = np.asarray(dof, np.float64)
    return holm(special.chdtrc(free, np.asarray(chi_squared, np.float64)))


def least_runs(levels: Iterable[Level] = LEVELS) -> int | None:
    """The number of runs from which on a true fit is rejected in at most 5 % of experiments.

    Plus two standard errors of the simulation, under every law; None if that is so at no number.
    """
    kept: dict[int, bool] = {}
    for _, runs, experiments, _, rejected in levels:
        most = ALPHA + 2 * np.sqrt(ALPHA * (1 - ALPHA) / experiments)
        kept[runs] = kept.get(runs, True) and rejected <= most
    least = None
    for runs in sorted(kept, reverse=True):
        if not kept[runs]:
            break
        least = runs
    return least


def light(estimates: pd.DataFrame) -> NDArray[np.bool_]:
    """Which estimates are reliable, and either scatter as Gaussian ones do or are known to 2 %.

    Contributions that scatter more than those of one Gaussian dimension are so skewed that it takes
    more runs. ``estimates`` are rows of the ``variance`` artefact with an error.
    """
    one = Estimate(*(estimates[name].to_numpy() for name in ("variance", "std_error", "dof")))
    reliable = (estimates["reliable"] == True).to_numpy()  # noqa: E712
    most = np.maximum(DECISIVE_SCATTER, KNOWN * estimates["dof"].to_numpy())
    return np.asarray(reliable & (scatter(one) <= most), np.bool_)


def error_of(estimates: pd.DataFrame) -> Floats:
    """Relative standard errors."""
    return np.asarray(estimates["std_error"] / estimates["variance"], np.float64)


def _runs_needed(runs: int, dof: int, least: int) -> int:
    """Runs with least - 1 degrees of freedom: in one group if they are in one, else in as many
    groups of today's size as it takes."""
    groups = runs - dof
    if groups <= 1:
        return least
    of_group = -(-runs // groups)
    return of_group * -(-(least - 1) // max(of_group - 1, 1))


def obstacle(estimates: pd.DataFrame) -> tuple[str, str] | None:
    """Why the fit to these ``estimates`` is not tested, and what it takes; None if it is.

    ``estimates`` are the fitted rows of the ``variance`` artefact, with their ``leverage``, from 0
    to 1: the share of an estimate in the fit at its own place. An estimate that the fit passes
    through, as at the smallest batch sizes, leaves no residual, whatever its error: it may scatter.
    """
    least, runs = least_runs(), int(estimates["n_runs"].min())
    if least is None:
        return "The test of a lack of fit keeps its level at no number of runs.", "another test"
    dof = int(estimates["dof"].min())
    if dof < least - 1:
        why = (
            f"At {runs:,} runs a batch size the test of a lack of fit rejects a true fit too often "
            "(docs/inference.md)."
        )
        return why, f"{_runs_needed(runs, dof, least):,} runs a batch size (here {runs:,})"
    rough = ~light(estimates) & ~(estimates["leverage"] >= PASSED_THROUGH).to_numpy()
    if rough.any():
        why = (
            f"Of {len(estimates):,} fitted estimates {rough.sum():,} are flagged, or scatter and "
            "are not known to 2 %; with those the test of a lack of fit rejects a true fit too "
            "often."
        )
        known = float(np.max((error_of(estimates) ** 2 / KNOWN)[rough]))
        if not known > 1:  # or without an error
            return why, "runs that see the tail of the gradients"
        return why, f"about {np.ceil(known * runs):,.0f} runs a batch size (here {runs:,})"
    return None
