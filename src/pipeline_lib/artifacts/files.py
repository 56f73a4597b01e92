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
import pyarrow.compute
import pyarrow.parquet as pq

from pipeline_lib.artifacts.schemas import (
    SCHEMA_VERSION,
    SCHEMAS,
    file_schema,
    lead_of,
    order_of,
)
from pipeline_lib.artifacts.tables.columns import LEADING
from pipeline_lib.errors import ArtifactError


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


def read_notes(path: Path) -> dict[str, Any]:
    """The mapping in a file of JSON; an empty one where there is no file, or not such a one."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def write_table(
    path: Path, frame: pd.DataFrame, kind: str, provenance: Mapping[str, Any] | None = None
) -> None:
    """Write ``frame`` as the artefact ``kind``, its rows in the order of the schema.

    ``provenance`` says how it was made. It goes to the file's metadata as JSON, and gives the
    columns that lead every row, such as ``experiment``; those that it does not name are missing.

    Raises:
        ArtifactError: a column is missing, unknown, of another type or holds missing values where
            none are allowed.
    """
    schema, made = SCHEMAS[kind], dict(provenance or {})
    if list(frame.columns) != schema.names:
        raise ArtifactError(
            f"{path}: columns {list(frame.columns)} are not those of '{kind}': {schema.names}"
        )
    try:
        table = pa.Table.from_pandas(frame, schema=schema, preserve_index=False, safe=True)
        _refuse_nulls(table, schema, path)
        for place, name in enumerate(lead_of(kind)):
            value = pa.array([made.get(name)] * len(table), LEADING[name].type)
            table = table.add_column(place, LEADING[name], value)
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise ArtifactError(f"{path}: not a valid '{kind}' table: {error}") from error
    table = _sorted(table, order_of(kind)).replace_schema_metadata(
        {
            **schema.metadata,
            b"artifact": kind.encode(),
            b"schema_version": str(SCHEMA_VERSION).encode(),
            b"provenance": json.dumps(made, sort_keys=True).encode(),
        }
    )
    options = {"compression": "zstd", "write_page_checksum": True}
    write_whole(path, lambda temporary: pq.write_table(table, temporary, **options))


def read_table(
    path: Path,
    kind: str,
    columns: list[str] | None = None,
    expected: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Read the artefact ``kind``, all of it or only ``columns``, without those that lead its rows.

    Args:
        expected: what it must have been made with, as of `refuse_others`.

    Raises:
        ArtifactError: the file is absent, not parquet, not of the schema this version writes, or
            made with something else.
    """
    schema = SCHEMAS[kind]
    try:
        # The path itself may hold key=value folders; they are not columns of this file.
        file = pq.ParquetFile(path, page_checksum_verification=True)
        if file.schema_arrow.remove_metadata() != file_schema(kind):
            raise ArtifactError(f"{path}: not of the schema '{kind}'; remove it and run again")
        table = file.read(columns=columns or schema.names)
        metadata = file.schema_arrow.metadata or {}
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: no such file; run the rule that makes it") from error
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ArtifactError(f"{path}: not a whole parquet file ({error})") from error
    version = metadata.get(b"schema_version", b"unknown").decode()
    if version != str(SCHEMA_VERSION):
        raise ArtifactError(
            f"{path}: of schema version {version}, this code reads {SCHEMA_VERSION}; remove it and "
            "run again"
        )
    _refuse_nulls(table, schema, path)
    if expected:
        made = json.loads(metadata.get(b"provenance", b"{}"))
        with_interval = "ci_low" in schema.names
        checked = {
            name: value
            for name, value in expected.items()
            if with_interval or name != "confidence_level"
        }
        refuse_others(path, made, checked)
    frame: pd.DataFrame = table.to_pandas()
    return frame


def refuse_others(path: Path, made: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raise ArtifactError unless a file was ``made`` with all that is ``expected``, by name."""
    for name, value in expected.items():
        if made.get(name) != value:
            raise ArtifactError(
                f"{path}: made with {name} {made.get(name)!r}, the configuration now gives "
                f"{value!r}; remove the file and run again"
            )


def read_provenance(path: Path) -> dict[str, Any]:
    """The provenance that `write_table` stored."""
    try:
        metadata = pq.read_schema(path).metadata or {}
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: no such file; run the rule that makes it") from error
    except (OSError, pa.ArrowInvalid) as error:
        raise ArtifactError(f"{path}: not a whole parquet file ({error})") from error
    provenance: dict[str, Any] = json.loads(metadata.get(b"provenance", b"{}"))
    return provenance


def _sorted(table: pa.Table, order: list[str]) -> pa.Table:
    """``table`` sorted by the columns ``order``, categories by their text."""
    if not order:
        return table
    columns = [
        each.cast(pa.string()) if pa.types.is_dictionary(each.type) else each
        for each in map(table.column, order)
    ]
    by = [(name, "ascending") for name in order]
    return table.take(pa.compute.sort_indices(pa.table(columns, order), sort_keys=by))


def _refuse_nulls(table: pa.Table, schema: pa.Schema, path: Path) -> None:
    for name in table.column_names:
        if not schema.field(name).nullable and table.column(name).null_count:
            raise ArtifactError(f"{path}: column {name} holds missing values and must not")
