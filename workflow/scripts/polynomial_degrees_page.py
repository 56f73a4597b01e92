"""Exact polynomials of linear regression as a page."""

from pathlib import Path

from pipeline_lib.artifacts.files import read_table, write_text
from pipeline_lib.logs import job_log
from pipeline_lib.pages.exact_tables import polynomial_degrees_page

with job_log(snakemake.log[0]):
    footer = f"Scale {snakemake.params.scale}, commit {snakemake.params.commit}."
    made_with = snakemake.params.made_with
    table = read_table(Path(snakemake.input.polynomials), "polynomial", expected=made_with)
    write_text(Path(snakemake.output[0]), polynomial_degrees_page(table, footer))
