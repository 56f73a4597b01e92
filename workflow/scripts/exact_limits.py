"""Where SGD settles in linear regression, and the batch sizes that it needs to settle."""

from pathlib import Path

import numpy as np
import pandas as pd

from pipeline_lib.artifacts.files import read_provenance, write_table
from pipeline_lib.data.admissions import read_design
from pipeline_lib.logs import job_log
from pipeline_lib.theory.regression_moments import RegressionProblem
from pipeline_lib.theory.regression_tables import constant_rate_table, inverse_time_table

with job_log(snakemake.log[0]):
    params = snakemake.params
    design = read_design(Path(snakemake.input.data), params.features)
    # the limits do not depend on where the weights start
    start = np.zeros(design.features.shape[1])
    problem = RegressionProblem(design.features, design.target, start)
    table = pd.concat(
        [
            constant_rate_table(
                problem, params.constant_rates, params.batch_sizes, params.samplings
            ),
            inverse_time_table(problem, params.initial_rates, params.batch_sizes),
        ]
    )
    provenance = read_provenance(Path(snakemake.input.data)) | params.made_with
    write_table(Path(snakemake.output[0]), table, "limits", provenance)
