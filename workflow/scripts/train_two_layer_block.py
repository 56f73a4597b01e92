"""Train one block of replicas of the two-layer linear network and write its statistics."""

from pathlib import Path

import numpy as np

from pipeline_lib.artifacts.files import write_table
from pipeline_lib.logs import job_log
from pipeline_lib.models.initial_weights import read_weights
from pipeline_lib.models.linear_network.block import two_layer_block
from pipeline_lib.models.linear_regression.block import resolve_device
from pipeline_lib.seeding import batch_stream
from pipeline_lib.training.checkpoint import block_checkpoint, depends_on

with job_log(snakemake.log[0]):
    block = {name: int(snakemake.wildcards[name]) for name in ("init", "b", "seed")}
    weights = read_weights(Path(snakemake.input.weights))
    device = resolve_device(snakemake.params.device)
    provenance = {
        **block,
        "source": "online Gaussian samples",
        "data_sha256": None,
        "n_rows": None,
        "experiment": snakemake.wildcards.experiment,
        "config": snakemake.params.config_digest,
        "backend": f"torch {device}",
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
        {"weights": [snakemake.input.weights]},
        snakemake.params.checkpoint_every_s,
    ) as checkpoint:
        result = two_layer_block(
            weights["W1"],
            weights["W2"],
            weights["teacher_W2"] @ weights["teacher_W1"],
            np.array(snakemake.params.learning_rates),
            block["b"],
            snakemake.params.n_replicas,
            batch_stream(snakemake.params.seed, snakemake.wildcards.experiment, *block.values()),
            replicas_at_once=snakemake.params.model["replicas_at_once"],
            threads=snakemake.threads,
            dtype=snakemake.params.model["dtype"],
            device=device,
            checkpoint=checkpoint,
        )
        for kind in ("divergence", "statistics"):
            write_table(Path(snakemake.output[kind]), getattr(result, kind), kind, provenance)
