# The code behind results, of this checkout and of the user's own, as digests that jobs compare.

import dataclasses
import json
import re
from functools import cache
from hashlib import sha256
from types import SimpleNamespace

from pipeline_lib.artifacts.checkpoint import is_stale
from pipeline_lib.artifacts.digest import digest
from pipeline_lib.study.block import block_digest
from pipeline_lib.study.code.digests import Digests
from pipeline_lib.study.code.imported import edited
from pipeline_lib.study.code.search import Library
from pipeline_lib.study.experiment_checks import check_known

SCRIPTS = CHECKOUT / "workflow/scripts"
DIGESTS = Digests(
    Library(SOURCE, lock=CHECKOUT / "envs/requirements.lock"),
    SCRIPTS,
    Path(".snakemake/code_digests.json"),
)


def is_script_of_this_study(rule):
    """Whether a rule runs a script of this checkout, as rules around a module of it do not."""
    return rule.script is not None and (SCRIPTS / Path(rule.script).name).is_file()


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
