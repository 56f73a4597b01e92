"""What the user sets beside the file wins over the scale, and is named where it is wrong."""

import copy
from pathlib import Path

import pytest
import yaml

from pipeline_lib.errors import ConfigError
from pipeline_lib.models import MODELS
from pipeline_lib.study.config import load_study
from pipeline_lib.study.layers import apply_changes
from pipeline_lib.study.optimizers import AdamW, Sgd


@pytest.fixture
def raw(repository: Path) -> dict:
    return yaml.safe_load((repository / "config.yaml").read_text())


def loaded(raw, changes):
    """The study as the workflow loads it, which is what a job loads from what it is handed."""
    untouched = copy.deepcopy(raw)
    applied = apply_changes(raw, changes)
    assert raw == untouched
    study = load_study(applied, MODELS, changes)
    assert load_study(applied, MODELS) == study
    return study


@pytest.mark.parametrize("scale", ["smoke", "quick", "paper"])
def test_what_the_user_sets_wins_over_every_scale(raw, scale):
    runs = {"runs": 300, "runs_per_block": 100}
    changes = {"scale": scale, "experiments": {"teacher_student": runs}}
    study = loaded(raw, changes)
    assert study.experiments["teacher_student"].runs == 300
    # And nothing else does: the scale's other values stay.
    plain = load_study(raw | {"scale": scale}, MODELS).experiments
    assert {name for name, one in study.experiments.items() if one != plain[name]} == {
        "teacher_student"
    }


def test_the_users_scale_wins_over_the_users_experiments(raw):
    changes = {
        "scale": "smoke",
        "experiments": {"admission": {"runs": 90, "iterations": 70, "runs_per_block": 30}},
        "scales": {"smoke": {"admission": {"runs": 120}}},
    }
    admission = loaded(raw, changes).experiments["admission"]
    assert (admission.runs, admission.iterations, admission.runs_per_block) == (120, 70, 30)


def test_a_part_of_a_section_leaves_the_rest_of_the_scale(raw):
    changes = {"experiments": {"yelp": {"model": {"training_examples": 640}}}}
    model = loaded(raw, changes).experiments["yelp"].model
    assert (model.training_examples, model.validation_examples) == (640, 160)


def test_a_change_for_this_run_is_not_refused_for_another_scale(raw):
    """8 runs a block are no whole blocks of the paper's 100 runs."""
    changes = {"experiments": {"mnist": {"runs": 16, "runs_per_block": 8}}}
    assert len(loaded(raw, changes).experiments["mnist"].blocks) == 2


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"scales": {"smoke": {"admission": {"runs": -1}}}}, "config: scales.smoke.admission.runs"),
        ({"experiments": {"admission": {"runs": -1}}}, "config: experiments.admission.runs: -1"),
        (
            {"scale": "smoke", "experiments": {"admission": {"runs": 70}}},
            "config: experiments.admission.runs: 70 is not whole blocks",
        ),
        (
            {"scales": {"smoke": {"admission": {"runs": 70}}}},
            "config: scales.smoke.admission.runs: 70 is not whole blocks",
        ),
        (
            {"scales": {"smoke": {"admission": {"batch_sizes": [4, 501]}}}},
            "config: scales.smoke.admission.batch_sizes: 501 is above the 500",
        ),
        ({"experiments": {"admission": 3}}, "config: experiments.admission: 3 is of the"),
        ({"experiments": {"admision": {"runs": 4}}}, "config: experiments.admision: unknown"),
        ({"experiments": 3}, "config: experiments: 3 is of the wrong type"),
        ({"scales": 3}, "config: scales: 3 is of the wrong type"),
        ({"scale": ["quick"]}, "config: scale: ['quick'] is of the wrong type"),
        ({"scales": {"quick": {"mnist": 3}}, "experiments": {"mnist": {"runs": 8}}},
         "config: scales.quick.mnist: 3 is of the wrong type"),
        # What a scale leaves as it is stands under `experiments`.
        (
            {"scale": "smoke", "experiments": {"admission_sweep": {"batch_sizes": [2, 4]}}},
            "config: experiments.admission_sweep.polynomial.degree: 6 needs at least 8",
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_named_where_it_was_made(raw, changes, expected):
    with pytest.raises(ConfigError) as error:
        load_study(apply_changes(raw, changes), MODELS, changes)
    assert str(error.value).startswith(expected)


MOMENTUM = {"kind": "sgd", "momentum": 0.9, "nesterov": True}


@pytest.mark.parametrize("where", ["experiments", "scale", "both"])
def test_another_kind_brings_no_arguments_of_the_old_one(raw, where):
    raw["experiments"]["mnist"]["optimizer"] = MOMENTUM
    raw["scales"]["smoke"]["mnist"]["optimizer"] = {"momentum": 0.5}
    section = {"optimizer": {"kind": "adamw", "weight_decay": 0.1}}
    changes = {"scale": "smoke"}
    if where != "scale":
        changes["experiments"] = {"mnist": section}
    if where != "experiments":
        changes["scales"] = {"smoke": {"mnist": section}}
    optimizer = loaded(raw, changes).experiments["mnist"].optimizer
    assert optimizer == AdamW(weight_decay=0.1)


def test_the_same_kind_keeps_the_arguments_that_are_not_named(raw):
    raw["experiments"]["mnist"]["optimizer"] = MOMENTUM
    raw["scales"]["smoke"]["mnist"]["optimizer"] = {"momentum": 0.5}
    for section in ({"kind": "sgd", "weight_decay": 0.1}, {"weight_decay": 0.1}):
        changes = {"scale": "smoke", "experiments": {"mnist": {"optimizer": section}}}
        optimizer = loaded(raw, changes).experiments["mnist"].optimizer
        assert optimizer == Sgd(momentum=0.5, nesterov=True, weight_decay=0.1)


def test_another_kind_of_model_is_a_section_of_its_own(raw):
    raw["experiments"]["mine"] = copy.deepcopy(raw["experiments"]["admission"])
    model = {"kind": "linear_network", "layers": [4, 3, 2], "teacher_seed": 1}
    model |= {"teacher_scale": 0.3, "dtype": "float64", "replicas_at_once": 5}
    changes = {"experiments": {"mine": {"model": model, "sampling": "online"}}}
    assert loaded(raw, changes).experiments["mine"].model.layers == (4, 3, 2)
