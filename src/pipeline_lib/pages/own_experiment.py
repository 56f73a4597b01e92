"""What came out of an experiment of the user's own, as one page."""

from collections.abc import Iterator, Mapping

import pandas as pd

from pipeline_lib.claims.page import verdict_cell
from pipeline_lib.estimation.metrics import metrics_with_values
from pipeline_lib.figures.numbers import number
from pipeline_lib.pages.table_page import Cell, Column, Row, table_page

FACETS = ("verdict", "losses", "efficiency")
_COLUMNS = (
    Column("what", "wide"),
    Column("b", "number"),
    Column("result", "number"),
    Column("", "wide"),
)


def own_experiment_page(
    name: str, tables: Mapping[str, pd.DataFrame], level: float, footer: str = ""
) -> str:
    """The verdict, losses after the last epoch, and the worth of a run.

    ``tables`` are artefacts by kind: ``claims`` of this experiment, ``efficiency``, which has no
    rows where there is one estimator only, and ``metric_summary`` if it is trained in epochs.
    ``level`` is the confidence level of the latter's intervals.
    """
    rows = [*_verdicts(tables["claims"])]
    if "metric_summary" in tables:
        rows += _losses(tables["metric_summary"], level)
    rows += _efficiency(tables["efficiency"])
    return table_page(
        name,
        "Whether the variance of the stochastic gradient decreases in the batch size b, and the "
        "means over runs after the last epoch. Where there are two estimates of the variance, the "
        "last rows say how many runs of the plain one give the precision of one run of the other.",
        _COLUMNS,
        rows,
        FACETS,
        footer,
    )


def _verdicts(claims: pd.DataFrame) -> Iterator[Row]:
    for one in claims.to_dict("records"):
        needed = one["scale_needed"]
        notes = (f"To decide: {needed}",) if isinstance(needed, str) else ()
        yield Row(
            (
                Cell(one["statement"], notes=(one["test"],)),
                Cell("all", 0),
                verdict_cell(one["verdict"]),
                Cell(one["evidence"], notes=notes),
            ),
            facet="verdict",
        )


def _losses(summary: pd.DataFrame, level: float) -> Iterator[Row]:
    shown = summary["metric"].isin(metrics_with_values(summary))
    last = summary[(summary["epoch"] == summary["epoch"].max()) & shown]
    for one in last.sort_values(["metric", "split", "b", "init"]).to_dict("records"):
        mean, interval = Cell("none"), "no interval"
        if one["n_diverged"] > 0:
            interval = f"{one['n_diverged']:,} of {one['n_runs']:,} runs diverged"
        else:
            mean = Cell(number(float(one["mean"])), float(one["mean"]))
        if not pd.isna(one["ci_low"]):
            ends = (number(float(one[end])) for end in ("ci_low", "ci_high"))
            interval = f"{100 * level:g} % interval {' to '.join(ends)}"
        of_init = f", initial weights {one['init']}" if summary["init"].nunique() > 1 else ""
        yield Row(
            (
                Cell(f"{one['split']} {one['metric']} after epoch {one['epoch']}{of_init}"),
                Cell(f"{one['b']:,}", one["b"]),
                mean,
                Cell(interval),
            ),
            facet="losses",
        )


def _efficiency(efficiency: pd.DataFrame) -> Iterator[Row]:
    for (tensor, b), part in efficiency.groupby(["tensor", "b"], observed=True):
        worth = part["runs_worth"].dropna()
        if worth.empty:
            continue
        low, high = number(float(worth.min())), number(float(worth.max()))
        yield Row(
            (
                Cell(f"plain runs that one Rao-Blackwell run is worth: {tensor}"),
                Cell(f"{b:,}", float(part["b"].iloc[0])),
                Cell(number(float(worth.median())), float(worth.median())),
                Cell(f"median over iterations, {low} to {high}"),
            ),
            facet="efficiency",
        )
