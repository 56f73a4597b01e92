"""Expected training and test losses of linear regression, with and without momentum."""

from pathlib import Path

import numpy as np

from pipeline_lib.artifacts.files import read_provenance, write_table
from pipeline_lib.artifacts.weights import read_weights
from pipeline_lib.data.admissions import read_design
from pipeline_lib.logs import job_log
from pipeline_lib.theory.regression_fourth import log_steps
from pipeline_lib.theory.regression_moments import Optimiser, RegressionProblem
from pipeline_lib.theory.regression_tables import Training, losses_table, split_rows

with job_log(snakemake.log[0]):
    params = snakemake.params
    design = read_design(Path(snakemake.input.data), params.features)
    training, test = split_rows(design.features, design.target)
    weights = read_weights(Path(snakemake.input.weights))["weights"]
    problem = RegressionProblem(training.features, training.target, weights)
    rates = np.asarray(params.learning_rates)
    # the rate of momentum is a tenth, for steps that are as long in the end
    heavy_ball = Optimiser(params.momentum, params.weight_decay)
    trainings = {
        "sgd": Training(rates, Optimiser()),
        "momentum": Training((1 - params.momentum) * rates, heavy_ball),
    }
    sizes = np.arange(1, problem.n + 1)
    table = losses_table(problem, test, trainings, sizes, log_steps(len(rates)))
    provenance = read_provenance(Path(snakemake.input.data)) | params.made_with
    write_table(Path(snakemake.output[0]), table, "test_loss", provenance)
