"""Degrees in 1/b and b_0 of linear networks of several depths, and two-layer networks at t = 2."""

from pathlib import Path

from pipeline_lib.artifacts.files import write_table
from pipeline_lib.logs import job_log
from pipeline_lib.theory.network_tables import network_degrees_table, second_step_table
from pipeline_lib.theory.studied_networks import solve_studied, studied_networks

with job_log(snakemake.log[0]):
    params = snakemake.params
    networks = studied_networks(params.seed)
    later = second_step_table(
        {name: networks[name] for name in params.second_step_of}, params.batch_sizes
    )
    degrees = network_degrees_table(solve_studied(params.seed))
    write_table(Path(snakemake.output.degrees), degrees, "network_degrees", params.made_with)
    write_table(Path(snakemake.output.variance), later, "network_theory", params.made_with)
