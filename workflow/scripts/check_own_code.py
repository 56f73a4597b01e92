"""Try the user's own code on all that it will be asked, and record which modules it imports."""

import json
from pathlib import Path

from pipeline_lib.artifacts.files import write_text
from pipeline_lib.logs import job_log
from pipeline_lib.models import MODELS
from pipeline_lib.study.code.imported import import_folders, imported_from, record
from pipeline_lib.study.config import load_study

with job_log(snakemake.log[0]):
    experiment = load_study(snakemake.config, MODELS).experiments[snakemake.wildcards.experiment]
    found = experiment.model.examine(experiment, [Path(path) for path in snakemake.input.own])
    record(Path(snakemake.params.imports), imported_from(import_folders()))
    write_text(Path(snakemake.output[0]), json.dumps(found, indent=1) + "\n")
