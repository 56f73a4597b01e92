"""Exact variances of the two-layer linear network at t = 0 and t = 1."""

from pathlib import Path

import pandas as pd

from pipeline_lib.artifacts.files import write_table
from pipeline_lib.artifacts.weights import read_weights
from pipeline_lib.logs import job_log
from pipeline_lib.theory.tables import two_layer_theory_table
from pipeline_lib.theory.two_layer import first_step_variance, initial_variance

with job_log(snakemake.log[0]):
    tables = []
    for init, path in enumerate(snakemake.input.weights):
        weights = read_weights(Path(path))
        target = weights["teacher_W2"] @ weights["teacher_W1"]
        student = (weights["W1"], weights["W2"], target)
        variances = [
            initial_variance(*student),
            first_step_variance(*student, snakemake.params.learning_rate),
        ]
        tables.append(two_layer_theory_table(variances, snakemake.params.batch_sizes, init))
    write_table(Path(snakemake.output[0]), pd.concat(tables), "theory", snakemake.params.made_with)
