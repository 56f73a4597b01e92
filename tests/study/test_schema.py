"""The schema for editors, the page about the configuration and what a study accepts agree."""

import copy
import dataclasses
import json
import re
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from checkout import copy_of, snakemake
from pipeline_lib.errors import ConfigError
from pipeline_lib.models import MODELS
from pipeline_lib.study.config import load_study
from pipeline_lib.study.reference import reference
from pipeline_lib.study.schema import file_schema, schema_text

SCHEMA = file_schema(MODELS)
EXPERIMENT = SCHEMA["$defs"]["experiment"]["properties"]
KINDS = {
    one["properties"]["kind"]["const"]: one["properties"]
    for one in EXPERIMENT["model"]["oneOf"]
    if "const" in one["properties"]["kind"]
}


@pytest.fixture
def raw(repository) -> dict[str, Any]:
    # Through JSON, so that what YAML shares between experiments can be changed in one of them.
    return json.loads(json.dumps(yaml.safe_load((repository / "config.yaml").read_text())))


def is_valid(raw: dict[str, Any]) -> bool:
    return Draft202012Validator(SCHEMA).is_valid(raw)


def is_loaded(raw: dict[str, Any]) -> bool:
    try:
        load_study(raw, MODELS)
    except ConfigError:
        return False
    return True


def test_files_are_as_make_schema_writes_them(repository):
    folder = repository / "workflow/schemas"
    assert (folder / "config.schema.json").read_text(encoding="utf-8") == schema_text(MODELS)
    page = (repository / "docs/configuration.md").read_text(encoding="utf-8")
    assert page == reference(MODELS)
    first, *_ = (repository / "config.yaml").read_text(encoding="utf-8").splitlines()
    assert first == "# yaml-language-server: $schema=workflow/schemas/config.schema.json"


def test_config_yaml_is_valid_and_uses_every_key(raw):
    Draft202012Validator.check_schema(SCHEMA)
    Draft202012Validator(SCHEMA).validate(raw)
    assert set(raw) == set(SCHEMA["properties"])
    assert set().union(*raw["experiments"].values()) == set(EXPERIMENT)
    for key in ("distortion", "heavy_tails", "compute"):
        assert set(raw[key]) == set(SCHEMA["properties"][key]["properties"])
    for experiment in raw["experiments"].values():
        assert set(experiment["model"]) == set(KINDS[experiment["model"]["kind"]])


def test_an_own_experiment_is_valid(raw, repository):
    own = yaml.safe_load((repository / "examples/digits/config.yaml").read_text())
    for name, values in own.items():
        raw[name] = raw[name] | values if isinstance(values, dict) else values
    Draft202012Validator(SCHEMA).validate(raw)
    kind = {"kind": "my_kinds.quadratic:Quadratic", "size": 3}
    raw["experiments"]["mine"] = raw["experiments"]["teacher_student"] | {"model": kind}
    raw["scales"]["smoke"]["mine"] = {"model": kind | {"size": 2}, "runs": 4}
    Draft202012Validator(SCHEMA).validate(raw)


def test_the_scale_on_the_page_does_what_the_page_says(raw):
    page = reference(MODELS)
    (block,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    raw["scales"] |= yaml.safe_load(block)["scales"]
    raw["scale"] = "weekend"
    Draft202012Validator(SCHEMA).validate(raw)
    study = load_study(raw, MODELS)
    here = dict(study.experiments)
    paper = load_study(raw | {"scale": "paper"}, MODELS).experiments
    rate = dataclasses.replace(paper["mnist"].learning_rate, initial=0.01)
    assert here.pop("mnist") == dataclasses.replace(paper["mnist"], learning_rate=rate, epochs=100)
    assert all(experiment == paper[name] for name, experiment in here.items())


def all_keys(fragment: dict[str, Any], path: tuple[str, ...] = ()):
    """Every key of the schema with its own part of it, kinds of models one after the other."""
    for key, value in fragment.get("properties", {}).items():
        yield (*path, key), value
        yield from all_keys(value, (*path, key))
    for form in (*fragment.get("anyOf", ()), *fragment.get("oneOf", ())):
        yield from all_keys(form, path)


def test_every_key_has_a_description_and_a_row_on_the_page():
    keys = [*all_keys(SCHEMA), *all_keys(SCHEMA["$defs"]["experiment"])]
    assert len(keys) > 80
    rows = reference(MODELS).splitlines()
    for path, fragment in keys:
        description = fragment["description"]
        assert description.endswith((".", "...")), path
        if path[:2] == ("model", "kind"):
            assert description in rows or description.startswith("A subclass"), path
        elif path != ("model", "arguments"):  # its keys have rows
            name = ".".join(path[1:]) if path[0] == "model" and len(path) > 1 else path[-1]
            assert any(
                row.startswith(f"| `{name}` |") and row.endswith(f"| {description} |")
                for row in rows
            ), path
    for name in MODELS:
        assert f"#### `{name}`" in rows


def test_sections_have_the_same_keys_in_a_scale_but_need_none():
    def without(fragment: Any, *keys: str) -> Any:
        if isinstance(fragment, dict):
            renamed = {"anyOf" if k == "oneOf" else k: v for k, v in fragment.items()}
            return {k: without(v, *keys) for k, v in renamed.items() if k not in keys}
        return [without(v, *keys) for v in fragment] if isinstance(fragment, list) else fragment

    experiment = copy.deepcopy(SCHEMA["$defs"]["experiment"])
    changes = without(SCHEMA["$defs"]["changes"], "required", "default")
    expected = without(experiment, "required", "default")
    for key in ("properties", "additionalProperties"):
        assert changes[key] == expected[key]
    assert "required" not in SCHEMA["$defs"]["changes"]


def misspellings(raw: dict[str, Any], path: tuple[str, ...] = ()):
    """Paths to every key of the file that is not a name which the user chooses."""
    for key, value in raw.items():
        if path not in (("experiments",), ("scales",), ("heavy_tails", "run_counts")) and (
            len(path) != 2 or path[0] != "scales"
        ):
            yield path, key
        if isinstance(value, dict):
            yield from misspellings(value, (*path, key))


def test_every_misspelt_key_is_refused_with_the_nearest_one(raw):
    chosen = dict(copy.deepcopy(raw), scale="smoke")
    tried = 0
    for path, key in misspellings(raw):
        mistaken = copy.deepcopy(chosen)
        section = mistaken
        for part in path:
            section = section[part]
        section[f"{key}x"] = section.pop(key)
        assert not is_valid(mistaken), (path, key)
        with pytest.raises(ConfigError) as caught:
            load_study(mistaken, MODELS)
        # Without a model or its kind it is not known which keys there are.
        if key not in ("model", "kind") or path[-1] == "optimizer":
            where = ".".join((*path, f"{key}x"))
            assert f"config: {where}: unknown key; allowed: " in str(caught.value)
            assert str(caught.value).endswith(f"; did you mean {key}?")
        tried += 1
    assert tried > 100


def test_a_missing_key_is_refused_by_both(raw):
    for key in raw:
        rest = {name: value for name, value in raw.items() if name != key}
        assert not is_valid(rest)
        assert not is_loaded(rest)
    for experiment in ("admission", "teacher_student", "yelp"):
        for key in ("model", "initial_weights", "learning_rate", "batch_sizes", "runs"):
            rest = copy.deepcopy(raw)
            del rest["experiments"][experiment][key]
            assert not is_valid(rest)
            assert not is_loaded(rest)
    for key in list(raw["experiments"]["yelp"]["model"]):
        rest = copy.deepcopy(raw)
        del rest["experiments"]["yelp"]["model"][key]
        assert not is_valid(rest)


BOUNDS = [
    ("compute.checkpoint_every_s", 0, False),
    ("compute.checkpoint_every_s", 0.5, True),
    ("confidence_level", 0, False),
    ("confidence_level", 1, False),
    ("confidence_level", 0.5, True),
    ("distortion.alpha", 0, True),
    ("distortion.alpha", -1, False),
    ("experiments.yelp.learning_rate.warmup", 0, True),
    ("experiments.yelp.learning_rate.warmup", 1, False),
    ("experiments.yelp.optimizer.weight_decay", -0.1, False),
    ("experiments.yelp.clipping.norm", 0, False),
    ("experiments.yelp.model.dropout", 1, False),
    ("experiments.yelp.model.dropout", 0, True),
    ("experiments.admission_sweep.polynomial", None, True),
    ("experiments.teacher_student.model.layers", [4] * 4, True),
    ("heavy_tails.w1", "1/0", False),
    ("heavy_tails.w1", "-7", True),
    ("heavy_tails.run_counts.paper", [1], False),
    ("heavy_tails.run_counts", {"smoke": [2]}, False),
    ("scales.smoke.admission.learning_rate", {"initial": 0.3}, True),
    ("scales.smoke.admission.learning_rate", {"initial": 0}, False),
    ("scales.smoke.admission", None, True),
    ("scales.smoke", None, True),
    ("scales", {"smoke": {}, "quick": {}}, False),
    ("only", ["admission"], True),
    ("only", ["admission", "admission"], False),
]


@pytest.mark.parametrize(("path", "value", "is_allowed"), BOUNDS)
def test_bounds_are_those_of_the_schema(raw, path, value, is_allowed):
    section = raw
    *parents, last = path.split(".")
    for part in parents:
        section = section[part]
    section[last] = value
    assert is_valid(raw) is is_loaded(raw) is is_allowed


@pytest.mark.slow
def test_an_own_scale_in_a_file_of_ones_own_is_planned(repository, tmp_path):
    mine = {"scales": {"mine": {"admission": {"runs": 12, "runs_per_block": 4}}}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(mine))
    folder = copy_of(repository, tmp_path / "checkout")
    arguments = ("--dry-run", "fig1a", "--configfile", str(tmp_path / "mine.yaml"), "--config")
    done = snakemake(folder, *arguments, "scale=mine")
    assert done.returncode == 0, done.stdout + done.stderr
    planned = done.stdout + done.stderr
    assert "results/mine/figures/fig1a.svg" in planned
    table = planned.split("Job stats:")[1].split("\n\n")[0].splitlines()[3:]
    counted = dict(line.split() for line in table)
    assert counted["train_block"] == str(3 * 4)  # blocks times batch sizes
    wrong = snakemake(folder, *arguments, "scale=yours")
    assert wrong.returncode != 0
    (told,) = [line for line in wrong.stderr.splitlines() if line.startswith("error: ")]
    assert told.startswith("error: config: scale (--config): 'yours' is not one of ")
    assert set(told.split("values: ")[1].split(", ")) == {
        "smoke",
        "quick",
        "overnight",
        "paper",
        "mine",
    }
