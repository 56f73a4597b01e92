# The checked configuration: the study, and its experiments by what they can do.

from pipeline_lib.claims import extent, paper_settings, setting
from pipeline_lib.data.fetch import mirror_folders
from pipeline_lib.imports import refuse_shadows
from pipeline_lib.models import MODELS
from pipeline_lib.study.config import choose_own, load_study
from pipeline_lib.study.layers import apply_changes

# The paper's experiments, which its figures are drawn from. All others are the user's own.
PAPERS = FILES[0].values["experiments"]
# What the paper says of them.
IN_THE_PAPER = {
    "admission": extent.FIGURE_1A,
    "admission_sweep": extent.FIGURE_1B,
    "teacher_student": extent.FIGURE_2,
    "mnist": paper_settings.FIGURE_4,
    "mnist_inits": paper_settings.FIGURE_3A,
    "yelp": paper_settings.FIGURE_5,
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


def experiment_of(wildcards):
    """The configuration of the job's experiment."""
    return study.experiments[wildcards.experiment]


def uncovered(name):
    """Why an experiment has no exact values of the variance, or None if it has."""
    return study.experiments[name].model.uncovered(study.experiments[name])


def chosen(names):
    """Those of ``names`` that are built unless a target is named."""
    return [name for name in names if name in study.chosen]


REGRESSIONS, NETWORKS, TRANSFORMERS = map(
    study.of_kind, ("linear_regression", "linear_network", "transformer")
)
# Those that the exact theory covers. All others have estimates alone.
WITH_THEORY = [name for name in REGRESSIONS + NETWORKS if not uncovered(name)]
FITTED = [name for name in REGRESSIONS if study.experiments[name].polynomial]
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


def any_of(names):
    """A wildcard constraint: one of ``names``, or nothing if there is none."""
    return "|".join(names) or "(?!)"
