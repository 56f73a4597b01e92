"""Decide whether the variance of an experiment of the user's own decreases in the batch size."""

from pathlib import Path

from pipeline_lib.artifacts.files import read_provenance, read_table, write_table, write_text
from pipeline_lib.claims.own import decreasing_variance
from pipeline_lib.claims.verdict import claims_markdown, claims_table
from pipeline_lib.logs import job_log

with job_log(snakemake.log[0]):
    made_with, path = snakemake.params.made_with, Path(snakemake.input.variance)
    experiment = made_with["experiment"]
    found = decreasing_variance(
        read_table(path, "variance", expected=made_with),
        experiment,
        1 - made_with["confidence_level"],
        str(path),
    )
    write_table(
        Path(snakemake.output.table), claims_table([found]), "claims", read_provenance(path)
    )
    write_text(Path(snakemake.output.page), claims_markdown([found], f"{experiment}: the order"))
