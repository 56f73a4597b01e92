"""Verdicts."""

from pipeline_lib.artifacts.tables.columns import (
    BOOL,
    CATEGORY,
    FLOAT,
    INT,
    TEXT,
    column,
    table,
)

CLAIMS = {
    "claims": table(
        "The ledger: one row per claim of the paper. verdicts/{experiment}.parquet holds that on "
        "an experiment of one's own.",
        "claims.parquet",
        (
            column("id", TEXT, "Name of the claim: T theory, E experiments, H ours"),
            column("statement", TEXT, "The claim in our words"),
            column("place", TEXT, "Where the paper makes it"),
            column("test", TEXT, "How it was tested"),
            column("evidence", TEXT, "What came out"),
            column("p_value", FLOAT, "Adjusted for all comparisons of the claim", unit="1",
                nullable=True),
            column("exact", BOOL, "Whether the verdict rests on exact values alone"),
            column("n_comparisons", INT, "Comparisons that decide"),
            column("verdict", CATEGORY,
                "confirmed, refuted, partly, undecided or not tested at this scale"),
            column("scale_needed", TEXT, "What would decide it", nullable=True),
            column("artefact", TEXT, "Table with the numbers", nullable=True),
        ),
        key=("id",),
        order=(),
    ),
}  # fmt: skip
