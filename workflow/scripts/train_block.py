"""Train one block of runs and write its statistics, its divergence and, in epochs, its losses."""

import os
from pathlib import Path

from pipeline_lib.logs import job_log
from pipeline_lib.models import MODELS
from pipeline_lib.study.block import Block, Hardware
from pipeline_lib.study.config import load_study
from pipeline_lib.training.cards import own_card
from pipeline_lib.training.device import granted_gpu, resolve_device
from pipeline_lib.training.job import BlockFiles, train_to_files

with job_log(snakemake.log[0]):
    study, wildcards = load_study(snakemake.config, MODELS), snakemake.wildcards
    experiment, compute = study.experiments[wildcards.experiment], study.compute
    place = (int(wildcards[name]) for name in ("init", "b", "seed"))
    names = experiment.model.sources(experiment.name)
    files = BlockFiles(
        weights=Path(snakemake.input.weights),
        sources=dict(zip(names, map(Path, snakemake.input.sources), strict=True)),
        tables={kind: Path(path) for kind, path in snakemake.output.items()},
        checkpoint=Path(snakemake.params.checkpoint),
        own=[Path(path) for path in snakemake.input.own],
    )
    wanted = experiment.model.device_wanted(compute.device)
    granted = granted_gpu(dict(snakemake.resources.items()), os.environ)
    with own_card(wanted):
        device = resolve_device(wanted, granted)
        tf32 = compute.allow_tf32, compute.tf32_in_evaluations
        hardware = Hardware(device, snakemake.threads, *tf32)
        block = Block(experiment, *place, study.seed, hardware)
        train_to_files(block, files, snakemake.params.code, compute.checkpoint_every_s)
