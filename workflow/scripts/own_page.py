"""What came out of an experiment of the user's own, as a page."""

from pathlib import Path

from pipeline_lib.artifacts.files import read_table, write_text
from pipeline_lib.logs import job_log
from pipeline_lib.pages.own_experiment import own_experiment_page

with job_log(snakemake.log[0]):
    made_with, given = snakemake.params.made_with, snakemake.input
    tables = {
        "claims": read_table(Path(given.verdict), "claims"),
        "efficiency": read_table(Path(given.efficiency), "efficiency", expected=made_with),
    }
    for path in map(Path, given.metrics):
        tables["metric_summary"] = read_table(path, "metric_summary", expected=made_with)
    footer = f"Scale {snakemake.params.scale}, commit {snakemake.params.commit}."
    name, level = made_with["experiment"], made_with["confidence_level"]
    write_text(Path(snakemake.output[0]), own_experiment_page(name, tables, level, footer))
