"""How often the test of lack of fit rejects a polynomial that is the truth."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from pipeline_lib.calibration.coverage import Simulated, simulate
from pipeline_lib.calibration.laws import Law, gaussian, mixture, product
from pipeline_lib.claims.extent import FIGURE_1B
from pipeline_lib.claims.lack_of_fit import ALPHA, Level, lack_of_fit, light
from pipeline_lib.fits.fitting import fit_polynomial
from pipeline_lib.logs import progress
from pipeline_lib.seeding import seed_sequence

_ROWS, _DEGREE, _STEPS = 500, 6, 4  # of Figure 1b
RUNS = (100, 300, 1000, 3000, 10_000)
_MOST = 6_000_000  # runs of a law in all: of many runs there are fewer experiments
_FITTED = ("variance", "std_error")


def laws() -> list[Law]:
    """As light as Gaussian vectors, a little heavier, and heavier than is tested."""
    return [gaussian(1), gaussian(8), mixture(0.3, 8), mixture(0.5, 8), product()]


def fit_level(
    law: Law,
    runs: int,
    experiments: int,
    rng: np.random.Generator,
    sizes: Sequence[int] = FIGURE_1B.batch_sizes,
) -> tuple[float, float]:
    """Shares of experiments in which the fit is tested, and in which it is also rejected.

    An experiment is that of Figure 1b: a polynomial at four independent steps, fitted to plain
    estimates of one group of ``runs`` at ``sizes``. The variance is 1/b, of that degree.
    """
    n = experiments * _STEPS
    drawn = [_estimates(simulate(law, (runs,), n, rng), b) for b in sizes]
    variance, error = (np.stack([one[name] for one in drawn]) for name in _FITTED)
    tested = np.all([light(one) for one in drawn], axis=0).reshape(-1, _STEPS).all(axis=1)
    rejected = 0
    for experiment in np.flatnonzero(tested):
        at = experiment * _STEPS + np.arange(_STEPS)
        fits = [fit_polynomial(sizes, variance[:, k], error[:, k], _ROWS, _DEGREE) for k in at]
        p = lack_of_fit([fit.chi_squared for fit in fits], [fit.dof for fit in fits])
        rejected += bool((p < ALPHA).any())
    return float(tested.mean()), rejected / experiments


def _estimates(one: Simulated, b: int) -> pd.DataFrame:
    """Rows of the ``variance`` artefact at batch size b, relative to a variance of 1 at b = 1."""
    return pd.DataFrame(
        {
            "variance": one.moments.mean / b,
            "std_error": one.interval.std_error / b,
            "dof": one.moments.dof,
            "reliable": one.reliable,
        }
    )


def simulated_levels(experiments: int, seed: int) -> list[Level]:
    """`fit_level` of every law and number of runs."""
    cells = [(law, runs) for law in laws() for runs in RUNS]
    levels: list[Level] = []
    for law, runs in progress(cells, len(cells), "fits"):
        stream = seed_sequence(seed, "calibration", "fit", law.name, runs)
        repeats = min(experiments, _MOST // runs)
        found = fit_level(law, runs, repeats, np.random.default_rng(stream))
        levels.append((law.name, runs, repeats, *found))
    return levels


def module_of(levels: Iterable[Level]) -> str:
    """The text of `claims.fit_levels` with these levels."""
    rows = "".join(f'    ("{law}", {", ".join(map(repr, rest))}),\n' for law, *rest in levels)
    return (
        '"""How often the test of lack of fit rejects a true fit. Written by `make calibrate`."""\n'
        "\n"
        f"LEVELS: tuple[tuple[str, int, int, float, float], ...] = (\n{rows})\n"
    )
