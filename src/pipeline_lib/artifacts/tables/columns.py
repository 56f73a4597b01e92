"""What tables are made of: columns, and those that several tables share."""

import json
from collections.abc import Mapping, Sequence

import pyarrow as pa

FLOAT, INT, SMALL_INT = pa.float64(), pa.int32(), pa.int8()
BOOL, TEXT = pa.bool_(), pa.string()
CATEGORY = pa.dictionary(pa.int8(), pa.string())
"""Few distinct texts: a category in pandas, text elsewhere."""

PER_EXPERIMENT = ("experiment",)
"""What leads every row of a table that has a file for each experiment."""
PER_BLOCK = ("experiment", "init", "b", "seed")
"""What leads every row of a table that has a file for each block."""


def column(
    name: str,
    kind: pa.DataType,
    description: str,
    *,
    unit: str = "",
    formula: str = "",
    nullable: bool = False,
) -> pa.Field:
    """A column; ``unit`` says the unit or the scaling, ``formula`` may name a place in the paper.

    A column that is not ``nullable`` never holds missing values.
    """
    words = {"description": description, "unit": unit, "formula": formula}
    return pa.field(name, kind, nullable, {key: text for key, text in words.items() if text})


def table(
    description: str,
    path: str,
    columns: Sequence[pa.Field],
    *,
    key: Sequence[str],
    lead: Sequence[str] = (),
    order: Sequence[str] | None = None,
    refers: Mapping[str, Sequence[str]] | None = None,
) -> pa.Schema:
    """A table without the columns that lead its rows in the file.

    Args:
        path: of its files, under results/{scale}/; rows of all of them are one data set.
        key: the columns that tell rows of one file apart.
        order: those by which its rows are sorted, the key unless given.
        lead: `PER_EXPERIMENT`, `PER_BLOCK`, or nothing: columns that are the same in all rows of
            a file and are put before the others when it is written.
        refers: by table, the columns whose values must all be found there.
    """
    says = {
        "description": description,
        "path": path,
        "key": json.dumps([*lead, *key]),
        "lead": json.dumps(list(lead)),
        "order": json.dumps(list(key if order is None else order)),
        "refers": json.dumps({name: list(names) for name, names in (refers or {}).items()}),
    }
    return pa.schema(list(columns), says)


SQUARED = "squared units of the gradient of the mean loss"

EXPERIMENT = column("experiment", CATEGORY, "Name of the experiment in the configuration")
INIT = column("init", INT, "Number of the initial weights, from 0")
B = column("b", INT, "Mini-batch size", unit="examples")
SEED = column("seed", INT, "Number of the block among those of its (init, b), from 0")
STEP = column(
    "step", INT, "Iteration t, from 0, where the weights are the initial ones", unit="iterations"
)
EPOCH = column("epoch", INT, "Epochs that are over at this point", unit="epochs")
QUANTITY = column(
    "quantity",
    CATEGORY,
    "Which gradient: stochastic_gradient (g_t), clipped_gradient (g_t as it is applied) or "
    "full_gradient (of L)",
)
TENSOR = column("tensor", CATEGORY, "Weight matrix, such as W1, or all for all parameters together")
ESTIMATOR = column(
    "estimator",
    CATEGORY,
    "sample: variance over runs; rao_blackwell: the noise of the last mini-batch in closed form",
)
BASIS = column("basis", CATEGORY, "Variable x of the polynomial: inverse_b or batch_factor",
    formula="x = 1/b; x = c_b = (n - b) / (b (n - 1))",
)  # fmt: skip
POWER = column("power", INT, "Power of x")
N_RUNS = column("n_runs", INT, "Runs that the estimate is made from", unit="runs")
N_DIVERGED = column(
    "n_diverged", INT, "Runs lost up to here; with any, there is no estimate", unit="runs"
)
DOF = column("dof", INT, "Degrees of freedom: runs less one for each group with a mean of its own")
RELIABLE = column(
    "reliable", BOOL, "False where single runs carry too much of the estimate, or it has no error"
)
STD_ERROR = column("std_error", FLOAT, "Standard error of the estimate", nullable=True)
MAX_SHARE = column(
    "max_share", FLOAT, "Share of the estimate that its largest contribution carries",
    unit="1", formula="max_r y_r / sum_r y_r", nullable=True,
)  # fmt: skip
INTERVAL = (
    column("ci_low", FLOAT, "Lower end of the confidence interval", nullable=True),
    column("ci_high", FLOAT, "Upper end of the confidence interval", nullable=True),
)
VARIANCE_FORMULA = "var(M | F_0) = E|M|^2 - |E M|^2 (Section 3)"
ESTIMATED_VARIANCE = column(
    "variance", FLOAT, "Estimate of the variance over runs, given the initial weights",
    unit=SQUARED, formula=VARIANCE_FORMULA, nullable=True,
)  # fmt: skip
EXACT_VARIANCE = column(
    "variance", FLOAT, "Exact variance given the initial weights",
    unit=SQUARED, formula=VARIANCE_FORMULA,
)  # fmt: skip

LEADING = {each.name: each.with_nullable(True) for each in (EXPERIMENT, INIT, B, SEED)}
"""Columns that may lead a file's rows. They are missing where a file's maker did not say them."""
