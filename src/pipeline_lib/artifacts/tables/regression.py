"""Further exact results on linear regression: precision, limits, test loss, ways of drawing."""

import pyarrow as pa

from pipeline_lib.artifacts.tables.columns import (
    CATEGORY,
    EPOCH,
    ESTIMATOR,
    EXACT_VARIANCE,
    FLOAT,
    INIT,
    INT,
    INTERVAL,
    PER_EXPERIMENT,
    SQUARED,
    STD_ERROR,
    STEP,
    B,
    column,
    table,
)

_SCHEME = column(
    "scheme", CATEGORY, "How mini-batches are drawn: afresh, with_replacement, epochs, ..."
)
_RATE = column("learning_rate", FLOAT, "Learning rate, the initial one of a schedule", unit="1")
_TIMES_T = "; of t times this where the schedule is inverse_time"

REGRESSION = {
    "precision": table(
        "Exact standard errors of the estimates, and the runs that they need.",
        "theory/precision/{experiment}.parquet",
        (
            INIT,
            B,
            STEP,
            ESTIMATOR,
            EXACT_VARIANCE,
            column("n_runs", INT, "Runs of the experiment", unit="runs"),
            column("relative_std_error", FLOAT,
                "Standard error of n_runs runs, as a share of the variance", unit="1"),
            column("precision", FLOAT, "Relative standard error that is asked for", unit="1"),
            column("runs_needed", pa.int64(), "Fewest runs that reach it", unit="runs"),
        ),
        key=("init", "b", "step", "estimator", "precision"),
        lead=PER_EXPERIMENT,
    ),
    "limits": table(
        "Where SGD settles as t grows, and the smallest batch size at which it does.",
        "theory/limits/{experiment}.parquet",
        (
            column("schedule", CATEGORY, "Learning rates: constant or inverse_time"),
            column("sampling", CATEGORY, "fresh (without replacement) or with_replacement"),
            _RATE,
            B,
            column("radius", FLOAT, "Factor by which the covariance nears its limit in a step",
                unit="1", nullable=True),
            column("smallest_stable_b", INT, "Smallest batch size that has a limit",
                unit="examples", nullable=True),
            column("stochastic_gradient", FLOAT, f"Limit of var(g_t){_TIMES_T}", unit=SQUARED,
                nullable=True),
            column("full_gradient", FLOAT, f"Limit of the full gradient's variance{_TIMES_T}",
                unit=SQUARED, nullable=True),
            column("excess_loss", FLOAT, f"Limit of the expected loss less the least{_TIMES_T}",
                nullable=True),
        ),
        key=("schedule", "sampling", "learning_rate", "b"),
        lead=PER_EXPERIMENT,
    ),
    "test_loss": table(
        "Exact expected losses on the rows trained on and on rows held out.",
        "theory/test_loss/{experiment}.parquet",
        (
            column("optimiser", CATEGORY, "sgd or momentum"),
            B,
            STEP,
            column("training_loss", FLOAT, "Expected training loss", formula="E[L(w_t) | F_0]"),
            column("test_loss", FLOAT, "Expected loss on the rows held out"),
            column("gap", FLOAT, "test_loss less training_loss"),
            column("training_noise", FLOAT, "Part of training_loss that depends on b",
                formula="tr(H Cov(w_t)) / 2"),
            column("test_noise", FLOAT, "Part of test_loss that depends on b",
                formula="tr(H_test Cov(w_t)) / 2"),
        ),
        key=("optimiser", "b", "step"),
        lead=PER_EXPERIMENT,
    ),
    "sampling_schemes": table(
        "Variance of the stochastic gradient under several ways of drawing mini-batches.",
        "theory/sampling_schemes.parquet",
        (
            _SCHEME,
            B,
            STEP,
            column("estimator", CATEGORY, "exact, or the estimator that the row is of"),
            EXACT_VARIANCE,
            STD_ERROR,
            *INTERVAL,
        ),
        key=("scheme", "b", "estimator", "step"),
    ),
    "equal_epochs": table(
        "Exact expected loss after whole epochs, for every way of drawing, on a few rows.",
        "theory/equal_epochs.parquet",
        (_SCHEME, _RATE, B, EPOCH, column("loss", FLOAT, "Expected loss")),
        key=("scheme", "learning_rate", "b", "epoch"),
    ),
}  # fmt: skip
