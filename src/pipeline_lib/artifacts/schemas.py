"""The columns of every table under results/: a public interface, since users query the files.

The tables are defined, with a description of each column, in `pipeline_lib.artifacts.tables`.
"""

import json
from collections.abc import Mapping

import pyarrow as pa

from pipeline_lib.artifacts.tables.claims import CLAIMS
from pipeline_lib.artifacts.tables.columns import LEADING
from pipeline_lib.artifacts.tables.data import DATA
from pipeline_lib.artifacts.tables.estimates import ESTIMATES
from pipeline_lib.artifacts.tables.exact import EXACT
from pipeline_lib.artifacts.tables.fits import FITS
from pipeline_lib.artifacts.tables.networks import NETWORKS
from pipeline_lib.artifacts.tables.regression import REGRESSION
from pipeline_lib.artifacts.tables.runs import RUNS

SCHEMA_VERSION = 2
"""Raised when a table changes in a way that older files cannot be read as."""

SCHEMAS: Mapping[str, pa.Schema] = {
    **DATA,
    **RUNS,
    **ESTIMATES,
    **EXACT,
    **REGRESSION,
    **NETWORKS,
    **FITS,
    **CLAIMS,
}


def lead_of(kind: str) -> list[str]:
    """The columns that are the same in all rows of a file and come first there."""
    lead: list[str] = json.loads(SCHEMAS[kind].metadata[b"lead"])
    return lead


def key_of(kind: str) -> list[str]:
    """The columns that tell rows of all files apart, those that lead first."""
    key: list[str] = json.loads(SCHEMAS[kind].metadata[b"key"])
    return key


def order_of(kind: str) -> list[str]:
    """The columns by which the rows of a file are sorted."""
    order: list[str] = json.loads(SCHEMAS[kind].metadata[b"order"])
    return order


def references_of(kind: str) -> dict[str, list[str]]:
    """By table, the columns whose values are all found there."""
    refers: dict[str, list[str]] = json.loads(SCHEMAS[kind].metadata[b"refers"])
    return refers


def file_schema(kind: str) -> pa.Schema:
    """The schema of the files: with the columns that lead."""
    schema = SCHEMAS[kind]
    return pa.schema([*(LEADING[name] for name in lead_of(kind)), *schema], schema.metadata)
