"""Train one block of runs and write its statistics, its divergence and, in epochs, its losses."""

from pathlib import Path

from pipeline_lib.logs import job_log
from pipeline_lib.models import MODELS
from pipeline_lib.study.block import Block, Hardware
from pipeline_lib.study.config import load_study
from pipeline_lib.training.device import resolve_device
from pipeline_lib.training.job import BlockFiles, train_to_files

with job_log(snakemake.log[0]):
    study, wildcards = load_study(snakemake.config, MODELS), snakemake.wildcards
    experiment = study.experiments[wildcards.experiment]
    hardware = Hardware(
        resolve_device(study.compute.device), snakemake.threads, study.compute.allow_tf32
    )
    place = (int(wildcards[name]) for name in ("init", "b", "seed"))
    names = experiment.model.sources(experiment.name)
    files = BlockFiles(
        weights=Path(snakemake.input.weights),
        sources=dict(zip(names, map(Path, snakemake.input.sources), strict=True)),
        tables={kind: Path(path) for kind, path in snakemake.output.items()},
        checkpoint=Path(snakemake.params.checkpoint),
        own=[Path(path) for path in snakemake.input.own],
    )
    block = Block(experiment, *place, study.seed, hardware)
    train_to_files(block, files, snakemake.params.code, study.compute.checkpoint_every_s)
