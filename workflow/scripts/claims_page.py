"""The ledger of claims as a page."""

from pathlib import Path

from pipeline_lib.artifacts.files import read_table, write_text
from pipeline_lib.claims.page import claims_page
from pipeline_lib.logs import job_log

with job_log(snakemake.log[0]):
    footer = f"Scale {snakemake.params.scale}, commit {snakemake.params.commit}."
    made_with = snakemake.params.made_with
    table = read_table(Path(snakemake.input.claims), "claims", expected=made_with)
    write_text(Path(snakemake.output[0]), claims_page(table, footer))
