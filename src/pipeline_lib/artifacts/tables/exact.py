"""Exact values of the configured experiments."""

from pipeline_lib.artifacts.tables.columns import (
    BASIS,
    EXACT_VARIANCE,
    FLOAT,
    INIT,
    PER_EXPERIMENT,
    POWER,
    QUANTITY,
    SQUARED,
    STEP,
    TENSOR,
    TEXT,
    B,
    column,
    table,
)

_GRADIENT = ("init", "b", "quantity", "tensor", "step")

EXACT = {
    "theory": table(
        "Exact variance of the gradient, for every batch size and, in linear regression, every "
        "iteration.",
        "theory/variance/{experiment}.parquet",
        (INIT, B, STEP, QUANTITY, TENSOR, EXACT_VARIANCE),
        key=_GRADIENT,
        lead=PER_EXPERIMENT,
    ),
    "expected_loss": table(
        "Exact expected training loss of linear regression.",
        "theory/loss/{experiment}.parquet",
        (INIT, B, STEP, column("loss", FLOAT, "Expected loss", formula="E[L(w_t) | F_0]")),
        key=("init", "b", "step"),
        lead=PER_EXPERIMENT,
        refers={"theory": ("experiment", "init", "b", "step")},
    ),
    "polynomial": table(
        "The exact variance of linear regression as a polynomial, one row per coefficient.",
        "theory/polynomial/{experiment}.parquet",
        (
            INIT,
            STEP,
            QUANTITY,
            TENSOR,
            BASIS,
            POWER,
            column("coefficient", FLOAT, "Coefficient of x^power, rounded", unit=SQUARED),
            column("coefficient_decimal", TEXT, "The same to 40 digits", unit=SQUARED),
            column("relative_radius", FLOAT, "Bound on the relative error of these digits",
                unit="1"),
            column("float64_error", FLOAT, "Largest relative error, over every b, of evaluating "
                "the polynomial in float64", unit="1"),
        ),
        key=("init", "quantity", "tensor", "basis", "step", "power"),
        lead=PER_EXPERIMENT,
    ),
}  # fmt: skip
