"""The JSON schema of config.yaml, which editors check and complete the file with.

It is made from the typed sections. What depends on several values at once, such as runs that are
a multiple of runs_per_block, is checked when a study is loaded and not by the schema.
"""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from pipeline_lib.study.experiment_keys import (
    allowed_keys,
    common_keys,
    experiment_class,
    required_common_keys,
)
from pipeline_lib.study.messages import SectionSchema
from pipeline_lib.study.model import Model
from pipeline_lib.study.section import Name
from pipeline_lib.study.study import ConfigFile

Fragment = dict[str, Any]

# Pydantic leaves bounds under its own names where a type reads its value first, as `Number` does.
_BOUNDS = {
    "gt": "exclusiveMinimum",
    "ge": "minimum",
    "lt": "exclusiveMaximum",
    "le": "maximum",
}
_OWN_KIND = {
    "description": "A kind of your own. Its keys are checked when the study is loaded.",
    "type": "object",
    "properties": {
        "kind": {
            "description": "A subclass of `Model`, as `package.module:Class`.",
            "type": "string",
            "pattern": ":",
        }
    },
    "required": ["kind"],
}


def schema_text(kinds: Mapping[str, type[Model]]) -> str:
    """`file_schema` as the text of a file."""
    return json.dumps(file_schema(kinds), indent=2, ensure_ascii=False) + "\n"


def file_schema(kinds: Mapping[str, type[Model]]) -> Fragment:
    """The schema (draft 2020-12) of the whole file, with these ``kinds`` of models."""
    file = section_schema(ConfigFile)
    experiment = experiment_schema(kinds)
    changes = _optional(experiment) | {
        "description": "What a scale changes in an experiment.",
        "type": ["object", "null"],
    }
    of_scale = {"type": ["object", "null"], **_by_name({"$ref": "#/$defs/changes"})}
    for key, one in (("experiments", {"$ref": "#/$defs/experiment"}), ("scales", of_scale)):
        del file["properties"][key]["patternProperties"]
        file["properties"][key] |= _by_name(one)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of the study",
        **file,
        "$defs": {"experiment": experiment, "changes": changes},
    }


def experiment_schema(kinds: Mapping[str, type[Model]]) -> Fragment:
    """The schema of an experiment: the keys of any of ``kinds`` together, and its model's alone."""
    properties: Fragment = {}
    for kind in kinds.values():
        of_class = section_schema(experiment_class(kind))["properties"]
        for key in (*common_keys(), *allowed_keys(kind)):
            properties[key] = of_class[key]
    model = {
        "description": properties["model"]["description"],
        "oneOf": [*(section_schema(kind) for kind in kinds.values()), _OWN_KIND],
    }
    return {
        "description": "An experiment. The keys for its length depend on its kind of model.",
        "type": "object",
        "properties": properties | {"model": model},
        "required": required_common_keys(),
        "additionalProperties": False,
    }


def section_schema(cls: type[Any]) -> Fragment:
    """The schema of one section, with the schemas of the sections in it and all descriptions."""
    schema = TypeAdapter(cls).json_schema(schema_generator=SectionSchema)
    section = _plain(schema, schema.pop("$defs", {}))
    described = _descriptions(cls)
    for key, fragment in section["properties"].items():
        if key in described:
            fragment["description"] = described[key]
        elif key == "kind":  # of a model: what the kind is
            fragment["description"] = section["description"]
        for form in fragment.get("anyOf", []):  # a section that may be left out
            fragment.setdefault("description", form.get("description"))
    return section


def _descriptions(cls: type[Any]) -> dict[str, str]:
    """Descriptions of the fields; what a class inherits has its own in the base class."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        for name, field in base.__dict__.get("__pydantic_fields__", {}).items():
            if field.description is not None:
                found[name] = _one_line(field.description)
    return found


def _plain(fragment: Mapping[str, Any], definitions: Mapping[str, Any]) -> Fragment:
    """The fragment with references replaced by what they name, and without titles."""
    plain: Fragment = {}
    if "$ref" in fragment:
        plain = _plain(definitions[fragment["$ref"].rsplit("/", 1)[1]], definitions)
    for key, value in fragment.items():
        if key in ("title", "$ref", "discriminator"):
            continue
        if key == "description":
            plain[key] = _one_line(value)
        elif key in ("properties", "patternProperties"):
            plain[key] = {name: _plain(one, definitions) for name, one in value.items()}
        elif key in ("anyOf", "oneOf", "prefixItems"):
            plain[key] = [_plain(one, definitions) for one in value]
        elif key in ("items", "additionalProperties") and isinstance(value, Mapping):
            plain[key] = _plain(value, definitions)
        else:
            plain[_BOUNDS.get(key, key)] = value
    kind = plain.get("properties", {}).get("kind")
    if kind is not None and "description" in plain:  # of an optimiser: what the kind is
        kind.setdefault("description", plain["description"])
    return plain


def _by_name(fragment: Fragment) -> Fragment:
    """What makes an object one that holds ``fragment`` under any name."""
    pattern = TypeAdapter(Name).json_schema()["pattern"]
    return {"propertyNames": {"pattern": pattern}, "additionalProperties": fragment}


def _optional(fragment: Fragment) -> Fragment:
    """The fragment for a scale, which lists only what it changes, so that nothing is required.

    A model is then of any kind that has the keys that are listed. One of your own is known by its
    `kind`, which an override of its keys repeats.
    """
    optional = {key: value for key, value in fragment.items() if key not in ("required", "default")}
    if "properties" in optional:
        optional["properties"] = {
            key: _optional(value) for key, value in optional["properties"].items()
        }
    for key in ("anyOf", "oneOf"):
        if key in optional:
            forms = [one if one is _OWN_KIND else _optional(one) for one in optional.pop(key)]
            optional["anyOf"] = forms
    return optional


def _one_line(text: str) -> str:
    return " ".join(text.split())
