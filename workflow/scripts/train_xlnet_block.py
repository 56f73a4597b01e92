"""Train one block of replicas of the XLNet classifier; write its statistics and metrics."""

from pathlib import Path

from pipeline_lib.artifacts.files import read_provenance, write_table
from pipeline_lib.data.reviews_table import read_tokens
from pipeline_lib.logs import job_log
from pipeline_lib.models.initial_weights import read_weights
from pipeline_lib.models.linear_regression.block import resolve_device
from pipeline_lib.models.transformer.block import xlnet_block
from pipeline_lib.seeding import batch_stream, seed_sequence
from pipeline_lib.training.adam_epochs import AdamSettings
from pipeline_lib.training.checkpoint import block_checkpoint, depends_on

with job_log(snakemake.log[0]):
    block = {name: int(snakemake.wildcards[name]) for name in ("init", "b", "seed")}
    experiment, training = snakemake.wildcards.experiment, snakemake.params.training
    optimizer, rate = training["optimizer"], training["learning_rate"]
    device = resolve_device(snakemake.params.device)
    reviews = Path(snakemake.input.data)
    sets = {split: read_tokens(reviews, split) for split in ("training", "validation")}
    origin = read_provenance(reviews)
    provenance = {
        **block,
        "source": origin["source"],
        "data_sha256": origin["data_sha256"],
        "n_rows": len(sets["training"].labels),
        "experiment": experiment,
        "config": snakemake.params.config_digest,
        "backend": f"torch {device}",
    }
    with block_checkpoint(
        Path(snakemake.params.checkpoint),
        depends_on(
            block,
            provenance["backend"],
            snakemake.params.config_digest,
            snakemake.params.evaluated_epochs,
            snakemake.params.allow_tf32,
        )
        | {"code": snakemake.params.code},
        {
            "data": [snakemake.input.data],
            "weights": [snakemake.input.weights],
        },
        snakemake.params.checkpoint_every_s,
    ) as checkpoint:
        result = xlnet_block(
            read_weights(Path(snakemake.input.weights)),
            training["model"],
            sets,
            rate["initial"],
            rate["warmup"],
            AdamSettings(
                optimizer["weight_decay"],
                eps=optimizer["epsilon"],
                max_norm=optimizer["clip_norm"],
            ),
            block["b"],
            training["epochs"],
            training["runs_per_block"],
            batch_stream(snakemake.params.seed, experiment, *block.values()),
            seed_sequence(snakemake.params.seed, "dropout", experiment, *block.values()),
            training["recorded_steps"],
            snakemake.params.evaluated_epochs,
            training["last_batch"],
            device,
            snakemake.params.allow_tf32,
            checkpoint,
        )
        for kind in ("divergence", "metrics", "statistics"):
            write_table(Path(snakemake.output[kind]), getattr(result, kind), kind, provenance)
