"""Draw the initial weights of linear regression: one for each feature and the intercept."""

from pathlib import Path

from pipeline_lib.data.admissions import read_design
from pipeline_lib.logs import job_log
from pipeline_lib.models.initial_weights import gaussian_weights, write_weights

with job_log(snakemake.log[0]):
    design = read_design(Path(snakemake.input.data), snakemake.params.features)
    weights = gaussian_weights(
        {"weights": (len(design.names),)},
        snakemake.params.scale,
        snakemake.params.seed,
        int(snakemake.wildcards.init),
    )
    write_weights(Path(snakemake.output[0]), weights)
