# What every stage shares: the checked configuration, the roots of the paths, input functions.

import atexit
import dataclasses
import json
import re
from functools import cache
from hashlib import sha256
from types import SimpleNamespace

from pipeline_lib.study.code.digests import Digests
from pipeline_lib.study.code.imported import edited
from pipeline_lib.study.code.search import Library
from pipeline_lib.artifacts.checkpoint import is_stale
from pipeline_lib.artifacts.digest import digest
from pipeline_lib.claims import extent, setting
from pipeline_lib.models import MODELS
from pipeline_lib.study.block import block_digest
from pipeline_lib.imports import refuse_shadows
from pipeline_lib.logs import errors_told
from pipeline_lib.study.config import choose_own, load_study
from pipeline_lib.study.cost import asked_for
from pipeline_lib.study.experiment import check_known
from pipeline_lib.study.layers import apply_changes
from pipeline_lib.study.provenance import (
    as_applied,
    made_with,
    network_settings,
    of_network,
    of_study,
)
from pipeline_lib.data.admissions import FILE_NAMES as ADMISSIONS_FILES
from pipeline_lib.data.fetch import mirror_folders
from pipeline_lib.data.kept import FOLDER, supplied_digest, supplied_since
from pipeline_lib.data.yelp import FILE_NAMES as REVIEW_FILES
from pipeline_lib.training.cards import cards_here
from pipeline_lib.training.device import asks_for_gpu, check_device, granted_gpu
from pipeline_lib.revision import revision

# The paper's experiments, which its figures are drawn from. All others are the user's own.
PAPERS = FILES[0].values["experiments"]
# What the paper says of them.
IN_THE_PAPER = {
    "admission": extent.FIGURE_1A,
    "admission_sweep": extent.FIGURE_1B,
    "teacher_student": extent.FIGURE_2,
    "mnist": setting.FIGURE_4,
    "mnist_inits": setting.FIGURE_3A,
    "yelp": setting.FIGURE_5,
}

try:
    refuse_shadows(beside)
    # Jobs read the configuration as it is applied here.
    config.update(apply_changes(FILES[0].values, CHANGES))
    choose_own(config, PAPERS)
    study = load_study(config, MODELS, CHANGES)
    study.require(*PAPERS)
    study.require_fit("admission_sweep")
    for name in study.chosen:
        study.experiments[name].own_files(OWN_FOLDERS)
    MIRRORS = mirror_folders(study.data_dir, os.environ, "data_dir" in CHANGES)
except PipelineError as error:
    stop(located(str(error), FILES, workflow.config_settings.config))

RESULTS = f"results/{study.scale}"
PAGES = f"{RESULTS}/pages"
LOGS = f"logs/{study.scale}"
# Beside the results, so that a copy of them is complete: a benchmark that is missing runs a job anew.
BENCHMARKS = f"{RESULTS}/benchmarks"
SCRIPTS = CHECKOUT / "workflow/scripts"
DIGESTS = Digests(
    Library(SOURCE, lock=CHECKOUT / "envs/requirements.lock"),
    SCRIPTS,
    Path(".snakemake/code_digests.json"),
)


def uncovered(name):
    """Why an experiment has no exact values of the variance, or None if it has."""
    return study.experiments[name].model.uncovered(study.experiments[name])


def theory_of(name):
    """The exact values of an experiment, if there are any."""
    return [f"{RESULTS}/theory/variance/{name}.parquet"] if name in WITH_THEORY else []


def updates_of(name):
    """The optimiser of an experiment and how it clips gradients, in words."""
    experiment = study.experiments[name]
    optimizer, clipping = experiment.optimizer, experiment.clipping
    clipped = None
    if clipping:
        what = "each parameter tensor's" if clipping.of == "tensor" else "the whole"
        clipped = f"{what} gradient is clipped at norm {clipping.norm:g}"
    return {"optimizer": optimizer.torch_name, "clipping": clipped}


def chosen(names):
    """Those of ``names`` that are built unless a target is named."""
    return [name for name in names if name in study.chosen]


REGRESSIONS, NETWORKS, TRANSFORMERS = map(
    study.of_kind, ("linear_regression", "linear_network", "transformer")
)
# Those that the exact theory covers. All others have estimates alone.
WITH_THEORY = [name for name in REGRESSIONS + NETWORKS if not uncovered(name)]
# Regressions whose theory knows fourth moments: mini-batches drawn without replacement, afresh.
DRAWN_FRESH = [
    name
    for name in REGRESSIONS
    if name in WITH_THEORY and study.experiments[name].sampled == "fresh"
]
# Linear networks whose first step is covered, too.
TWO_LAYERS = [
    name
    for name in NETWORKS
    if study.experiments[name].model.exact_steps(study.experiments[name]) > 1
]
# Where the gradient noise scale comes from, theory or runs, of the experiments that have one.
NOISE_SCALES = {
    name: source
    for name, e in study.experiments.items()
    if (source := e.model.noise_scale(e)) is not None
}
IN_EPOCHS = [name for name, e in study.experiments.items() if e.model.in_epochs]
EVALUATED = [
    name for name in IN_EPOCHS if study.experiments[name].evaluate_every != "never"
]
# Experiments whose variances have two estimators.
WITH_AVERAGES = [
    name
    for name in study.experiments
    if name in WITH_THEORY
    or name in IN_EPOCHS
    and study.experiments[name].rao_blackwell is not None
]
DRAWN_BY_OWN_CODE = [
    name for name, e in study.experiments.items() if e.model.draws_with_own_code
]
OWN = [name for name in study.experiments if name not in PAPERS]
# Figures, and the experiments without which they are left out.
DRAWN_FROM = {
    "fig1a": ["admission"],
    "fig1b": ["admission_sweep"],
    "fig2a": ["teacher_student"],
    "fig2b": ["teacher_student"],
    "fig3a": ["mnist_inits"],
    **dict.fromkeys(["fig3b", "fig4a", "fig4b", "fig6"], ["mnist"]),
    **dict.fromkeys(["fig5a", "fig5b", "fig5c"], ["yelp"]),
    **dict.fromkeys(
        [
            "heavy_tails",
            "distortion",
            "b0_counterexample",
            "equal_epochs",
            "sampling_schemes",
        ],
        study.experiments,
    ),  # of the study as a whole
}
# Those of losses and errors, and how often the experiment evaluates them.
SHOWS_LOSSES = {
    "fig3b": "distorted_every",
    **dict.fromkeys(["fig4a", "fig4b", "fig5b", "fig5c"], "evaluate_every"),
}


def is_drawn(figure, needed):
    """Whether what a figure needs is built, and evaluated if it shows losses."""
    often = SHOWS_LOSSES.get(figure)
    return chosen(needed) == list(needed) and not any(
        often and getattr(study.experiments[name], often) == "never" for name in needed
    )


FIGURES = [name for name, needed in DRAWN_FROM.items() if is_drawn(name, needed)]
OWN_FIGURES = expand(
    [f"{RESULTS}/figures/{{experiment}}_variance.{{format}}"]
    + [f"{RESULTS}/figures/{{experiment}}_tensors.{{format}}"],
    experiment=chosen(OWN),
    format=["svg", "png"],
) + expand(
    f"{RESULTS}/figures/{{experiment}}_losses.{{format}}",
    experiment=[name for name in chosen(OWN) if name in EVALUATED],
    format=["svg", "png"],
)
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
FITTED = [name for name in REGRESSIONS if study.experiments[name].polynomial]


def any_of(names):
    """A wildcard constraint: one of ``names``, or nothing if there is none."""
    return "|".join(names) or "(?!)"


def is_script_of_this_study(rule):
    """Whether a rule runs a script of this checkout, as rules around a module of it do not."""
    return rule.script is not None and (SCRIPTS / Path(rule.script).name).is_file()


def block_table(kind):
    """The path of a block's table, with wildcards."""
    return BLOCK.format(table=kind)


def code_of(script):
    """A parameter of every rule: the digest of the code behind its script.

    Snakemake compares it as it does any parameter, so that an edit that may change a result runs
    the job again, and a comment or a new modification time does not.
    """

    def code(wildcards):
        named = wildcards.get("experiment")
        experiments = (
            [study.experiments[named]] if named else study.experiments.values()
        )
        models = [experiment.model for experiment in experiments]
        kinds = {type(model) for model in models if model.kind in MODELS}
        return DIGESTS.of(
            Path(script).name,
            [f"{kind.__module__}:{kind.__name__}" for kind in kinds],
            [path for model in models for path in kind_files_of(model)],
            edited_imports(named) if named else [],
        )

    return code


def kind_files_of(model):
    """The files of a kind of model that is none of the library's."""
    return [] if model.kind in MODELS else model.own_files(OWN_FOLDERS)


@cache
def edited_imports(name):
    """Modules that the code of an experiment imported in some way and that were edited since."""
    record = Path(IMPORTS.format(experiment=name))
    found = edited(record, OWN_FOLDERS)
    return [f"{module}:{digest[:16]}" for module, digest in sorted(found.items())]


def experiment_of(wildcards):
    """The configuration of the job's experiment."""
    return study.experiments[wildcards.experiment]


def digest_of(wildcards):
    """What a block was made with, as a fingerprint that aggregation checks."""
    return digest_of_blocks(wildcards.experiment)


@cache
def digest_of_blocks(name):
    """The same for all blocks of an experiment, of which there may be thousands."""
    return block_digest(study.experiments[name], study.seed)


def drawn_of(wildcards):
    """What the initial weights of the job's experiment depend on beside data and code."""
    experiment = experiment_of(wildcards)
    model = dataclasses.asdict(experiment.model)
    return {
        "model": {name: model[name] for name in experiment.model.weights_depend_on},
        "seed": experiment.initial_weights.seed,
        "scale": experiment.initial_weights.scale,
    }


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


def own_files_of(wildcards):
    """The user's own files that its results depend on."""
    return list(own_files(wildcards.experiment))


@cache
def own_files(name):
    """The user's own files that the results of an experiment depend on."""
    here = Path.cwd()
    return [
        str(path.relative_to(here) if path.is_relative_to(here) else path)
        for path in study.experiments[name].own_files(OWN_FOLDERS)
    ]


@cache
def state_of(name):
    """A fingerprint of the user's own code of an experiment, of all that its weights depend on."""
    wildcards = SimpleNamespace(experiment=name)
    files = [Path(path) for path in own_files(name)]
    code = [
        [path.name, sha256(path.read_bytes()).hexdigest()]
        for path in files
        if path.suffix == ".py"
    ]
    told = {"drawn": drawn_of(wildcards), "code": sorted(code)}
    return digest(told | {"edited": edited_imports(name)})[:8]


def checked_of(wildcards):
    """What says that the user's own code of the job's experiment can be trained, if it has some."""
    name = wildcards.experiment
    if name not in DRAWN_BY_OWN_CODE:
        return []
    return CHECKED.format(experiment=name, state=state_of(name))


def examples_of(name):
    """How many training examples the user's data of an experiment have, if they were seen before."""
    path = Path(CHECKED.format(experiment=name, state=state_of(name)))
    if name not in DRAWN_BY_OWN_CODE or not path.exists():
        return None
    return json.loads(path.read_text())["training_examples"]


def reviews_of(wildcards):
    """What the reviews of the job's experiment are prepared with."""
    model = experiment_of(wildcards).model
    names = (
        "training_examples",
        "validation_examples",
        "subset_seed",
        "vocabulary",
        "tokens",
    )
    return {name: getattr(model, name) for name in names}


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


def gets_gpu(rulename):
    """Whether the profile or `--set-resources` grants a GPU to every job of this rule."""
    granted = workflow.resource_settings.overwrite_resources.get(rulename, {})
    return any(asks_for_gpu(name, granted[name].raw) for name in granted.keys())


def block_mem_mb(wildcards, attempt, rulename):
    """The memory of the host that the job's block asks for, in MB."""
    return block_asks_for("mem_mb", wildcards, attempt, rulename)


def block_runtime(wildcards, attempt, rulename):
    """The time that the job's block asks for, in minutes."""
    return block_asks_for("runtime", wildcards, attempt, rulename)


def block_asks_for(resource, wildcards, attempt, rulename):
    """What the job's block asks a queue for.

    On `device: auto` it is that of a GPU where the job gets one and its kind takes it, and else
    that of CPU cores.
    """
    experiment, b, threads = (
        experiment_of(wildcards),
        int(wildcards.b),
        study.compute.threads,
    )
    device = experiment.model.device_wanted(study.compute.device)
    if device != "cpu" and gets_gpu(rulename):
        device = "cuda"
    return asked_for(experiment, b, attempt, device, threads)[resource]


def block_gpu_card(wildcards):
    """Whether the job holds one of the GPUs of this machine: 1 or 0."""
    wanted = experiment_of(wildcards).model.device_wanted(study.compute.device)
    return int(workflow.local_exec and wanted != "cpu" and len(GPU_CARDS) > 0)


def device_of_job(job):
    """The device that a training job wants, and what gives it a GPU."""
    wanted = experiment_of(job.wildcards).model.device_wanted(study.compute.device)
    return wanted, granted_gpu(dict(job.resources.items()), os.environ)


# As many GPU jobs at once as there are GPUs, where jobs run here; each takes one of its own.
GPU_CARDS = cards_here(os.environ)
if workflow.local_exec and GPU_CARDS and "gpu_card" not in workflow.global_resources:
    workflow.register_resource("gpu_card", len(GPU_CARDS))


def features_of(wildcards):
    """The features that the job's experiment uses."""
    return experiment_of(wildcards).model.features


def made_with_of(wildcards):
    """What the tables of the job's experiment are made with, which their readers check."""
    return made_with(study, wildcards.experiment)


def of_scalar_network(simulated):
    """Parameters of rules on the scalar network: its settings, and what their tables say of them."""
    settings = network_settings(study, simulated)
    return {"settings": settings, "made_with": of_network(study, settings)}


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


def scale_of(name):
    """Runs, epochs and training examples of an experiment, here and in the paper."""
    here, paper = study.experiments[name], IN_THE_PAPER[name]
    return {
        "runs": here.runs,
        "paper_runs": paper.runs,
        "epochs": here.epochs,
        "paper_epochs": paper.epochs,
        "examples": here.model.training_examples,
        "paper_examples": paper.problem["training_examples"],
        "averaged": here.rao_blackwell is not None,
    }


def is_papers_problem(name):
    """Whether an experiment has the paper's model and training; which data, its table says."""
    stated = IN_THE_PAPER[name].problem
    here = setting.problem_of(study.experiments[name], reviews=stated.get("reviews"))
    return not setting.departures(here, stated)


def length_of(wildcards):
    """How long the runs of the job's experiment are, in words."""
    experiment = experiment_of(wildcards)
    unit = "epochs" if experiment.model.in_epochs else "iterations"
    return {unit: getattr(experiment, unit)}


def commit(wildcards):
    """The commit that a page states, looked up only when a page is asked for."""
    return revision(CHECKOUT)


def figure(name, category, caption=None, label=None):
    """The two files of a figure, as the report shows them.

    Caption and label are those of its name (`fig1a.rst`, `1a`) unless they are given.
    """
    return report(
        multiext(f"{RESULTS}/figures/{name}", ".svg", ".png"),
        caption=f"../report/{caption or name}.rst",
        category=category,
        labels={"figure": label or name.removeprefix("fig")},
    )


def reviews_used(wildcards, input):
    """Name of the reviews, and in a sentence what they are. Known once the data are built."""
    origin = json.loads(Path(input.origin).read_text())
    return {"name": origin["name"], "note": origin["note"]}


def reviews_category(wildcards, params):
    """The part of the report on XLNet, named by the reviews that it was trained on."""
    return f"4 {params.reviews['name']}"


# The tables that no other table is made from, and so everything that is computed.
FINAL_TABLES = [
    *expand(f"{RESULTS}/variance/{{experiment}}.parquet", experiment=study.chosen),
    *expand(
        [
            f"{RESULTS}/theory/variance/{{experiment}}.parquet",
        ],
        experiment=chosen(WITH_THEORY),
    ),
    *expand(
        f"{RESULTS}/efficiency/{{experiment}}.parquet",
        experiment=chosen(WITH_AVERAGES),
    ),
    *expand(
        [
            f"{RESULTS}/theory/polynomial/{{experiment}}.parquet",
            f"{RESULTS}/fits/{{experiment}}.parquet",
        ],
        experiment=chosen(FITTED),
    ),
    *expand(
        f"{RESULTS}/theory/precision/{{experiment}}.parquet",
        experiment=chosen(DRAWN_FRESH),
    ),
    *expand(f"{RESULTS}/noise/{{experiment}}.parquet", experiment=chosen(NOISE_SCALES)),
    *expand(f"{RESULTS}/verdicts/{{experiment}}.md", experiment=chosen(OWN)),
    *expand(f"{RESULTS}/metrics/{{experiment}}.parquet", experiment=chosen(EVALUATED)),
    *expand(
        f"{RESULTS}/epoch_variance/{{experiment}}.parquet",
        experiment=chosen(TRANSFORMERS),
    ),
]
if study.builds_everything:
    FINAL_TABLES += [
        f"{RESULTS}/theory/limits/admission.parquet",
        f"{RESULTS}/theory/test_loss/admission.parquet",
        f"{RESULTS}/theory/equal_epochs.parquet",
        f"{RESULTS}/theory/sampling_schemes.parquet",
        f"{RESULTS}/theory/scalar_degrees.parquet",
        f"{RESULTS}/theory/network_degrees.parquet",
        f"{RESULTS}/theory/b0_counterexample.parquet",
        f"{RESULTS}/heavy_tails/estimates.parquet",
        f"{RESULTS}/claims.md",
    ]

# What depends on the number of examples or calls the user's code, once, where the study is planned.
if workflow.is_main_process:
    try:
        for name in study.chosen:
            check_known(study.experiments[name], examples_of(name))
            for path in kind_files_of(study.experiments[name].model):
                DIGESTS.of_own(path)
    except PipelineError as error:
        stop(located(str(error), FILES, workflow.config_settings.config))


def stale_checkpoints():
    """The checkpoints of other code or configuration than their block has now.

    States of experiments that are not configured are left alone: another configuration has them.
    """
    pattern = re.compile(r"(?P<experiment>\w+)\.init=\d+\.b=\d+\.seed=\d+\.zip")
    stale = []
    for path in sorted(Path(CHECKPOINT).parent.glob("*.zip")):
        found = pattern.fullmatch(path.name)
        if found is None or found["experiment"] not in study.experiments:
            continue
        values = {
            "configuration": [
                block_digest(study.experiments[found["experiment"]], study.seed),
                study.compute.allow_tf32,
                study.compute.tf32_in_evaluations,
            ],
            "code": code_of("train_block.py")(found.groupdict()),
        }
        if is_stale(path, values):
            stale.append(str(path))
    return stale


def stop_if_stale(jobs):
    """End in one line if one of ``jobs`` would refuse its checkpoint, on a cluster three times."""
    wanted = {job.params.get("checkpoint") for job in jobs}
    refused = [path for path in stale_checkpoints() if path in wanted]
    if refused:
        stop(
            f"{refused[0]} is the state of a run of other code or configuration"
            + (f", and {len(refused) - 1} more are" if len(refused) > 1 else "")
            + "; to start these blocks anew: snakemake --cores 1 clear_checkpoints, with the same "
            "--config and --configfile"
        )


def own_code_mem_mb(wildcards, attempt):
    """The memory that a job that runs the user's own code asks for, in MB."""
    return 8000 * 2 ** (attempt - 1)


def own_code_runtime(wildcards, attempt):
    """The time that the user's own code gets for one of its initial weights, in minutes."""
    return 30 * 2 ** (attempt - 1)
