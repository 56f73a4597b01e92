"""Draw the initial weights that all runs of an experiment start from."""

from pathlib import Path

from pipeline_lib.artifacts.weights import write_weights
from pipeline_lib.logs import job_log
from pipeline_lib.models import MODELS
from pipeline_lib.study.config import load_study

with job_log(snakemake.log[0]):
    name, init = snakemake.wildcards.experiment, int(snakemake.wildcards.init)
    experiment = load_study(snakemake.config, MODELS).experiments[name]
    names = experiment.model.weight_sources(name)
    sources = dict(zip(names, map(Path, snakemake.input.sources), strict=True))
    weights = experiment.model.draw_weights(experiment, init, sources)
    write_weights(Path(snakemake.output[0]), weights)
