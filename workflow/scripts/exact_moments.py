"""Exact variances and expected losses of linear regression, for every b and every step."""

from pathlib import Path

import numpy as np
import pandas as pd

from pipeline_lib.artifacts.files import read_provenance, write_table
from pipeline_lib.artifacts.weights import read_weights
from pipeline_lib.data.admissions import read_design
from pipeline_lib.logs import job_log
from pipeline_lib.theory.linear_regression import exact_moments
from pipeline_lib.theory.tables import expected_loss_table, theory_table

with job_log(snakemake.log[0]):
    design = read_design(Path(snakemake.input.data), snakemake.params.features)
    variances, losses = [], []
    for init, path in enumerate(snakemake.input.weights):
        moments = exact_moments(
            design.features,
            design.target,
            read_weights(Path(path))["weights"],
            snakemake.params.learning_rates,
            np.arange(1, len(design.target) + 1),
            snakemake.params.sampling,
        )
        variances.append(theory_table(moments, init))
        losses.append(expected_loss_table(moments, init))
    provenance = read_provenance(Path(snakemake.input.data)) | snakemake.params.made_with
    write_table(Path(snakemake.output.variance), pd.concat(variances), "theory", provenance)
    write_table(Path(snakemake.output.loss), pd.concat(losses), "expected_loss", provenance)
