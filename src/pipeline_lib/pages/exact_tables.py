"""Exact results as pages: degrees in 1/b, and what the Rao-Blackwell form is worth."""

import math
from collections.abc import Mapping

import pandas as pd

from pipeline_lib.pages.table_page import Cell, Column, Row, table_page

_QUANTITIES = {"stochastic_gradient": "stochastic gradient", "full_gradient": "full gradient"}
_BASES = {"inverse_b": "1/b", "batch_factor": "c_b"}


def scalar_degrees_page(frame: pd.DataFrame, footer: str = "") -> str:
    """The ``scalar_degrees`` table: degrees against the bounds of Theorem 4, b_0 of Theorem 5."""
    headings = ("step", "gradient", "weight", "degree", "2·3^t", "2·3^(t+1)", "b_0")
    columns = [
        Column(name, "short" if i in (1, 2) else "number") for i, name in enumerate(headings)
    ]
    rows = [
        Row(
            (
                _count(one["step"]),
                Cell(_QUANTITIES[one["quantity"]]),
                Cell(one["tensor"]),
                _count(one["degree"]),
                _bound(one["degree"], one["bound_stated"]),
                _bound(one["degree"], one["bound_formula"]),
                _start(one["decreasing_from_integer"]),
            )
        )
        for one in frame.to_dict("records")
    ]
    return table_page(
        "Two-layer network of one unit a layer: exact degrees in 1/b",
        "The variance over runs of the gradient at step t is a polynomial in 1/b, computed over "
        "the rationals. Theorem 4 bounds its degree by 2·3^t in words and by 2·3^(t+1) in its "
        "formula. b_0 is the smallest whole batch size from which on the variance decreases "
        "(Theorem 5); a variance that does not depend on b has none.",
        columns,
        rows,
        footer=footer,
    )


def polynomial_degrees_page(frame: pd.DataFrame, footer: str = "") -> str:
    """The ``polynomial`` table, one row a polynomial: degree, signs of its coefficients, digits.

    A coefficient whose ball of relative radius at least 1 holds 0 has no certain sign.
    """
    columns = [
        Column("step", "number"),
        Column("gradient", "short"),
        Column("basis", "short"),
        Column("degree", "number"),
        Column("negative coefficients", "number"),
        Column("leading coefficient", "number"),
        Column("certified digits, at least", "number"),
    ]
    rows = []
    keys = ["init", "step", "quantity", "basis"]
    for _, part in frame.groupby(keys, observed=True, sort=False):
        first = part.iloc[0]
        certain = part[(part["coefficient"] != 0) & (part["relative_radius"] < 1)]
        leading = certain.loc[certain["power"] == certain["power"].max(), "coefficient"]
        radius = certain["relative_radius"].max()
        rows.append(
            Row(
                (
                    _count(first["step"]),
                    Cell(_QUANTITIES[first["quantity"]]),
                    Cell(_BASES[first["basis"]]),
                    _count(certain["power"].max() if len(certain) else 0),
                    _count((certain["coefficient"] < 0).sum()),
                    Cell(f"{leading.iloc[0]:.4g}", leading.iloc[0]) if len(leading) else Cell("0"),
                    _digits(radius),
                )
            )
        )
    return table_page(
        "Linear regression: the variance as an exact polynomial",
        "The variance over runs given only the initial weights is a polynomial in 1/b, and in "
        "c_b = (n − b)/(b(n − 1)). Where no coefficient in c_b is negative, the variance decreases "
        "in b at every batch size (Corollary 1).",
        columns,
        rows,
        footer=footer,
    )


def efficiency_page(frames: Mapping[str, pd.DataFrame], footer: str = "") -> str:
    """The ``efficiency`` tables by experiment: how many plain runs one Rao-Blackwell run is worth.

    One row an experiment, tensor and b: median, smallest and largest over steps and initial
    weights of the squared ratio of standard errors.
    """
    columns = [
        Column("experiment", "short"),
        Column("weights", "short"),
        Column("b", "number"),
        Column("median", "number"),
        Column("smallest", "number"),
        Column("largest", "number"),
    ]
    rows = []
    for name, frame in frames.items():
        for _, part in frame.groupby(["tensor", "b"], observed=True):
            first = part.iloc[0]
            worth = part["runs_worth"].dropna()
            if worth.empty:
                continue
            cells = (_worth(value) for value in (worth.median(), worth.min(), worth.max()))
            rows.append(Row((Cell(name), Cell(first["tensor"]), _count(first["b"]), *cells)))
    return table_page(
        "What one run is worth when the last mini-batch is integrated out",
        "The Rao-Blackwell estimate replaces the noise of the last mini-batch by its average over "
        "all that could have been drawn, given the weights: in closed form for linear networks, "
        "from gradients of single examples for others. By the squared ratio of standard errors, "
        "one run of it is worth this many plain runs: median, smallest and largest over the "
        "iterations.",
        columns,
        rows,
        footer=footer,
    )


def _count(value: int) -> Cell:
    return Cell(f"{int(value):,}", int(value))


def _bound(degree: int, bound: int) -> Cell:
    return Cell(f"{bound:,}", bound, notes=() if degree <= bound else ("exceeded",))


def _start(value: float) -> Cell:
    return Cell("–", "") if pd.isna(value) else _count(int(value))


def _digits(radius: float) -> Cell:
    if pd.isna(radius) or radius == 0:
        return Cell("exact", "")
    return _count(math.floor(-math.log10(radius)))


def _worth(value: float) -> Cell:
    return Cell(f"{value:,.0f}" if value >= 100 else f"{value:.2g}", value)
