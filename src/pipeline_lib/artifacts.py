"""Files under results/: one schema an artefact, checked on write and on read; whole or absent.

Tables are parquet with the provenance (configuration digest, data hash, ...) in the file's
metadata. Every write goes to a temporary file in the same folder, is flushed to the disk and then
renamed, so a reader or a killed job never sees half a file.
"""

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline_lib.errors import ArtifactError

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
        ("condition_number", pa.float64()),
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
        ("b", pa.int32()),
        ("fitted", pa.float64()),
        ("std_error", pa.float64()),
    ),
}


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then put it in place in one step.

    If ``write`` fails, or the disk is full, nothing is left behind and an older file stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        # mkstemp makes files private; results are as readable as the user's umask says.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_table(
    path: Path, frame: pd.DataFrame, kind: str, provenance: Mapping[str, Any] | None = None
) -> None:
    """Write ``frame`` as the artefact ``kind``; ``provenance`` goes to the metadata as JSON.

    Raises:
        ArtifactError: a column is missing, unknown, of another type or holds missing values where
            none are allowed.
    """
    schema = SCHEMAS[kind]
    if list(frame.columns) != schema.names:
        raise ArtifactError(
            f"{path}: columns {list(frame.columns)} are not those of '{kind}': {schema.names}"
        )
    try:
        table = pa.Table.from_pandas(frame, schema=schema, preserve_index=False, safe=True)
        _refuse_nulls(table, schema, path)
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise ArtifactError(f"{path}: not a valid '{kind}' table: {error}") from error
    metadata = {
        b"artifact": kind.encode(),
        b"provenance": json.dumps(dict(provenance or {}), sort_keys=True).encode(),
    }
    table = table.replace_schema_metadata(metadata)
    options = {"compression": "zstd", "write_page_checksum": True}
    write_whole(path, lambda temporary: pq.write_table(table, temporary, **options))


def read_table(path: Path, kind: str, columns: list[str] | None = None) -> pd.DataFrame:
    """Read the artefact ``kind``, all of it or only ``columns``.

    Raises:
        ArtifactError: the file is absent, not parquet, or not of the schema this version writes.
    """
    schema = SCHEMAS[kind]
    try:
        # The path itself may hold key=value folders; they are not columns of this file.
        file = pq.ParquetFile(path, page_checksum_verification=True)
        if file.schema_arrow.remove_metadata() != schema:
            raise ArtifactError(f"{path}: not of the schema '{kind}'; remove it and run again")
        table = file.read(columns=columns)
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: no such file; run the rule that makes it") from error
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ArtifactError(f"{path}: not a whole parquet file ({error})") from error
    _refuse_nulls(table, schema, path)
    frame: pd.DataFrame = table.to_pandas()
    return frame


def read_provenance(path: Path) -> dict[str, Any]:
    """The provenance that `write_table` stored."""
    metadata = pq.read_schema(path).metadata or {}
    provenance: dict[str, Any] = json.loads(metadata.get(b"provenance", b"{}"))
    return provenance


def _refuse_nulls(table: pa.Table, schema: pa.Schema, path: Path) -> None:
    for name in table.column_names:
        if not schema.field(name).nullable and table.column(name).null_count:
            raise ArtifactError(f"{path}: column {name} holds missing values and must not")
