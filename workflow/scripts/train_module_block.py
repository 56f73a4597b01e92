"""Train one block of replicas of a module of the user's own; write its statistics and metrics."""

from pathlib import Path

from pipeline_lib.artifacts.files import write_table
from pipeline_lib.imports import load_object
from pipeline_lib.logs import job_log
from pipeline_lib.models.initial_weights import read_weights
from pipeline_lib.models.linear_regression.block import resolve_device
from pipeline_lib.models.module.block import module_block
from pipeline_lib.models.module.own_module import load_sets, load_weights, make_module, sets_digest
from pipeline_lib.seeding import batch_stream
from pipeline_lib.study.settings import LearningRate
from pipeline_lib.training.checkpoint import block_checkpoint, depends_on

with job_log(snakemake.log[0]):
    block = {name: int(snakemake.wildcards[name]) for name in ("init", "b", "seed")}
    training, model = snakemake.params.training, snakemake.params.training["model"]
    arguments = model["arguments"]
    make_model, loss, make_dataset = (
        load_object(f"config: experiments.{snakemake.wildcards.experiment}.model.{key}", model[key])
        for key in ("make_model", "loss", "dataset")
    )
    device = resolve_device(snakemake.params.device)
    # Made again for what is not among the weights, then given the weights that all runs share.
    module = make_module(
        make_model,
        arguments.get("make_model", {}),
        model["dtype"],
        training["initial_weights"]["seed"],
        block["init"],
    )
    load_weights(module, read_weights(Path(snakemake.input.weights)))
    sets = load_sets(make_dataset, arguments.get("dataset", {}), model["dtype"])
    optimizer = training["optimizer"] or {"kind": "sgd", "epsilon": 1e-8}
    provenance = {
        **block,
        "source": model["dataset"],
        "data_sha256": sets_digest(sets),
        "n_rows": len(sets["training"][0]),
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
        | {"data": provenance["data_sha256"], "code": snakemake.params.code},
        {
            "weights": [snakemake.input.weights],
            "own code": snakemake.input.own,
        },
        snakemake.params.checkpoint_every_s,
    ) as checkpoint:
        result = module_block(
            module,
            loss,
            sets,
            LearningRate(**training["learning_rate"]),
            block["b"],
            training["epochs"],
            training["runs_per_block"],
            batch_stream(snakemake.params.seed, snakemake.wildcards.experiment, *block.values()),
            training["recorded_steps"],
            snakemake.params.evaluated_epochs,
            training["last_batch"],
            optimizer["kind"],
            optimizer["epsilon"],
            device,
            snakemake.threads,
            snakemake.params.allow_tf32,
            checkpoint,
        )
        for kind in ("divergence", "metrics", "statistics"):
            write_table(Path(snakemake.output[kind]), getattr(result, kind), kind, provenance)
