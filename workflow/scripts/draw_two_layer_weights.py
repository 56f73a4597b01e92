"""Draw the initial weights of the student and the weights of the teacher it learns from."""

from pathlib import Path

from pipeline_lib.logs import job_log
from pipeline_lib.models.initial_weights import network_weights, write_weights

with job_log(snakemake.log[0]):
    model = snakemake.params.model
    student = network_weights(
        model["layers"],
        snakemake.params.scale,
        snakemake.params.seed,
        int(snakemake.wildcards.init),
    )
    teacher = network_weights(model["layers"], model["teacher_scale"], model["teacher_seed"], 0)
    named = {f"teacher_{name}": weight for name, weight in teacher.items()}
    write_weights(Path(snakemake.output[0]), student | named)
