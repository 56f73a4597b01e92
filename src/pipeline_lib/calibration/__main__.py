"""`python -m pipeline_lib.calibration docs/inference.md`: simulate the page's tables anew."""

import argparse
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline_lib.artifacts.files import write_text
from pipeline_lib.calibration.fit_test import module_of, simulated_levels
from pipeline_lib.calibration.page import TABLES, Sizes, levels_table, put, tables
from pipeline_lib.claims import fit_levels
from pipeline_lib.errors import ArtifactError

FIT = "fit"  # the table that claims read too


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the tables into the page, and the levels of the test of fit into `fit_levels`."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline_lib.calibration",
        description="Coverage of intervals and error rates of verdicts, simulated into a page.",
    )
    parser.add_argument("page", type=Path, help="a Markdown file with the tables' marks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--table", action="append", choices=[*TABLES, FIT], help="only this one; more than once"
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        for name, table in _made(options.table or [*TABLES, FIT], options.seed):
            page = options.page.read_text(encoding="utf-8")
            write_text(options.page, put(page, name, table))
    except ArtifactError as error:
        parser.exit(1, f"error: {options.page}: {error}\n")


def _made(names: Sequence[str], seed: int) -> Iterator[tuple[str, str]]:
    sizes = Sizes()
    yield from tables(sizes, seed, [name for name in names if name != FIT])
    if FIT in names:
        levels = simulated_levels(sizes.fits, seed)
        write_text(Path(fit_levels.__file__), module_of(levels))
        yield FIT, levels_table(levels)


if __name__ == "__main__":
    main()
