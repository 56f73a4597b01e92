# What every stage shares: the checked configuration, the roots of the paths, input functions.

import dataclasses
import os
import sys
from pathlib import Path

SOURCE = Path(workflow.basedir) / "src"
sys.path.insert(0, str(SOURCE))
# Jobs find the library here whether or not it is installed in their environment.
inherited = os.getenv("PYTHONPATH")
os.environ.update(
    PYTHONPATH=f"{SOURCE}{os.pathsep}{inherited}" if inherited else str(SOURCE)
)

from pipeline_lib.config import digest, load_study
from pipeline_lib.cost import mem_mb, runtime
from pipeline_lib.data.admissions import FILE_NAMES as ADMISSIONS_FILES
from pipeline_lib.data.fetch import mirror_folders, supplied_digest
from pipeline_lib.errors import PipelineError

try:
    study = load_study(
        config, Path(workflow.basedir) / "workflow/schemas/config.schema.yaml"
    )
    study.require(
        "admission", "admission_sweep", "teacher_student", "mnist", "mnist_inits"
    )
    MIRRORS = mirror_folders(study.data_dir, os.environ)
except PipelineError as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(1)

RESULTS = f"results/{study.scale}"
LOGS = f"logs/{study.scale}"
BENCHMARKS = f"benchmarks/{study.scale}"


def of_kind(kind):
    """The experiments whose model is of this kind."""
    return [name for name, e in study.experiments.items() if e.model.kind == kind]


REGRESSIONS, NETWORKS, PERCEPTRONS = map(
    of_kind, ("linear_regression", "two_layer", "mlp")
)
WITH_THEORY = REGRESSIONS + NETWORKS
WEIGHTS = f"{RESULTS}/weights/experiment={{experiment}}/init={{init}}.safetensors"
BLOCK = f"{RESULTS}/runs/experiment={{experiment}}/init={{init}}/b={{b}}/seed={{seed}}"
FITTED = [name for name in REGRESSIONS if study.experiments[name].polynomial]


# Every training block depends on these, whatever its model.
BLOCK_MODULES = (
    "blocks",
    "replica_moments",
    "seeding",
    "statistics",
    "training",
    "variance",
)


# And every block that is trained in epochs on these.
EPOCH_MODULES = ("blocks_epochs", "epochs", "memory", "models/labelled", "pooling")


def any_of(names):
    """A wildcard constraint: one of ``names``, or nothing if there is none."""
    return "|".join(names) or "(?!)"


def modules(*names):
    """Library modules that decide a stage's numbers: editing one reruns that stage."""
    return [f"src/pipeline_lib/{name}.py" for name in names]


def experiment_of(wildcards):
    """The configuration of the job's experiment."""
    return study.experiments[wildcards.experiment]


def block_digest(wildcards):
    """What a block was made with, as a fingerprint that aggregation checks."""
    return digest({"training": experiment_of(wildcards).training(), "seed": study.seed})


def data_of(wildcards):
    """The table that the job's experiment reads."""
    return f"{RESULTS}/data/{experiment_of(wildcards).model.dataset}.parquet"


def block_mem_mb(wildcards, attempt):
    """The memory that the job's block asks for, in MB."""
    experiment, b = experiment_of(wildcards), int(wildcards.b)
    return mem_mb(experiment, b, attempt, study.compute.threads)


def block_runtime(wildcards, attempt):
    """The time that the job's block asks for, in minutes."""
    experiment, b, compute = experiment_of(wildcards), int(wildcards.b), study.compute
    return runtime(experiment, b, attempt, compute.device, compute.threads)


def training_of(wildcards):
    """What the job's block is trained with, as plain values."""
    return experiment_of(wildcards).training()


def model_of(wildcards):
    """The model of the job's experiment, as plain values."""
    return training_of(wildcards)["model"]


def features_of(wildcards):
    """The features that the job's experiment uses."""
    return experiment_of(wildcards).model.features


def scalar_settings(*unused):
    """The settings of the scalar network, as plain values, but for those that a rule leaves alone."""
    settings = dataclasses.asdict(study.heavy_tails)
    return {name: value for name, value in settings.items() if name not in unused}


def weights_of(wildcards):
    """All initial weights of the job's experiment."""
    return expand(
        WEIGHTS,
        experiment=wildcards.experiment,
        init=range(experiment_of(wildcards).initial_weights.count),
    )


def blocks_of(wildcards):
    """The statistics of every block of the job's experiment."""
    experiment = experiment_of(wildcards)
    return expand(
        f"{BLOCK}/statistics.parquet",
        experiment=wildcards.experiment,
        init=range(experiment.initial_weights.count),
        b=experiment.batch_sizes,
        seed=experiment.blocks,
    )
