"""Variance of the gradient under four ways of drawing mini-batches, linear regression."""

from pathlib import Path

from pipeline_lib.artifacts.files import read_provenance, write_table
from pipeline_lib.artifacts.weights import read_weights
from pipeline_lib.data.admissions import read_design
from pipeline_lib.logs import job_log
from pipeline_lib.theory.regression_moments import RegressionProblem
from pipeline_lib.theory.scheme_tables import SchemeRuns, sampling_schemes_table

with job_log(snakemake.log[0]):
    params = snakemake.params
    design = read_design(Path(snakemake.input.data), params.features)
    weights = read_weights(Path(snakemake.input.weights))["weights"]
    table = sampling_schemes_table(
        RegressionProblem(design.features, design.target, weights),
        params.learning_rates,
        params.batch_sizes,
        SchemeRuns(params.runs, params.seed, params.made_with["confidence_level"]),
    )
    provenance = read_provenance(Path(snakemake.input.data)) | params.made_with
    write_table(Path(snakemake.output[0]), table, "sampling_schemes", provenance)
