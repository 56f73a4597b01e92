# Where everything lies, and the input functions of the rules.

from pipeline_lib.data.admissions import FILE_NAMES as ADMISSIONS_FILES
from pipeline_lib.data.kept import FOLDER, supplied_digest, supplied_since
from pipeline_lib.data.yelp import FILE_NAMES as REVIEW_FILES

RESULTS = f"results/{study.scale}"
PAGES = f"{RESULTS}/pages"
LOGS = f"logs/{study.scale}"
# Beside the results, so that a copy of them is complete: a benchmark that is missing runs a job anew.
BENCHMARKS = f"{RESULTS}/benchmarks"
WEIGHTS = f"{RESULTS}/weights/experiment={{experiment}}/init={{init}}.safetensors"
# One data set a table. Its rows say which block they are of: no key=value in these paths, which
# readers would turn into columns of their own.
BLOCK = f"{RESULTS}/runs/{{table}}/{{{{experiment}}}}/init_{{{{init}}}}/b_{{{{b}}}}/seed_{{{{seed}}}}.parquet"
# State of a running block. No declared output: what a job declares is deleted when it fails.
CHECKPOINT = (
    f"{RESULTS}/checkpoints/{{experiment}}.init={{init}}.b={{b}}.seed={{seed}}.zip"
)

# What the user's code was found to be, and which modules it imported. The latter is kept from run to
# run, and is no declared output either.
CHECKED = f"{RESULTS}/checks/{{experiment}}.{{state}}.json"
IMPORTS = f"{RESULTS}/checks/{{experiment}}.imports.json"


def block_table(kind):
    """The path of a block's table, with wildcards."""
    return BLOCK.format(table=kind)


def theory_of(name):
    """The exact values of an experiment, if there are any."""
    return [f"{RESULTS}/theory/variance/{name}.parquet"] if name in WITH_THEORY else []


def sources_of(wildcards):
    """The tables that training the job's experiment reads."""
    name = wildcards.experiment
    sources = study.experiments[name].model.sources(name)
    return [f"{RESULTS}/{path}" for path in sources.values()]


def weight_sources_of(wildcards):
    """The files that drawing its initial weights reads."""
    name = wildcards.experiment
    sources = study.experiments[name].model.weight_sources(name)
    return [f"{RESULTS}/{path}" for path in sources.values()]


def weights_of(wildcards):
    """All initial weights of the job's experiment."""
    return expand(
        WEIGHTS,
        experiment=wildcards.experiment,
        init=range(experiment_of(wildcards).initial_weights.count),
    )


def blocks_of(wildcards):
    """The statistics of every block of the job's experiment."""
    return tables_of("statistics", wildcards)


def metrics_of(wildcards):
    """The losses and errors of every block of the job's experiment."""
    return tables_of("metrics", wildcards)


def noise_of(wildcards):
    """Both parts of the gradient noise scale of every block of the job's experiment."""
    return tables_of("noise", wildcards)


def block_keys(wildcards):
    """(init, b, seed) of every block of the job's experiment."""
    experiment = experiment_of(wildcards)
    return [
        (init, b, seed)
        for init in range(experiment.initial_weights.count)
        for b in experiment.batch_sizes
        for seed in experiment.blocks
    ]


def tables_of(kind, wildcards):
    """One table of every block of the job's experiment, in the order of ``block_keys``."""
    return [
        block_table(kind).format(
            experiment=wildcards.experiment, init=init, b=b, seed=seed
        )
        for init, b, seed in block_keys(wildcards)
    ]


def supplied_to(name, file_names):
    """What the user supplies to a table of raw data: the digest of a file, or None."""
    supplied = supplied_digest(file_names, MIRRORS)
    return supplied_since(supplied, Path(f"{RESULTS}/data/{name}.json"), FOLDER)


def data_of(wildcards):
    """The table that the job's experiment reads."""
    return sources_of(wildcards)[0]


def data_of_covered(wildcards):
    """The table of the job's regression, if it is one whose exact theory holds for it."""
    name = wildcards.experiment
    if name not in DRAWN_FRESH:
        reason = (
            uncovered(name) or f"{study.experiments[name].sampled} mini-batches are not"
        )
        stop(
            f"experiments.{name}: no exact limits or losses on held-out rows: {reason}; covered are "
            f"plain SGD and mini-batches drawn fresh, here {', '.join(DRAWN_FRESH)}"
        )
    return data_of(wildcards)
