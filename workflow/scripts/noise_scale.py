"""Merge the blocks of one experiment into its gradient noise scale with intervals."""

from functools import partial
from pathlib import Path

from pipeline_lib.artifacts.block_files import shared_provenance
from pipeline_lib.artifacts.files import write_table
from pipeline_lib.estimation.aggregation import read_blocks
from pipeline_lib.estimation.noise_scale import noise_scale_table
from pipeline_lib.logs import job_log
from pipeline_lib.models import MODELS
from pipeline_lib.study.certain import certain_of
from pipeline_lib.study.config import load_study

with job_log(snakemake.log[0]):
    paths = [Path(path) for path in snakemake.input.noise]
    files = dict(zip(snakemake.params.blocks, paths, strict=True))
    made_with = snakemake.params.made_with
    blocks = read_blocks(files, made_with, "noise")
    provenance = made_with | shared_provenance(paths[0])
    experiment = load_study(snakemake.config, MODELS).experiments[made_with["experiment"]]
    certain = partial(certain_of, experiment, n_rows=provenance["n_rows"])
    table = noise_scale_table(blocks, made_with["confidence_level"], certain)
    write_table(Path(snakemake.output[0]), table, "noise_scale", provenance)
