"""Exact standard errors of the estimates of linear regression, and the runs that they need."""

from pathlib import Path

import pandas as pd

from pipeline_lib.artifacts.files import read_provenance, write_table
from pipeline_lib.artifacts.weights import read_weights
from pipeline_lib.data.admissions import read_design
from pipeline_lib.logs import job_log
from pipeline_lib.theory.regression_fourth import log_steps
from pipeline_lib.theory.regression_moments import RegressionProblem
from pipeline_lib.theory.regression_tables import PrecisionPlan, precision_table

with job_log(snakemake.log[0]):
    params = snakemake.params
    design = read_design(Path(snakemake.input.data), params.features)
    steps = sorted({*log_steps(len(params.learning_rates)), *params.steps})
    plan = PrecisionPlan(steps, params.runs, params.precisions)
    tables = [
        precision_table(
            RegressionProblem(design.features, design.target, read_weights(Path(path))["weights"]),
            params.learning_rates,
            params.batch_sizes,
            plan,
            init,
        )
        for init, path in enumerate(snakemake.input.weights)
    ]
    provenance = read_provenance(Path(snakemake.input.data)) | params.made_with
    write_table(Path(snakemake.output[0]), pd.concat(tables), "precision", provenance)
