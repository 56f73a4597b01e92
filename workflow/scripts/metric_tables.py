"""Merge the metrics of one experiment's blocks into means over runs with confidence intervals."""

from pathlib import Path

from pipeline_lib.artifacts.block_files import shared_provenance
from pipeline_lib.artifacts.files import write_table
from pipeline_lib.estimation.metrics import metric_summary, read_metrics
from pipeline_lib.logs import job_log

with job_log(snakemake.log[0]):
    paths = [Path(path) for path in snakemake.input.metrics]
    files = dict(zip(snakemake.params.blocks, paths, strict=True))
    made_with = snakemake.params.made_with
    table = metric_summary(read_metrics(files, made_with), made_with["confidence_level"])
    provenance = made_with | shared_provenance(paths[0])
    write_table(Path(snakemake.output[0]), table, "metric_summary", provenance)
