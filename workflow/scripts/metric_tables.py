"""Merge the metrics of one experiment's blocks into means over runs with confidence intervals."""

from pathlib import Path

from pipeline_lib.artifacts.files import read_provenance, write_table
from pipeline_lib.estimation.metrics import metric_summary, read_metrics
from pipeline_lib.logs import job_log

with job_log(snakemake.log[0]):
    paths = [Path(path) for path in snakemake.input.metrics]
    files = dict(zip(snakemake.params.blocks, paths, strict=True))
    expected = {
        "experiment": snakemake.wildcards.experiment,
        "config": snakemake.params.config_digest,
    }
    table = metric_summary(read_metrics(files, expected), snakemake.params.confidence_level)
    first = read_provenance(paths[0])
    keys = ("source", "data_sha256", "n_rows", "backend", "loss", "labels")
    shared = {key: first[key] for key in keys if key in first}
    write_table(Path(snakemake.output[0]), table, "metric_summary", {**expected, **shared})
