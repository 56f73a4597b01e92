"""Draw initial weights of the XLNet classifier."""

import json
from pathlib import Path

from pipeline_lib.logs import job_log
from pipeline_lib.models.initial_weights import write_weights
from pipeline_lib.models.transformer.block import xlnet_weights
from pipeline_lib.seeding import seed_sequence

with job_log(snakemake.log[0]):
    init = int(snakemake.wildcards.init)
    origin = json.loads(Path(snakemake.input.origin).read_text())
    weights = xlnet_weights(
        snakemake.params.model,
        origin["vocabulary"],
        snakemake.params.scale,
        seed_sequence(snakemake.params.seed, "initial_weights", init),
    )
    write_weights(Path(snakemake.output[0]), weights)
