"""What one run of the Rao-Blackwell estimate is worth, as a page."""

from pathlib import Path

from pipeline_lib.artifacts.files import read_table, write_text
from pipeline_lib.logs import job_log
from pipeline_lib.pages.exact_tables import efficiency_page

with job_log(snakemake.log[0]):
    footer = f"Scale {snakemake.params.scale}, commit {snakemake.params.commit}."
    paths = zip(snakemake.params.made_with, snakemake.input.efficiency, strict=True)
    tables = {
        made_with["experiment"]: read_table(Path(path), "efficiency", expected=made_with)
        for made_with, path in paths
    }
    write_text(Path(snakemake.output[0]), efficiency_page(tables, footer))
