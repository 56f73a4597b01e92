"""Print what the training jobs of the study cost."""

from pipeline_lib.logs import job_log
from pipeline_lib.models import MODELS
from pipeline_lib.study.config import load_study
from pipeline_lib.study.plan import plan_text

with job_log(snakemake.log[0]):
    print(plan_text(load_study(snakemake.config, MODELS)))
