"""The numbers of runs that the README states for Figures 1a and 1b, computed anew."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from pipeline_lib.artifacts.files import write_table
from pipeline_lib.data.admissions import FULL_ROWS, load_admissions, read_design
from pipeline_lib.errors import DataError
from pipeline_lib.models.initial_weights import gaussian_weights
from pipeline_lib.theory.regression_fourth import fourth_moments
from pipeline_lib.theory.regression_moments import RegressionProblem


@pytest.fixture(scope="module")
def problem(repository: Path, raw_data, tmp_path_factory):
    try:
        table = load_admissions(raw_data, urls=(), wheel=None)
    except DataError:
        pytest.skip("no copy of Graduate Admissions")
    if table.n_rows != FULL_ROWS:
        pytest.skip("the older version of Graduate Admissions")
    path = tmp_path_factory.mktemp("data") / "admissions.parquet"
    write_table(path, table.frame, "admissions", {"n_rows": table.n_rows})
    design = read_design(path, "all")
    weights = yaml.safe_load((repository / "config.yaml").read_text())["experiments"]["admission"]
    given = weights["initial_weights"]
    drawn = gaussian_weights({"weights": (len(design.names),)}, given["scale"], given["seed"], 0)
    return RegressionProblem(design.features, design.target, drawn["weights"])


@pytest.mark.parametrize(
    ("b", "step", "runs", "precision"), [(4, 3, 1000, 0.05), (2, 10, 10_000, 0.01)]
)
def test_the_readme_states_what_is_computed(repository, problem, b, step, runs, precision):
    text = " ".join((repository / "README.md").read_text().split())
    rates = 0.5 / np.arange(1, step + 2)
    (one,) = fourth_moments(problem, rates, b, [step])
    error = 100 * one.standard_error("sample", runs) / one.variance
    assert f"up to {error:.1f} %" in text
    plain, better = (one.runs_needed(name, precision) for name in ("sample", "rao_blackwell"))
    assert f"takes {plain:,}" in text
    assert f"or {better:,}" in text
