"""A network whose variance rises from b = 1 to b = 2: exact values, and Monte Carlo beside them."""

from pathlib import Path

from pipeline_lib.artifacts.files import write_table
from pipeline_lib.logs import job_log
from pipeline_lib.theory.counterexample import counterexample_table

with job_log(snakemake.log[0]):
    params = snakemake.params
    table = counterexample_table(
        params.batch_sizes,
        params.simulated,
        params.runs,
        params.seed,
        params.made_with["confidence_level"],
    )
    write_table(Path(snakemake.output[0]), table, "b0_counterexample", params.made_with)
