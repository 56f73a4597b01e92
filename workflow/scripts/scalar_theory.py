"""Exact polynomials, degrees and b_0 of the scalar two-layer network."""

from fractions import Fraction
from pathlib import Path

from pipeline_lib.artifacts.files import write_table
from pipeline_lib.logs import job_log
from pipeline_lib.theory.scalar_network import ScalarNetwork, variances
from pipeline_lib.theory.scalar_tables import coefficient_table, degree_rows, exact_variance_table

with job_log(snakemake.log[0]):
    settings = snakemake.params.settings
    network = ScalarNetwork(*(Fraction(settings[name]) for name in ("w1", "w2", "target")))
    last = settings["polynomial_max_step"]
    exact = variances(network, [Fraction(settings["learning_rate"])] * last, last)
    tables = {
        "scalar_polynomial": coefficient_table(exact),
        "scalar_degrees": degree_rows(exact),
        "scalar_theory": exact_variance_table(exact, settings["batch_sizes"]),
    }
    for path, (kind, table) in zip(snakemake.output, tables.items(), strict=True):
        write_table(Path(path), table, kind, settings | snakemake.params.made_with)
