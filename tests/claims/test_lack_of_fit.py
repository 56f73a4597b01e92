"""From how many runs a lack of fit is tested: by the simulated levels, and a small simulation."""

import math

import numpy as np
import pandas as pd
import pytest

from pipeline_lib.calibration.coverage import simulate
from pipeline_lib.calibration.fit_test import RUNS, fit_level, laws, module_of
from pipeline_lib.calibration.laws import gaussian, mixture, product
from pipeline_lib.calibration.page import levels_table, put
from pipeline_lib.claims import lack_of_fit
from pipeline_lib.claims.extent import FIGURE_1B
from pipeline_lib.claims.fit_levels import LEVELS
from pipeline_lib.claims.lack_of_fit import least_runs, light, obstacle
from pipeline_lib.fits.fitting import fit_polynomial


def rows(runs, dof, relative_error=0.01, n=8):
    table = pd.DataFrame({"variance": np.ones(n), "std_error": relative_error, "reliable": True})
    return table.assign(n_runs=runs, dof=dof, leverage=0.5)


def test_the_least_runs_are_those_from_which_on_every_law_keeps_the_level():
    def levels(*shares):
        return [(f"law {k}", 10 * (k // 2 + 1), 400, 1.0, share) for k, share in enumerate(shares)]

    # two laws at 10, 20 and 30 runs; 5 % and two standard errors of 400 experiments are 7.2 %
    assert least_runs(levels(0.2, 0.2, 0.071, 0.05, 0.0, 0.07)) == 20
    assert least_runs(levels(0.0, 0.0, 0.05, 0.08, 0.0, 0.07)) == 30
    assert least_runs(levels(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)) == 10
    assert least_runs(levels(0.0, 0.0, 0.0, 0.0, 0.0, 0.073)) is None
    assert least_runs([]) is None


def test_the_levels_are_those_of_the_page(repository):
    page = (repository / "docs/inference.md").read_text()
    assert put(page, "fit", levels_table(LEVELS)) == page
    names = [(law.name, runs) for law in laws() for runs in RUNS]
    assert [(law, runs) for law, runs, *_ in LEVELS] == names
    written: dict[str, object] = {}
    exec(module_of(LEVELS), written)
    assert written["LEVELS"] == LEVELS


def test_no_fit_is_tested_of_fewer_runs(monkeypatch):
    least = least_runs()
    assert obstacle(rows(least, least - 1)) is None
    _, needed = obstacle(rows(least - 1, least - 2))
    assert needed == f"{least:,} runs a batch size (here {least - 1:,})"
    # Each group of runs has a mean of its own, and more runs are more groups of that size.
    _, needed = obstacle(rows(least, least - 10))
    size = least // 10
    groups = math.ceil((least - 1) / (size - 1))
    assert needed == f"{groups * size:,} runs a batch size (here {least:,})"
    monkeypatch.setattr(lack_of_fit, "least_runs", lambda: None)
    assert "at no number of runs" in obstacle(rows(10**6, 10**6 - 1))[0]


def test_estimates_that_scatter_are_not_tested():
    assert light(rows(1000, 999, math.sqrt(2.5 / 999))).all()
    assert not light(rows(1000, 999, math.sqrt(2.7 / 999))).any()
    assert not light(rows(1000, 999).assign(reliable=False)).any()
    # of so many runs that they are known well all the same
    assert light(rows(10_000, 9_999, 0.0199)).all()
    assert not light(rows(10_000, 9_999, 0.0201)).any()


def test_an_estimate_that_the_fit_passes_through_may_scatter():
    table = rows(10_000, 9_999)
    table.loc[0, "std_error"] = 0.03
    _, needed = obstacle(table)
    assert needed == "about 22,500 runs a batch size (here 10,000)"  # 2 % instead of 3
    table.loc[0, "leverage"] = 1.0
    assert obstacle(table) is None


def test_heavy_tails_where_the_fit_passes_through_reject_no_more_often():
    """At b = 2 the fit has as good as no residual; elsewhere the same tails would be too heavy."""
    experiments, runs, generator = 200, least_runs(), np.random.default_rng(6)
    sizes = np.array(FIGURE_1B.batch_sizes)
    drawn = [
        simulate(mixture(0.5, 1) if b == 2 else gaussian(8), (runs,), experiments, generator)
        for b in sizes
    ]
    variance = np.stack([one.moments.mean for one in drawn]) / sizes[:, None]
    error = np.stack([one.interval.std_error for one in drawn]) / sizes[:, None]
    fits = [fit_polynomial(sizes, variance[:, k], error[:, k], 500, 6) for k in range(experiments)]
    leverage = [(fit.prediction_std_error(2) / error[0, k]) ** 2 for k, fit in enumerate(fits)]
    assert min(leverage) > lack_of_fit.PASSED_THROUGH
    p = [float(lack_of_fit.lack_of_fit([fit.chi_squared], [fit.dof])[0]) for fit in fits]
    rejected = np.mean(np.array(p) < 0.05)
    assert rejected <= 0.05 + 3.5 * math.sqrt(0.05 * 0.95 / experiments)


@pytest.mark.parametrize("law", [gaussian(8), mixture(0.5, 8), product()], ids=lambda law: law.name)
def test_a_true_fit_is_seldom_rejected_from_the_least_runs_on(law):
    experiments = 40
    tested, rejected = fit_level(law, least_runs(), experiments, np.random.default_rng(3))
    assert rejected <= 0.05 + 3.5 * math.sqrt(0.05 * 0.95 / experiments)
    assert (tested == 1) == (law.name == "Gaussian, p = 8")


def test_of_few_runs_a_true_fit_is_often_rejected():
    """What the least number of runs is for."""
    _, rejected = fit_level(gaussian(8), 12, 150, np.random.default_rng(4))
    assert rejected > 0.1
