"""Expected loss after equal numbers of epochs, exactly, on a few rows of the admission data."""

from pathlib import Path

from pipeline_lib.artifacts.files import read_provenance, write_table
from pipeline_lib.data.admissions import read_design
from pipeline_lib.logs import job_log
from pipeline_lib.theory.scheme_tables import equal_epochs_table, small_sample

with job_log(snakemake.log[0]):
    params = snakemake.params
    design = read_design(Path(snakemake.input.data), params.features)
    problem = small_sample(design.features[:, 1:], design.target, params.rows)
    table = equal_epochs_table(problem, params.learning_rates, params.batch_sizes, params.epochs)
    made = params.made_with | {"rows": params.rows}
    provenance = read_provenance(Path(snakemake.input.data)) | made
    write_table(Path(snakemake.output[0]), table, "equal_epochs", provenance)
