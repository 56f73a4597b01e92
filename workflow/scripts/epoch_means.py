"""Average the variances of one experiment over the steps of each epoch."""

from pathlib import Path

from pipeline_lib.artifacts.files import read_provenance, read_table, write_table
from pipeline_lib.estimation.epoch_means import epoch_variances
from pipeline_lib.logs import job_log

with job_log(snakemake.log[0]):
    path, made_with = Path(snakemake.input.variance), snakemake.params.made_with
    variance = read_table(path, "variance", expected=made_with)
    table = epoch_variances(variance, made_with["confidence_level"])
    write_table(Path(snakemake.output[0]), table, "epoch_variance", read_provenance(path))
