"""Draw initial weights of the fully connected network, with biases of 0."""

from pathlib import Path

from pipeline_lib.logs import job_log
from pipeline_lib.models.initial_weights import mlp_weights, write_weights

with job_log(snakemake.log[0]):
    weights = mlp_weights(
        snakemake.params.model["layers"],
        snakemake.params.scale,
        snakemake.params.seed,
        int(snakemake.wildcards.init),
    )
    write_weights(Path(snakemake.output[0]), weights)
