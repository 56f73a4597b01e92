"""Train one block of replicas of the fully connected network; write its statistics and metrics."""

from pathlib import Path

from pipeline_lib.artifacts.files import read_provenance, read_table, write_table
from pipeline_lib.data.mnist_table import examples
from pipeline_lib.logs import job_log
from pipeline_lib.models.initial_weights import read_weights
from pipeline_lib.models.linear_regression.block import resolve_device
from pipeline_lib.models.perceptron.block import mlp_block
from pipeline_lib.seeding import batch_stream
from pipeline_lib.training.checkpoint import block_checkpoint, depends_on

with job_log(snakemake.log[0]):
    block = {name: int(snakemake.wildcards[name]) for name in ("init", "b", "seed")}
    training, model = snakemake.params.training, snakemake.params.training["model"]
    device = resolve_device(snakemake.params.device)
    images = read_table(Path(snakemake.input.data), "mnist")
    distorted = read_table(Path(snakemake.input.distorted), "mnist")
    subset = {"seed": model["subset_seed"], "dtype": model["dtype"]}
    n_training, n_validation = model["training_examples"], model["validation_examples"]
    origin = read_provenance(Path(snakemake.input.data))
    provenance = {
        **block,
        "source": origin["source"],
        "data_sha256": origin["data_sha256"],
        "n_rows": n_training,
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
            snakemake.params.evaluated_epochs,
            snakemake.params.allow_tf32,
        )
        | {"code": snakemake.params.code},
        {
            "data": [snakemake.input.data, snakemake.input.distorted],
            "weights": [snakemake.input.weights],
        },
        snakemake.params.checkpoint_every_s,
    ) as checkpoint:
        result = mlp_block(
            read_weights(Path(snakemake.input.weights)),
            {
                "training": examples(images, "training", n_training, **subset),
                "validation": examples(images, "validation", n_validation, **subset),
                "distorted": examples(distorted, "distorted", n_validation, **subset),
            },
            training["learning_rate"]["initial"],
            block["b"],
            training["epochs"],
            training["runs_per_block"],
            batch_stream(snakemake.params.seed, snakemake.wildcards.experiment, *block.values()),
            training["recorded_steps"],
            snakemake.params.evaluated_epochs,
            training["last_batch"],
            device,
            snakemake.threads,
            snakemake.params.allow_tf32,
            checkpoint,
        )
        for kind in ("divergence", "metrics", "statistics"):
            write_table(Path(snakemake.output[kind]), getattr(result, kind), kind, provenance)
