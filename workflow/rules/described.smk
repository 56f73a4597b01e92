# Params of the rules: what tables are made with, and what figures and the report say of it.

import json

from pipeline_lib.revision import revision
from pipeline_lib.study.long_list import LongList
from pipeline_lib.study.provenance import (
    as_applied,
    made_with,
    network_settings,
    of_network,
    of_study,
)


def features_of(wildcards):
    """The features that the job's experiment uses."""
    return experiment_of(wildcards).model.features


def rates_of(wildcards):
    """The learning rates of the job's experiment, one a step."""
    return LongList(experiment_of(wildcards).learning_rates())


def exact_rates_of(wildcards):
    """The same as fractions, in writing."""
    return LongList(experiment_of(wildcards).exact_learning_rates())


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


def made_with_of(wildcards):
    """What the tables of the job's experiment are made with, which their readers check."""
    return made_with(study, wildcards.experiment)


def of_scalar_network(simulated):
    """Parameters of rules on the scalar network: its settings, and what their tables say of them."""
    settings = network_settings(study, simulated)
    return {"settings": settings, "made_with": of_network(study, settings)}


def updates_of(name):
    """The optimiser of an experiment and how it clips gradients, in words."""
    experiment = study.experiments[name]
    optimizer, clipping = experiment.optimizer, experiment.clipping
    clipped = None
    if clipping:
        what = "each parameter tensor's" if clipping.of == "tensor" else "the whole"
        clipped = f"{what} gradient is clipped at norm {clipping.norm:g}"
    return {"optimizer": optimizer.torch_name, "clipping": clipped}


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
