"""Train one block of replicas of linear regression and write its statistics."""

from pathlib import Path

import numpy as np

from pipeline_lib.artifacts.files import read_provenance, write_table
from pipeline_lib.data.admissions import read_design
from pipeline_lib.logs import job_log
from pipeline_lib.models.initial_weights import read_weights
from pipeline_lib.models.linear_regression.block import regression_block, resolve_device
from pipeline_lib.seeding import batch_stream
from pipeline_lib.training.checkpoint import block_checkpoint, depends_on

with job_log(snakemake.log[0]):
    block = {name: int(snakemake.wildcards[name]) for name in ("init", "b", "seed")}
    design = read_design(Path(snakemake.input.data), snakemake.params.features)
    # On the CPU the compiled kernel is far faster than torch; the GPU needs torch.
    device = resolve_device(snakemake.params.device)
    backend = "torch" if device == "cuda" else "numba"
    provenance = {
        **read_provenance(Path(snakemake.input.data)),
        **block,
        "experiment": snakemake.wildcards.experiment,
        "config": snakemake.params.config_digest,
        "backend": f"{backend} {device}",
    }
    with block_checkpoint(
        Path(snakemake.params.checkpoint),
        depends_on(
            block,
            provenance["backend"],
            snakemake.params.config_digest,
            snakemake.params.learning_rates,
        )
        | {"code": snakemake.params.code},
        {
            "data": [snakemake.input.data],
            "weights": [snakemake.input.weights],
        },
        snakemake.params.checkpoint_every_s,
    ) as checkpoint:
        result = regression_block(
            design.features,
            design.target,
            read_weights(Path(snakemake.input.weights))["weights"],
            np.array(snakemake.params.learning_rates),
            block["b"],
            snakemake.params.n_replicas,
            batch_stream(snakemake.params.seed, snakemake.wildcards.experiment, *block.values()),
            backend,
            snakemake.threads,
            checkpoint,
        )
        for kind in ("divergence", "statistics"):
            write_table(Path(snakemake.output[kind]), getattr(result, kind), kind, provenance)
