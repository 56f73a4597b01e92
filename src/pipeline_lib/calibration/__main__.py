"""`python -m pipeline_lib.calibration docs/inference.md`: simulate the page's tables anew."""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from pipeline_lib.artifacts.files import write_text
from pipeline_lib.calibration.page import TABLES, Sizes, put, tables
from pipeline_lib.errors import ArtifactError


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the tables into the page."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline_lib.calibration",
        description="Coverage of intervals and error rates of verdicts, simulated into a page.",
    )
    parser.add_argument("page", type=Path, help="a Markdown file with the tables' marks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--table", action="append", choices=list(TABLES), help="only this one; more than once"
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        for name, table in tables(Sizes(), options.seed, options.table or TABLES):
            page = options.page.read_text(encoding="utf-8")
            write_text(options.page, put(page, name, table))
    except ArtifactError as error:
        parser.exit(1, f"error: {options.page}: {error}\n")


if __name__ == "__main__":
    main()
