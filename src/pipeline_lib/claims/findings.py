"""`python -m pipeline_lib.claims.findings results/quick`: the findings in README.md, from ledgers.

A ledger is recorded under `docs/findings`, one file for each number of rows of admission data that
it was made with: the 500 of the paper, or the 400 that a package registry has. The block between
the marks in README.md is made from all that are recorded, and never written by hand.
"""

import argparse
import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline_lib.artifacts.files import read_provenance, read_table, write_text
from pipeline_lib.claims.catalogue import CLAIMS
from pipeline_lib.claims.verdict import SETTLED, counted, first_sentences
from pipeline_lib.data.admissions import FULL_ROWS
from pipeline_lib.errors import ArtifactError

BEGIN = "<!-- findings: written by `make findings` -->"
END = "<!-- end of findings -->"

# Claims that the block tells, in this order, in words that need none of the paper's.
HEADLINES = {
    "T4": "In linear regression the variance decreases in *b* at every iteration",
    "H4": "In linear regression the expected loss on *any* test set decreases in *b*",
    "E4": "In the two-layer network of Figure 2 the variances decrease in *b*",
    "T12": "In every two-layer linear network the variance decreases at every *b*",
    "T7": "The degree in 1/*b* stays within both bounds of Theorem 4",
    "H1": "An experiment of 1,000 runs sees the true variance at small *b*",
    "E13": "On MNIST the variance decreases in *b*",
    "E7": "On MNIST the training loss after equal epochs decreases in *b* (Section 4.2)",
    "E9": "On MNIST the errors after equal epochs decrease in *b* (Section 4.2)",
}

SCALE = "quick"  # of the studies that README.md tells of
REGISTRY_ROWS = 400

Row = Mapping[str, str]
"""Of one claim, and the scale of the study that decided it."""
TOLD = ["id", "verdict", "evidence"]
COLUMNS = ("scale", *TOLD)


def record(results: Path, folder: Path) -> Path:
    """Keep the ledger of ``results`` in ``folder``; the file, named by the rows of admission data.

    Raises:
        ArtifactError: ``results`` has no whole ledger or no table of admissions, or is of another
            scale than `SCALE`.
    """
    path = results / "claims.parquet"
    ledger, scale = read_table(path, "claims", TOLD), read_provenance(path)["scale"]
    if scale != SCALE:
        raise ArtifactError(f"{path}: a ledger of the scale {scale!r}; allowed is {SCALE!r}")
    rows = read_provenance(results / "data/admissions.parquet")["n_rows"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([scale, *row] for row in ledger[TOLD].itertuples(index=False))
    kept = folder / f"{rows}_rows.csv"
    write_text(kept, text.getvalue())
    return kept


def recorded(folder: Path) -> dict[int, list[Row]]:
    """The ledgers in ``folder`` by their rows of admission data, those of most rows first.

    Raises:
        ArtifactError: a ledger's name does not begin with its number of rows.
    """
    found: dict[int, list[Row]] = {}
    for path in folder.glob("*_rows.csv"):
        rows = path.name.removesuffix("_rows.csv")
        if not (rows.isascii() and rows.isdigit()):
            raise ArtifactError(f"{path}: no number of rows; allowed are names as 500_rows.csv")
        with path.open(encoding="utf-8", newline="") as file:
            found[int(rows)] = [dict(one) for one in csv.DictReader(file)]
    return dict(sorted(found.items(), reverse=True))


def block(ledgers: Mapping[int, Sequence[Row]]) -> str:
    """The findings as Markdown: how many claims have which verdict, and the headlines.

    Headlines are those of the first ledger, as far as it decides them, one a line; where another
    ledger has another verdict, the line says so.

    Raises:
        ArtifactError: there is no ledger, or one is not of today's claims.
    """
    if not ledgers:
        raise ArtifactError("no ledger is recorded; run: make study, then make findings")
    for rows, ledger in ledgers.items():
        if [one["id"] for one in ledger] != list(CLAIMS):
            raise ArtifactError(
                f"the ledger with {rows} rows of admissions is of other claims than today's; "
                "run the study with these data again, then make findings"
            )
    told = [
        f"{_made_with(rows, ledger)}: {counted(one['verdict'] for one in ledger)}."
        for rows, ledger in ledgers.items()
    ]
    (_, first), *others = [
        (rows, {one["id"]: one for one in ledger}) for rows, ledger in ledgers.items()
    ]
    table = ["| statement | verdict | numbers |", "|---|---|---|"]
    for name, words in HEADLINES.items():
        one = first[name]
        if one["verdict"] not in SETTLED:
            continue
        differing = "".join(
            f"; with {rows} rows {other[name]['verdict']}"
            for rows, other in others
            if other[name]["verdict"] != one["verdict"]
        )
        # What is open comes second, and is why a claim is decided only in part.
        count = 2 if one["verdict"] == "partly" else 1
        numbers = first_sentences(one["evidence"], count).replace("|", r"\|")
        table.append(f"| {words} ({name}) | **{one['verdict']}**{differing} | {numbers} |")
    summary = " ".join([f"The ledger has {len(CLAIMS)} claims.", *told])
    return "\n".join([summary, "", *table])


def replaced(page: str, text: str) -> str:
    """``page`` with ``text`` between the marks; ArtifactError unless it has each once, in order."""
    for mark in (BEGIN, END):
        if page.count(mark) != 1:
            raise ArtifactError(f"the page has {page.count(mark)} marks {mark!r}; allowed: one")
    before, rest = page.split(BEGIN)
    if END not in rest:
        raise ArtifactError(f"the page has {END!r} before {BEGIN!r}; allowed: after it")
    return f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}"


def _made_with(rows: int, ledger: Sequence[Row]) -> str:
    whose = {FULL_ROWS: "the paper's ", REGISTRY_ROWS: "the registry's "}
    data = f"{whose.get(rows, '')}{rows} rows"
    return f"With {data} of admissions, at the scale `{ledger[0]['scale']}`"


def main(arguments: Sequence[str] | None = None) -> None:
    """Record the ledgers of folders of results, and write the block into the page."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline_lib.claims.findings", description=__doc__
    )
    parser.add_argument("results", nargs="*", type=Path, metavar="FOLDER", help="results/quick")
    parser.add_argument("--page", type=Path, default=Path("README.md"))
    parser.add_argument("--recorded", type=Path, default=Path("docs/findings"))
    options = parser.parse_args(arguments)
    try:
        for results in options.results:
            print(record(results, options.recorded))
        page = options.page.read_text(encoding="utf-8")
        write_text(options.page, replaced(page, block(recorded(options.recorded))))
    except ArtifactError as error:
        parser.exit(1, f"error: {error}\n")


if __name__ == "__main__":
    main()
