"""Exact gradient noise scale of linear regression, for every step."""

from pathlib import Path

import pandas as pd

from pipeline_lib.artifacts.files import read_provenance, write_table
from pipeline_lib.artifacts.weights import read_weights
from pipeline_lib.data.admissions import read_design
from pipeline_lib.logs import job_log
from pipeline_lib.theory.linear_regression import exact_moments
from pipeline_lib.theory.tables import exact_noise_scale_table

with job_log(snakemake.log[0]):
    design = read_design(Path(snakemake.input.data), snakemake.params.features)
    # Blocks of larger sizes hold no estimate either.
    sizes = [b for b in snakemake.params.batch_sizes if b <= len(design.target)]
    tables = []
    for init, path in enumerate(snakemake.input.weights):
        moments = exact_moments(
            design.features,
            design.target,
            read_weights(Path(path))["weights"],
            snakemake.params.learning_rates,
            sizes,
            snakemake.params.sampling,
        )
        tables.append(exact_noise_scale_table(moments, init))
    provenance = read_provenance(Path(snakemake.input.data)) | snakemake.params.made_with
    write_table(Path(snakemake.output[0]), pd.concat(tables), "noise_scale", provenance)
