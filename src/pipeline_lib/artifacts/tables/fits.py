"""Polynomials fitted to estimated variances (Section 4.2, Figure 1b)."""

from pipeline_lib.artifacts.tables.columns import (
    BASIS,
    BOOL,
    DOF,
    ESTIMATOR,
    FLOAT,
    INIT,
    INT,
    PER_EXPERIMENT,
    POWER,
    QUANTITY,
    SQUARED,
    STD_ERROR,
    STEP,
    TENSOR,
    column,
    table,
)

_CONSTANT = column("constant", BOOL, "Whether the polynomial has a constant term")
_FIT = ("init", "step", "quantity", "tensor", "estimator", "basis", "constant")

FITS = {
    "fits": table(
        "Weighted least squares in 1/b and in c_b, one row per coefficient.",
        "fits/{experiment}.parquet",
        (
            INIT,
            STEP,
            QUANTITY,
            TENSOR,
            ESTIMATOR,
            BASIS,
            _CONSTANT,
            column("degree", INT, "Degree of the polynomial"),
            POWER,
            column("coefficient", FLOAT, "Fitted coefficient of x^power", unit=SQUARED),
            STD_ERROR.with_nullable(False),
            column("r_squared", FLOAT, "Share of the weighted variation that is explained",
                unit="1", formula="1 - chi^2 / sum w (y - mean y)^2"),
            column("chi_squared", FLOAT, "Weighted sum of squared residuals", unit="1",
                formula="sum (y - fit)^2 / SE^2"),
            DOF,
            column("raw_condition_number", FLOAT, "Condition number of the matrix x_i^k"),
            column("condition_number", FLOAT,
                "Condition number of x_i^k / SE_i, columns scaled to length 1"),
            column("orthogonal_condition_number", FLOAT,
                "Condition number of the matrix that the fit was solved in"),
            column("max_rel_error_vs_exact", FLOAT,
                "Largest relative error against the exact variance, over every b between the "
                "smallest and the largest fitted", unit="1"),
        ),
        key=(*_FIT, "power"),
        lead=PER_EXPERIMENT,
    ),
    "fitted_curves": table(
        "The fitted polynomials, evaluated.",
        "fitted_curves/{experiment}.parquet",
        (
            INIT,
            STEP,
            QUANTITY,
            TENSOR,
            ESTIMATOR,
            BASIS,
            _CONSTANT,
            column("b", FLOAT, "Batch size, also between whole numbers", unit="examples"),
            column("fitted", FLOAT, "Value of the polynomial", unit=SQUARED),
            STD_ERROR.with_nullable(False),
        ),
        key=(*_FIT, "b"),
        lead=PER_EXPERIMENT,
        refers={"fits": ("experiment", *_FIT)},
    ),
}  # fmt: skip
