"""What training jobs write: one file a block of runs."""

from pipeline_lib.artifacts.tables.columns import (
    CATEGORY,
    DOF,
    EPOCH,
    ESTIMATOR,
    FLOAT,
    INT,
    N_DIVERGED,
    PER_BLOCK,
    QUANTITY,
    SQUARED,
    STEP,
    TENSOR,
    column,
    table,
)

_FILE = "{experiment}/init_{init}/b_{b}/seed_{seed}.parquet"
_REPLICA = column("replica", INT, "Number of the run within its block, from 0")

RUNS = {
    "statistics": table(
        "Moments of the gradients over the runs of one block, at every recorded step. The "
        "contributions y_r are one number a run, and their mean estimates the variance.",
        f"runs/statistics/{_FILE}",
        (
            STEP,
            EPOCH.with_nullable(True),
            QUANTITY,
            TENSOR,
            ESTIMATOR,
            column("n_replicas", INT, "Runs of the block", unit="runs"),
            DOF,
            N_DIVERGED,
            column("mean_sq_norm", FLOAT, "Mean over runs of the squared norm", unit=SQUARED,
                formula="(1/R) sum_r |M_r|^2", nullable=True),
            column("sq_norm_of_mean", FLOAT, "Squared norm of the mean over runs", unit=SQUARED,
                formula="|(1/R) sum_r M_r|^2", nullable=True),
            column("sum_sq_dev", FLOAT, "Sum of squared deviations from the mean", unit=SQUARED,
                formula="sum_r |M_r - mean M|^2", nullable=True),
            column("conditional_variance", FLOAT, "Mean over runs of the variance given F_t, where "
                "it is known. Where random examples stand for all, their own variance e_r given "
                "F_t is taken off rao_blackwell, and -e_r stands beside the full gradient. In "
                "rao_blackwell of linear networks, less what control variates explain",
                unit=SQUARED, formula="(1/R) sum_r var(g_r | F_t)", nullable=True),
            column("conditional_m2", FLOAT, "Its sum of squares about that mean, where it is part "
                "of the contributions",
                unit="square of that of conditional_variance",
                formula="sum_r (var(g_r | F_t) - mean)^2", nullable=True),
            column("contribution_mean", FLOAT, "Mean of the contributions: the block's estimate",
                unit=SQUARED, formula="(1/R) sum_r y_r; sample: y_r = R/(R-1) |M_r - mean M|^2",
                nullable=True),
            column("contribution_m2", FLOAT, "Central sum of squares of the contributions",
                unit="square of that of contribution_mean", formula="sum_r (y_r - mean y)^2",
                nullable=True),
            column("contribution_m3", FLOAT, "Central sum of cubes of the contributions",
                unit="cube of that of contribution_mean", formula="sum_r (y_r - mean y)^3",
                nullable=True),
            column("contribution_max", FLOAT, "Largest contribution", unit=SQUARED,
                formula="max_r y_r", nullable=True),
        ),
        key=("quantity", "tensor", "estimator", "step"),
        lead=PER_BLOCK,
    ),
    "noise": table(
        "Moments over the runs of one block of the two parts of the gradient noise scale: "
        "unbiased estimates given F_t of tr Sigma(w_t), x_r, and of |grad L(w_t)|^2, y_r. No rows "
        "where the runs do not tell them.",
        f"runs/noise/{_FILE}",
        (
            STEP,
            EPOCH.with_nullable(True),
            TENSOR,
            column("n_replicas", INT, "Runs of the block", unit="runs"),
            N_DIVERGED,
            column("trace", FLOAT, "Mean over runs of the variance of one example's gradient",
                unit=SQUARED, formula="(1/R) sum_r x_r", nullable=True),
            column("sq_gradient", FLOAT, "Mean over runs of the full gradient's squared norm",
                unit=SQUARED, formula="(1/R) sum_r y_r", nullable=True),
            column("trace_m2", FLOAT, "Central sum of squares of x",
                unit="square of that of trace", formula="sum_r (x_r - mean x)^2", nullable=True),
            column("sq_gradient_m2", FLOAT, "Central sum of squares of y",
                unit="square of that of trace", formula="sum_r (y_r - mean y)^2", nullable=True),
            column("product_m2", FLOAT, "Central sum of products",
                unit="square of that of trace", formula="sum_r (x_r - mean x) (y_r - mean y)",
                nullable=True),
            column("trace_max", FLOAT, "Largest of x", unit=SQUARED, formula="max_r x_r",
                nullable=True),
            column("sq_gradient_max", FLOAT, "Largest of y", unit=SQUARED, formula="max_r y_r",
                nullable=True),
        ),
        key=("tensor", "step"),
        lead=PER_BLOCK,
    ),
    "divergence": table(
        "Runs that left the finite numbers, and when. Most files have no rows.",
        f"runs/divergence/{_FILE}",
        (_REPLICA, column("step", INT, "First step without a finite gradient", unit="iterations")),
        key=("replica",),
        lead=PER_BLOCK,
    ),
    "metrics": table(
        "Losses and errors of single runs, of experiments in epochs.",
        f"runs/metrics/{_FILE}",
        (
            _REPLICA,
            EPOCH,
            column("split", CATEGORY, "training, validation or distorted"),
            column("loss", FLOAT, "Mean loss over the examples", unit="nats an example",
                nullable=True),
            column("error", FLOAT, "Share of examples that are classified wrongly", unit="0 to 1",
                nullable=True),
        ),
        key=("replica", "epoch", "split"),
        lead=PER_BLOCK,
    ),
}  # fmt: skip
