"""Merge the blocks of one experiment into variances with confidence intervals."""

from functools import partial
from pathlib import Path

from pipeline_lib.artifacts.block_files import set_apart, shared_provenance
from pipeline_lib.artifacts.files import write_table
from pipeline_lib.estimation.aggregation import efficiency_table, read_blocks, variance_table
from pipeline_lib.logs import job_log
from pipeline_lib.models import MODELS
from pipeline_lib.study.certain import certain_of
from pipeline_lib.study.config import load_study

with job_log(snakemake.log[0]):
    paths = [Path(path) for path in snakemake.input.blocks]
    files = dict(zip(snakemake.params.blocks, paths, strict=True))
    made_with = snakemake.params.made_with
    set_apart(Path(snakemake.output.variance).parents[1], made_with["experiment"], files)
    blocks = read_blocks(files, made_with)
    provenance = made_with | shared_provenance(paths[0])
    experiment = load_study(snakemake.config, MODELS).experiments[made_with["experiment"]]
    certain = partial(certain_of, experiment, n_rows=provenance["n_rows"])
    table = variance_table(blocks, made_with["confidence_level"], certain)
    write_table(
        Path(snakemake.output.efficiency), efficiency_table(table), "efficiency", provenance
    )
    write_table(Path(snakemake.output.variance), table, "variance", provenance)
