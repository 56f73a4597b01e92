"""Merge the blocks of one experiment into variances with confidence intervals."""

from pathlib import Path

from pipeline_lib.artifacts.files import read_provenance, write_table
from pipeline_lib.estimation.aggregation import efficiency_table, read_blocks, variance_table
from pipeline_lib.logs import job_log

with job_log(snakemake.log[0]):
    paths = [Path(path) for path in snakemake.input.blocks]
    files = dict(zip(snakemake.params.blocks, paths, strict=True))
    expected = {
        "experiment": snakemake.wildcards.experiment,
        "config": snakemake.params.config_digest,
    }
    table = variance_table(read_blocks(files, expected), snakemake.params.confidence_level)
    first = read_provenance(paths[0])
    keys = ("source", "data_sha256", "n_rows", "backend", "loss", "labels")
    shared = {key: first[key] for key in keys if key in first}
    provenance = {**expected, **shared}
    write_table(
        Path(snakemake.output.efficiency), efficiency_table(table), "efficiency", provenance
    )
    write_table(Path(snakemake.output.variance), table, "variance", provenance)
