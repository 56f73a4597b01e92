"""From how many runs a lack of fit is tested: by the simulated levels, and a small simulation."""

import math

import numpy as np
import pandas as pd
import pytest

from pipeline_lib.calibration.fit_test import RUNS, fit_level, laws, module_of
from pipeline_lib.calibration.laws import gaussian, mixture, product
from pipeline_lib.calibration.page import levels_table, put
from pipeline_lib.claims import lack_of_fit
from pipeline_lib.claims.fit_levels import LEVELS
from pipeline_lib.claims.lack_of_fit import least_runs, light, obstacle


def rows(runs, dof, relative_error=0.01, n=8):
    table = pd.DataFrame({"variance": np.ones(n), "std_error": relative_error, "reliable": True})
    return table.assign(n_runs=runs, dof=dof)


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
    # each group of runs has a mean of its own
    _, needed = obstacle(rows(least, least - 10))
    assert needed == f"{least + 9:,} runs a batch size (here {least:,})"
    monkeypatch.setattr(lack_of_fit, "least_runs", lambda: None)
    assert "at no number of runs" in obstacle(rows(10**6, 10**6 - 1))[0]


def test_estimates_that_scatter_are_not_tested():
    assert light(rows(1000, 999, math.sqrt(2.5 / 999))).all()
    assert not light(rows(1000, 999, math.sqrt(2.7 / 999))).any()
    assert not light(rows(1000, 999).assign(reliable=False)).any()
    # of so many runs that they are known well all the same
    assert light(rows(10_000, 9_999, 0.0199)).all()
    assert not light(rows(10_000, 9_999, 0.0201)).any()


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
