"""The page docs/configuration.md: every key of config.yaml, made from the typed sections.

Values are described from the same JSON schema that editors read (`pipeline_lib.study.schema`).
"""

import json
from collections.abc import Iterable, Mapping

from pydantic import TypeAdapter

from pipeline_lib.imports import REFERENCE
from pipeline_lib.study.combinations import combination_table
from pipeline_lib.study.experiment import EpochExperiment, IterationExperiment
from pipeline_lib.study.experiment_keys import allowed_keys, common_keys, required_keys
from pipeline_lib.study.model import Model
from pipeline_lib.study.schema import Fragment, section_schema
from pipeline_lib.study.section import Rational
from pipeline_lib.study.study import ConfigFile

_ALONE = ("experiments", "scales", "model")  # sections that are told in more than one table
_RATIONAL = TypeAdapter(Rational).json_schema()["pattern"]
_BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
}
_INTRODUCTION = """\
# The configuration

<!-- Written by `make schema` from the classes in src/pipeline_lib: change the text there. -->

`config.yaml` is the whole study. Change it, or leave it as it is and put what differs into a file
of your own, which `--configfile mine.yaml` lays over it: what your file does not name stays as it
is. A list is replaced as a whole, and so is a section (`model`, `optimizer`) whose `kind` changes.

Before a job starts, every value is checked, at every scale. A mistake is told in one line that
names the key, the value and what is allowed. An editor that knows YAML schemas finds most mistakes
while you write: the first line of `config.yaml` names the schema.

No key can be left out unless its table gives a default.
"""
_SCALES = """\
An experiment under `experiments` has the paper's values. A scale lists only what it changes in
them, key by key, however deep: at this scale, `mnist` has the learning rate 0.01 and keeps its
schedule. Only a section with another `kind` is replaced as a whole.

```yaml
scales:
  weekend:
    mnist: {learning_rate: {initial: 0.01}, epochs: 100}
```

Put your own scale into `mine.yaml` and choose it by its name:

    snakemake --cores all --configfile mine.yaml --config scale=weekend

Experiments that it does not list run with the paper's values, which may take long: list them too,
or choose some by `only`. Results go to `results/weekend/`. The name of a scale has lower-case
letters, digits and `_`. The scale `paper` must be there and is best left empty.
"""
_EXPERIMENTS = """\
Each entry is an experiment; its name has lower-case letters, digits and `_`. Figures of the paper
are drawn from the experiments of `config.yaml`; how to add your own is told in
[own_experiment.md](own_experiment.md). Every experiment has these keys:
"""
_COMBINATIONS = """\
How mini-batches are drawn, what a gradient becomes, and the rates are independent of each other and
of the model: whatever stands in a row of this table goes together. The first way of drawing is that
of an experiment that names none. Anything else is refused before a job starts.
"""


def reference(kinds: Mapping[str, type[Model]]) -> str:
    """The page as Markdown, with a section for each of ``kinds``."""
    file = section_schema(ConfigFile)
    in_epochs, in_steps = section_schema(EpochExperiment), section_schema(IterationExperiment)
    common = common_keys()

    def others(section: Fragment) -> list[str]:
        return [key for key in section["properties"] if key not in ("name", *common)]

    parts = [
        _INTRODUCTION,
        "## The file",
        _table(file),
        "## `scales`",
        _SCALES,
        "## `experiments`",
        _EXPERIMENTS,
        _table(in_steps, common),
        "With a model that is trained for a number of iterations, it also has:",
        _table(in_steps, others(in_steps)),
        "With a model that is trained in epochs, it has instead:",
        _table(in_epochs, others(in_epochs)),
        "Some of these keys are for certain [kinds of models](#model) only.",
        "### What combines with what",
        _COMBINATIONS,
        combination_table(kinds),
        *_sections(in_epochs | {"properties": in_steps["properties"] | in_epochs["properties"]}),
        "### `model`",
        "The other keys of this section depend on `kind`: "
        f"{_choice(kinds)}, or `package.module:Class` of your own ([extending.md](extending.md)).",
    ]
    for name, kind in kinds.items():
        parts += _kind(name, kind)
    return "\n\n".join(part.strip("\n") for part in [*parts, *_sections(file, "##")]) + "\n"


def _sections(section: Fragment, heading: str = "###") -> list[str]:
    """The sections among the keys of ``section``, a table each."""
    parts = []
    for key, fragment in section["properties"].items():
        choices = [form for form in fragment.get("oneOf", []) if "properties" in form]
        if choices:
            parts += [f"{heading} `{key}`", fragment["description"]]
            for one in choices:
                name = one["properties"]["kind"]["const"]
                parts += [f"With `kind: {name}`:", _table(one)]
        elif (inner := _section(fragment)) is not None:
            parts += [f"{heading} `{key}`", fragment["description"], _table(inner)]
    return parts


def _but_kind(section: Fragment) -> list[str]:
    return [key for key in section["properties"] if key != "kind"]


def _kind(name: str, kind: type[Model]) -> list[str]:
    """What a kind of model is, what its experiments must and may have, and its keys."""
    section = section_schema(kind)
    required = required_keys(kind)
    optional = [key for key in allowed_keys(kind) if key not in required]
    facts = {
        "the experiment must have": ", ".join(f"`{key}`" for key in required),
        "it may have": ", ".join(f"`{key}`" for key in optional),
        "`initial_weights.scale`": "required" if kind.needs_scale else "not allowed",
    }
    return [
        f"#### `{name}`",
        section["description"],
        "\n".join(f"- {what}: {which}" for what, which in facts.items() if which),
        _table(section, _but_kind(section), nested=True),
    ]


def _table(section: Fragment, keys: Iterable[str] | None = None, nested: bool = False) -> str:
    """A table of the keys of a section, or of ``keys``.

    If ``nested``, the keys of inner sections have rows in it; else the table refers to them.
    """
    rows = ["| Key | Value | Default | Meaning |", "| --- | --- | --- | --- |"]
    rows += _rows(section, section["properties"] if keys is None else keys, nested, "")
    return "\n".join(rows)


def _rows(section: Fragment, keys: Iterable[str], nested: bool, prefix: str) -> Iterable[str]:
    for key in keys:
        fragment = section["properties"][key]
        inner = _section(fragment)
        if nested and inner is not None:
            yield from _rows(inner, inner["properties"], nested, f"{prefix}{key}.")
            continue
        default = ""
        if key not in section.get("required", ()):
            plain = fragment.get("default")
            default = "none" if plain is None else f"`{json.dumps(plain)}`"
        value = f"[below](#{key})" if inner is not None or key in _ALONE else _words(fragment)
        cells = f"`{prefix}{key}`", value, default, fragment["description"]
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _section(fragment: Fragment) -> Fragment | None:
    """The section that a key holds, if it holds one."""
    forms: list[Fragment] = fragment.get("anyOf") or fragment.get("oneOf") or [fragment]
    return next((form for form in forms if "properties" in form), None)


def _words(fragment: Fragment, plural: bool = False) -> str:
    """The type and the bounds of a value."""
    if "anyOf" in fragment:
        forms = [_words(form) for form in fragment["anyOf"]]
        return (", or " if set(",;") & set(forms[0]) else " or ").join(forms)
    if "const" in fragment or "enum" in fragment:
        return _choice(fragment["enum"] if "enum" in fragment else [fragment["const"]])
    kind = fragment["type"]
    s = "s" if plural else ""
    if kind == "null":
        return "`null`"
    if kind == "boolean":
        return "`true` or `false`"
    if kind == "string":
        pattern = fragment.get("pattern")
        if pattern is None:
            return f"text{s}"
        if pattern == REFERENCE:
            return "`package.module:name` of your own"
        return "fraction in quotes" if pattern == _RATIONAL else f"text that matches `{pattern}`"
    if kind == "array":
        return _list_in_words(fragment)
    if kind == "object":
        values = fragment.get("additionalProperties")
        return f"by name: {_words(values)}" if isinstance(values, dict) else "any keys"
    name = {"integer": "whole number", "number": "number"}[kind] + s
    bounds = [f"{words} {fragment[key]}" for key, words in _BOUNDS.items() if key in fragment]
    if "minimum" in fragment and "maximum" in fragment:
        bounds = [f"{fragment['minimum']} to {fragment['maximum']}"]
    each = "each " if plural and bounds else ""
    return name + (", " if bounds else "") + each + " and ".join(bounds)


def _list_in_words(fragment: Fragment) -> str:
    if "prefixItems" in fragment:
        return f"{len(fragment['prefixItems'])} of: {_words(fragment['prefixItems'][0])}"
    items = fragment["items"]
    words = f"list of {_words(items, plural=True)}"
    if "enum" in items:
        words = f"list of some of {', '.join(f'`{choice}`' for choice in items['enum'])}"
    if fragment.get("minItems", 0) > 1:
        words += f"; {fragment['minItems']} or more of them"
    if fragment.get("uniqueItems"):
        words += "; none twice"
    return words


def _choice(names: Iterable[str]) -> str:
    *others, last = (f"`{name}`" for name in names) if names else ("",)
    return f"{', '.join(others)} or {last}" if others else last
