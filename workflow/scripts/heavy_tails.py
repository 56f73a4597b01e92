"""Estimates of the scalar network's variances beside the exact values."""

from fractions import Fraction
from pathlib import Path

from pipeline_lib.artifacts.files import write_table
from pipeline_lib.logs import job_log
from pipeline_lib.theory.heavy_tails import ScalarTraining
from pipeline_lib.theory.scalar_network import ScalarNetwork
from pipeline_lib.theory.scalar_tables import heavy_tails_table, repeats_table

with job_log(snakemake.log[0]):
    settings = snakemake.params.settings
    network = ScalarNetwork(*(Fraction(settings[name]) for name in ("w1", "w2", "target")))
    last, sizes = settings["max_step"], settings["batch_sizes"]
    rates = [Fraction(settings["learning_rate"])] * last
    seed, made_with = snakemake.params.seed, snakemake.params.made_with
    level, provenance = made_with["confidence_level"], settings | made_with
    training, counts = ScalarTraining(network, rates, last), settings["run_counts"]
    estimates = heavy_tails_table(training, sizes, counts, seed, level)
    repeats = repeats_table(training, sizes, counts[0], settings["repeats"], seed, level)
    write_table(Path(snakemake.output.estimates), estimates, "heavy_tails", provenance)
    write_table(Path(snakemake.output.repeats), repeats, "heavy_tails_repeats", provenance)
