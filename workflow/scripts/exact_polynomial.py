"""The variance as an exact polynomial in c_b and in 1/b, at the steps that are fitted."""

from fractions import Fraction
from pathlib import Path

import pandas as pd

from pipeline_lib.artifacts.files import read_provenance, write_table
from pipeline_lib.artifacts.weights import read_weights
from pipeline_lib.data.admissions import read_design
from pipeline_lib.logs import job_log
from pipeline_lib.theory.polynomial import variance_polynomials
from pipeline_lib.theory.tables import polynomial_table

with job_log(snakemake.log[0]):
    design = read_design(Path(snakemake.input.data), snakemake.params.features)
    tables = [
        polynomial_table(
            variance_polynomials(
                design.features,
                design.target,
                read_weights(Path(path))["weights"],
                [Fraction(rate) for rate in snakemake.params.exact_learning_rates],
                snakemake.params.steps,
            ),
            init,
        )
        for init, path in enumerate(snakemake.input.weights)
    ]
    provenance = read_provenance(Path(snakemake.input.data)) | snakemake.params.made_with
    write_table(Path(snakemake.output[0]), pd.concat(tables), "polynomial", provenance)
