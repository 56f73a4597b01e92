"""Make a module of the user's own, check it with its loss and data, write its initial weights."""

from pathlib import Path

from pipeline_lib.imports import load_object
from pipeline_lib.logs import job_log
from pipeline_lib.models.initial_weights import write_weights
from pipeline_lib.models.module.own_module import check_fit, load_sets, make_module, weights_of

with job_log(snakemake.log[0]):
    model, arguments = snakemake.params.model, snakemake.params.model["arguments"]
    make_model, loss, make_dataset = (
        load_object(f"config: experiments.{snakemake.wildcards.experiment}.model.{key}", model[key])
        for key in ("make_model", "loss", "dataset")
    )
    module = make_module(
        make_model,
        arguments.get("make_model", {}),
        model["dtype"],
        snakemake.params.seed,
        int(snakemake.wildcards.init),
    )
    sets = load_sets(make_dataset, arguments.get("dataset", {}), model["dtype"])
    check_fit(module, loss, sets, snakemake.params.largest_batch)
    write_weights(Path(snakemake.output[0]), weights_of(module))
