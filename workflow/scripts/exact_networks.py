"""Degrees in 1/b and b_0 of linear networks of several depths, and two-layer networks at t = 2."""

from pathlib import Path

from pipeline_lib.artifacts.files import write_table
from pipeline_lib.logs import job_log
from pipeline_lib.theory.network_tables import network_degrees_table, second_step_table
from pipeline_lib.theory.studied_networks import solve_studied, studied_networks

with job_log(snakemake.log[0]):
    seed, shown = snakemake.params.seed, snakemake.params.second_step_of
    networks = studied_networks(seed)
    later = second_step_table(
        {name: networks[name] for name in shown}, snakemake.params.batch_sizes
    )
    degrees = network_degrees_table(solve_studied(seed))
    write_table(Path(snakemake.output.degrees), degrees, "network_degrees")
    write_table(Path(snakemake.output.variance), later, "network_theory")
