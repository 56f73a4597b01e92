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

from pipeline_lib.artifacts.schemas import SCHEMAS
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
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowInvalid) as error:
        raise ArtifactError(f"{path}: not a whole parquet file ({error})") from error
    provenance: dict[str, Any] = json.loads(metadata.get(b"provenance", b"{}"))
    return provenance


def _refuse_nulls(table: pa.Table, schema: pa.Schema, path: Path) -> None:
    for name in table.column_names:
        if not schema.field(name).nullable and table.column(name).null_count:
            raise ArtifactError(f"{path}: column {name} holds missing values and must not")
