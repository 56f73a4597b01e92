"""Say how the results of a scale were made, and which tables there are."""

import json
from pathlib import Path

from pipeline_lib.artifacts.datapackage import data_package
from pipeline_lib.artifacts.files import write_text
from pipeline_lib.artifacts.record import record
from pipeline_lib.logs import job_log
from pipeline_lib.models import MODELS
from pipeline_lib.revision import revision
from pipeline_lib.study.config import load_study
from pipeline_lib.study.provenance import as_applied

with job_log(snakemake.log[0]):
    config, package = (Path(path) for path in snakemake.output)
    commit = revision(Path(__file__).resolve().parents[2])
    variances = map(Path, snakemake.input.variance)
    study = load_study(snakemake.config, MODELS)
    write_text(config, record(as_applied(study), commit, variances))
    write_text(package, json.dumps(data_package(package.parent), indent=1) + "\n")
