"""The data dictionary: what the tables under results/ hold, in words, from their schemas."""

import pyarrow as pa

from pipeline_lib.artifacts.schemas import (
    SCHEMA_VERSION,
    SCHEMAS,
    file_schema,
    key_of,
    order_of,
    references_of,
)

_HEAD = f"""\
# Data dictionary

The tables under `results/{{scale}}/`, one section each. This page is written from the schemas in
`src/pipeline_lib/artifacts/tables/` by `python -m pipeline_lib.artifacts --dictionary`.

- Files are Parquet, schema version {SCHEMA_VERSION}. All files of a folder are one table:
  `pd.read_parquet("results/quick/runs/statistics")` reads every block, in pandas, polars, duckdb
  and pyarrow alike.
- The metadata of a file says how it was made: `python -m pipeline_lib.artifacts FILE` prints it.
  Descriptions, units and formulas are in the metadata of its columns.
- `datapackage.json` lists the tables of a scale for [Frictionless](https://frictionlessdata.io),
  `config.yaml` says what configuration, code, packages and data they were made with.
- Blocks that the configuration no longer names are moved from `runs/` to `stale/`.
- A value may be missing only where the column says so. `F_0` are the initial weights, `F_t` the
  weights at step t; norms are Euclidean, of all entries of the tensor.
"""


def data_dictionary() -> str:
    """The page as Markdown."""
    return "\n".join([_HEAD, *map(_section, SCHEMAS)])


def _section(kind: str) -> str:
    schema = file_schema(kind)
    lines = [f"## {kind}", "", f"`{_text(schema, 'path')}`. {_text(schema, 'description')}", ""]
    if key_of(kind):
        lines.append(f"Key: {_names(key_of(kind))}.")
    if order_of(kind):
        lines.append(f"Rows of a file are sorted by {_names(order_of(kind))}.")
    for other, columns in references_of(kind).items():
        lines.append(f"The values of {_names(columns)} are found in `{other}`.")
    lines += ["", "| column | type | description | unit | formula |", "|---|---|---|---|---|"]
    lines += [_row(field) for field in schema]
    return "\n".join([*lines, ""])


def _row(field: pa.Field) -> str:
    described = _text(field, "description") + ("; may be missing" if field.nullable else "")
    formula = _text(field, "formula")
    cells = [
        f"`{field.name}`",
        "category" if pa.types.is_dictionary(field.type) else str(field.type),
        described,
        _text(field, "unit"),
        f"`{formula}`" if formula else "",
    ]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _text(described: pa.Schema | pa.Field, name: str) -> str:
    text: str = (described.metadata or {}).get(name.encode(), b"").decode()
    return text


def _names(columns: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in columns)
