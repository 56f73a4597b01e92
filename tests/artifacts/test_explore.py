"""The notebook docs/explore.py runs from the tables of a study, or says that there are none."""

import importlib.util

import numpy as np
import pandas as pd
import pytest

from pipeline_lib.artifacts.files import write_table
from pipeline_lib.artifacts.schemas import SCHEMAS

pytestmark = pytest.mark.filterwarnings("default")  # marimo's own


@pytest.fixture(scope="module")
def app(repository):
    spec = importlib.util.spec_from_file_location("explore", repository / "docs/explore.py")
    notebook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(notebook)
    return notebook.app


def variances(experiment, sizes, n_steps=5):
    keys = pd.MultiIndex.from_product(
        [
            sizes,
            ["full_gradient", "stochastic_gradient"],
            ["rao_blackwell", "sample"],
            range(n_steps),
        ],
        names=["b", "quantity", "estimator", "step"],
    )
    rows = keys.to_frame(index=False).assign(init=0, tensor="all", n_runs=9, dof=8)
    value = 1 / rows["b"] / (1 + rows["step"])
    return rows.assign(
        epoch=pd.array([None] * len(rows), "Int32"), variance=value, std_error=value / 9,
        ci_low=value / 2, ci_high=2 * value, max_share=0.1, reliable=True, n_diverged=0,
    )[SCHEMAS["variance"].names]  # fmt: skip


def test_the_first_experiment_is_drawn_beside_its_exact_values(app, tmp_path):
    for name, sizes in (("admission", [4, 16]), ("mine", [2])):
        table = variances(name, sizes)
        write_table(tmp_path / f"variance/{name}.parquet", table, "variance", {"experiment": name})
    exact = variances("admission", [1, 4, 16])[SCHEMAS["theory"].names].drop_duplicates()
    path = tmp_path / "theory/variance/admission.parquet"
    write_table(path, exact, "theory", {"experiment": "admission"})
    _, found = app.run(defs={"folder": tmp_path})
    assert found["experiment"].value == "admission"
    assert found["estimates"]["b"].unique().tolist() == [4, 16]
    assert found["estimates"]["estimator"].unique().tolist() == ["sample"]
    axes = found["figure"].axes[0]
    lines = [
        line for line in axes.lines if len(line.get_xdata()) == 5 and line.get_linewidth() == 1
    ]
    assert len(lines) == 2  # no exact curve of b = 1, which has no estimate
    np.testing.assert_allclose(lines[0].get_ydata(), 1 / 4 / (1 + np.arange(5)))


def test_without_tables_it_says_what_to_do(app, tmp_path):
    outputs, found = app.run(defs={"folder": tmp_path / "none"})
    assert "variance" not in found
    assert any("make study" in getattr(one, "text", "") for one in outputs)
