"""Exact variances of a linear network of any depth at its initial weights."""

from pathlib import Path

import pandas as pd

from pipeline_lib.artifacts.files import write_table
from pipeline_lib.artifacts.weights import read_weights
from pipeline_lib.logs import job_log
from pipeline_lib.models.linear_network.student import Student
from pipeline_lib.theory.deep_linear_initial import initial_theory_table

with job_log(snakemake.log[0]):
    tables = []
    for init, path in enumerate(snakemake.input.weights):
        student = Student.of(read_weights(Path(path)))
        tables.append(
            initial_theory_table(
                student.weights, student.teacher, snakemake.params.batch_sizes, init
            )
        )
    write_table(Path(snakemake.output[0]), pd.concat(tables), "theory", snakemake.params.made_with)
