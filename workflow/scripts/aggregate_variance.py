"""Merge the blocks of one experiment into variances with confidence intervals."""

from pathlib import Path

from pipeline_lib.artifacts.block_files import set_apart, shared_provenance
from pipeline_lib.artifacts.files import write_table
from pipeline_lib.estimation.aggregation import efficiency_table, read_blocks, variance_table
from pipeline_lib.logs import job_log

with job_log(snakemake.log[0]):
    paths = [Path(path) for path in snakemake.input.blocks]
    files = dict(zip(snakemake.params.blocks, paths, strict=True))
    made_with = snakemake.params.made_with
    set_apart(Path(snakemake.output.variance).parents[1], made_with["experiment"], files)
    table = variance_table(read_blocks(files, made_with), made_with["confidence_level"])
    provenance = made_with | shared_provenance(paths[0])
    write_table(
        Path(snakemake.output.efficiency), efficiency_table(table), "efficiency", provenance
    )
    write_table(Path(snakemake.output.variance), table, "variance", provenance)
