"""`python -m pipeline_lib.artifacts results/quick/variance/admission.parquet`: how it was made."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq

from pipeline_lib.artifacts.dictionary import data_dictionary
from pipeline_lib.artifacts.files import read_provenance
from pipeline_lib.errors import ArtifactError


def told(path: Path) -> str:
    """What the metadata of a table say, one thing a line; ArtifactError if it is not whole."""
    provenance = read_provenance(path)
    metadata = pq.read_schema(path).metadata or {}
    artefact, version = (
        metadata.get(name, b"unknown").decode() for name in (b"artifact", b"schema_version")
    )
    rows = pq.read_metadata(path).num_rows
    lines = {"table": artefact, "schema version": version, "rows": f"{rows:,}", **provenance}
    return "\n".join([f"{path}", *(f"  {name}: {value}" for name, value in lines.items())])


def main(arguments: Sequence[str] | None = None) -> None:
    """Print how tables were made, or the data dictionary."""
    parser = argparse.ArgumentParser(prog="python -m pipeline_lib.artifacts", description=__doc__)
    parser.add_argument("tables", nargs="*", type=Path, metavar="FILE", help="parquet files")
    parser.add_argument(
        "--dictionary", action="store_true", help="print what all tables hold, as Markdown"
    )
    options = parser.parse_args(arguments)
    if not options.tables and not options.dictionary:
        parser.error("name a parquet file under results/, or give --dictionary")
    if options.dictionary:
        print(data_dictionary(), end="")
    try:
        for path in options.tables:
            print(told(path))
    except ArtifactError as error:
        parser.exit(1, f"error: {error}\n")


if __name__ == "__main__":
    main()
