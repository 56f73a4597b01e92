"""The columns of every table under results/: a public interface, since users query the files."""

from collections.abc import Mapping

import pyarrow as pa

_CATEGORY = pa.dictionary(pa.int8(), pa.string())
_KEY = [("quantity", _CATEGORY), ("tensor", _CATEGORY)]


def _schema(*columns: tuple[str, pa.DataType], nullable: tuple[str, ...] = ()) -> pa.Schema:
    return pa.schema([pa.field(name, kind, name in nullable) for name, kind in columns])


_ESTIMATE = ("variance", "std_error", "ci_low", "ci_high", "max_share")
_MOMENTS = (
    "mean_sq_norm",
    "sq_norm_of_mean",
    "sum_sq_dev",
    "conditional_variance",
    "contribution_mean",
    "contribution_m2",
    "contribution_m3",
    "contribution_max",
)

SCHEMAS: Mapping[str, pa.Schema] = {
    "admissions": _schema(
        ("serial_no", pa.float64()),
        ("gre_score", pa.float64()),
        ("toefl_score", pa.float64()),
        ("university_rating", pa.float64()),
        ("sop", pa.float64()),
        ("lor", pa.float64()),
        ("cgpa", pa.float64()),
        ("research", pa.float64()),
        ("chance_of_admit", pa.float64()),
    ),
    "statistics": _schema(
        ("step", pa.int32()),
        ("epoch", pa.int32()),
        *_KEY,
        ("estimator", _CATEGORY),
        ("n_replicas", pa.int32()),
        ("dof", pa.int32()),
        ("n_diverged", pa.int32()),
        *((name, pa.float64()) for name in _MOMENTS),
        nullable=("epoch", *_MOMENTS),
    ),
    "divergence": _schema(("replica", pa.int32()), ("step", pa.int32())),
    "variance": _schema(
        ("init", pa.int32()),
        ("b", pa.int32()),
        ("step", pa.int32()),
        ("epoch", pa.int32()),
        *_KEY,
        ("estimator", _CATEGORY),
        ("variance", pa.float64()),
        ("std_error", pa.float64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
        ("n_runs", pa.int32()),
        ("dof", pa.int32()),
        ("max_share", pa.float64()),
        ("reliable", pa.bool_()),
        ("n_diverged", pa.int32()),
        nullable=("epoch", *_ESTIMATE),
    ),
    "efficiency": _schema(
        ("init", pa.int32()),
        ("b", pa.int32()),
        ("step", pa.int32()),
        ("tensor", _CATEGORY),
        ("std_error_sample", pa.float64()),
        ("std_error_rao_blackwell", pa.float64()),
        ("runs_worth", pa.float64()),
    ),
    "theory": _schema(
        ("init", pa.int32()),
        ("b", pa.int32()),
        ("step", pa.int32()),
        *_KEY,
        ("variance", pa.float64()),
    ),
    "expected_loss": _schema(
        ("init", pa.int32()), ("b", pa.int32()), ("step", pa.int32()), ("loss", pa.float64())
    ),
    "polynomial": _schema(
        ("init", pa.int32()),
        ("step", pa.int32()),
        *_KEY,
        ("basis", _CATEGORY),
        ("power", pa.int32()),
        ("coefficient", pa.float64()),
        ("coefficient_decimal", pa.string()),
        ("relative_radius", pa.float64()),
        ("float64_error", pa.float64()),
    ),
    "fits": _schema(
        ("init", pa.int32()),
        ("step", pa.int32()),
        *_KEY,
        ("estimator", _CATEGORY),
        ("basis", _CATEGORY),
        ("constant", pa.bool_()),
        ("degree", pa.int32()),
        ("power", pa.int32()),
        ("coefficient", pa.float64()),
        ("std_error", pa.float64()),
        ("r_squared", pa.float64()),
        ("chi_squared", pa.float64()),
        ("dof", pa.int32()),
        ("raw_condition_number", pa.float64()),
        ("condition_number", pa.float64()),
        ("orthogonal_condition_number", pa.float64()),
        ("max_rel_error_vs_exact", pa.float64()),
    ),
    "scalar_polynomial": _schema(
        ("step", pa.int32()),
        *_KEY,
        ("power", pa.int32()),
        ("coefficient", pa.float64()),
        ("coefficient_rational", pa.string()),
    ),
    "scalar_degrees": _schema(
        ("step", pa.int32()),
        *_KEY,
        ("degree", pa.int32()),
        ("bound_stated", pa.int32()),
        ("bound_formula", pa.int32()),
        ("tight", pa.int32()),
        ("decreasing_from_real_low", pa.float64()),
        ("decreasing_from_real_high", pa.float64()),
        ("decreasing_from_integer", pa.int32()),
        nullable=(
            "decreasing_from_real_low",
            "decreasing_from_real_high",
            "decreasing_from_integer",
        ),
    ),
    "scalar_theory": _schema(
        ("b", pa.int32()), ("step", pa.int32()), *_KEY, ("variance", pa.float64())
    ),
    "heavy_tails": _schema(
        ("b", pa.int32()),
        ("step", pa.int32()),
        ("tensor", _CATEGORY),
        ("runs", pa.int32()),
        ("estimator", _CATEGORY),
        *((name, pa.float64()) for name in _ESTIMATE),
        ("reliable", pa.bool_()),
        ("n_diverged", pa.int32()),
        ("exact", pa.float64()),
        ("covered", pa.bool_()),
        nullable=_ESTIMATE,
    ),
    "heavy_tails_repeats": _schema(
        ("b", pa.int32()),
        ("step", pa.int32()),
        ("tensor", _CATEGORY),
        ("estimator", _CATEGORY),
        ("runs", pa.int32()),
        ("repeats", pa.int32()),
        ("q05", pa.float64()),
        ("median", pa.float64()),
        ("q95", pa.float64()),
        ("exact", pa.float64()),
        ("missed_below", pa.float64()),
        ("missed_above", pa.float64()),
        ("flagged", pa.float64()),
        ("flagged_of_missed_below", pa.float64()),
        nullable=("q05", "median", "q95", "flagged_of_missed_below"),
    ),
    "fitted_curves": _schema(
        ("init", pa.int32()),
        ("step", pa.int32()),
        *_KEY,
        ("estimator", _CATEGORY),
        ("basis", _CATEGORY),
        ("constant", pa.bool_()),
        ("b", pa.float64()),
        ("fitted", pa.float64()),
        ("std_error", pa.float64()),
    ),
}
