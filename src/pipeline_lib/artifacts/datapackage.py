"""A Frictionless data package: what tables a folder of results holds, for programs to read."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline_lib.artifacts.schemas import (
    SCHEMA_VERSION,
    SCHEMAS,
    file_schema,
    key_of,
    references_of,
)


def data_package(results: Path) -> dict[str, Any]:
    """The content of ``datapackage.json`` for the tables in ``results``, a folder of a scale.

    One resource a table, with the paths of all its files; tables without a file are left out, and
    so are references to them.
    """
    found = {kind: list(_files(results, kind)) for kind in SCHEMAS}
    kinds = [kind for kind, files in found.items() if files]
    return {
        "$schema": "https://datapackage.org/profiles/1.0/datapackage.json",
        "name": f"mini-batch-variance-{results.name}".lower().replace("_", "-"),
        "title": "The mini-batch size and the variance of gradients in SGD",
        "description": "See README.md in the folder above for the tables in words.",
        "version": f"{SCHEMA_VERSION}.0.0",
        "resources": [_resource(kind, found[kind], kinds) for kind in kinds],
    }


def table_schema(kind: str, kinds: list[str]) -> dict[str, Any]:
    """The Table Schema of a table; references to tables that are not in ``kinds`` are left out."""
    references = references_of(kind).items()
    schema: dict[str, Any] = {"fields": [_field(each, kind) for each in file_schema(kind)]}
    if key_of(kind):
        schema["primaryKey"] = key_of(kind)
    schema["foreignKeys"] = [
        {"fields": columns, "reference": {"resource": other, "fields": columns}}
        for other, columns in references
        if other in kinds
    ]
    return schema


def _files(results: Path, kind: str) -> Iterator[str]:
    pattern = re.sub(r"\{\w+\}", "*", SCHEMAS[kind].metadata[b"path"].decode())
    for path in sorted(results.glob(pattern)):
        yield path.relative_to(results).as_posix()


def _resource(kind: str, files: list[str], kinds: list[str]) -> dict[str, Any]:
    return {
        "name": kind,
        "description": SCHEMAS[kind].metadata[b"description"].decode(),
        "path": files[0] if len(files) == 1 else files,
        "format": "parquet",
        "mediatype": "application/vnd.apache.parquet",
        "schema": table_schema(kind, kinds),
    }


def _field(field: pa.Field, kind: str) -> dict[str, Any]:
    words = {name.decode(): text.decode() for name, text in (field.metadata or {}).items()}
    # A column of the key is never missing in what the study writes.
    required = not field.nullable or field.name in key_of(kind)
    return {
        "name": field.name,
        "type": _type(field.type),
        **words,
        "constraints": {"required": required},
    }


def _type(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return "boolean"
    if pa.types.is_integer(kind):
        return "integer"
    if pa.types.is_floating(kind):
        return "number"
    if pa.types.is_list(kind):
        return "array"
    return "string"
