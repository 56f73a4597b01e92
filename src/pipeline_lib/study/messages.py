"""What is wrong with a value of the configuration, in one line made from the typed sections."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import ErrorDetails
from pydantic_core.core_schema import IsInstanceSchema

from pipeline_lib.errors import ConfigError

Path = tuple[str | int, ...]

_BOUNDS = {
    "greater_than_equal": ("ge", "at least {}"),
    "greater_than": ("gt", "above {}"),
    "less_than_equal": ("le", "at most {}"),
    "less_than": ("lt", "below {}"),
    "too_short": ("min_length", "at least {} entries"),
    "string_pattern_mismatch": ("pattern", "text matching {}"),
}
# Keys that people look for in another section.
_ELSEWHERE = {
    "clip_norm": "; clipping is a key of the experiment: clipping: {norm: 1.0, of: whole}",
    "max_norm": "; clipping is a key of the experiment: clipping: {norm: 1.0, of: whole}",
}
_UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden", "invalid_key")
_MISSING = ("missing", "missing_argument")


class SectionSchema(GenerateJsonSchema):
    """JSON schemas of sections. An object of another section, as `model:` is, has its own."""

    def is_instance_schema(self, schema: IsInstanceSchema) -> JsonSchemaValue:
        return {"type": "object"}


@dataclass(frozen=True)
class Place:
    """Where in the file a value stands: ``path`` leads to the section that is checked.

    ``at`` turns a path into what the user reads, such as the scale that a value comes from.
    """

    path: Path = ()
    at: Callable[[Path], str] = lambda path: dotted(path)

    def __call__(self, path: Path) -> str:
        return self.at((*self.path, *path))


def dotted(path: Path) -> str:
    """``experiments.admission.runs`` for the parts of a path."""
    return ".".join(map(str, path))


def checked(cls: type[Any], values: Any, place: Place) -> Any:
    """``values`` as an object of the section ``cls``.

    Raises ConfigError for the first mistake, in one line.
    """
    adapter = TypeAdapter(cls)
    try:
        return adapter.validate_python(values)
    except ValidationError as error:
        schema = adapter.json_schema(schema_generator=SectionSchema)
        raise ConfigError(_told(error, values, schema, place)) from None


def unknown_key(where: str, key: object, allowed: Sequence[str]) -> str:
    """The line for a key that is not known, with the nearest one that is."""
    close = difflib.get_close_matches(str(key), allowed, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    hint = _ELSEWHERE.get(str(key), hint)
    return f"config: {where}: unknown key; allowed: {', '.join(allowed)}{hint}"


def not_a_mapping(where: str, value: object) -> str:
    """The line for a value that should have keys."""
    return f"config: {where}: {value!r} is of the wrong type; allowed: object"


def _told(error: ValidationError, values: Any, schema: Mapping[str, Any], place: Place) -> str:
    details = error.errors(include_url=False)
    # A misspelt key is missing under its right name too; what is told is the misspelling.
    first = min(details, key=lambda one: _order(one, values))
    path = _path(first, values)
    where, kind, context = place(path), first["type"], first.get("ctx", {})
    if kind == "told":
        return f"config: {where}{first['msg']}"
    if kind in _UNKNOWN:
        known = _keys(_fragment(schema, path[:-1], schema), _at(values, path[:-1]), schema)
        return unknown_key(where, path[-1], known)
    if kind in _MISSING:
        return f"config: {where}: missing; it is required"
    found = f"config: {where or 'the file'}: {first['input']!r}"
    is_key = first["loc"][-1:] == ("[key]",)
    allowed = {"type": "string"} if is_key else _fragment(schema, path, schema)
    if kind.endswith("_type") or kind == "is_instance_of" or _is_of_other_form(first, values):
        return f"{found} is of the wrong type; allowed: {' or '.join(_types(allowed, schema))}"
    if kind == "literal_error":
        return f"{found} is not one of the allowed values: {', '.join(_choices(allowed, schema))}"
    if kind == "each_once":
        return f"{found} holds a value twice; allowed: each value once"
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return f"{found} is not allowed; allowed: {words.format(context[name])}"
    if kind == "finite_number":
        return f"{found} is not allowed; allowed: a finite number"
    return f"{found}: {first['msg']}"


def _order(one: ErrorDetails, values: Any) -> tuple[bool, bool, bool]:
    """First what is known to be misspelt; of the forms that a value can have, the nearest one."""
    return one["type"] not in _UNKNOWN, one["type"] in _MISSING, _is_of_other_form(one, values)


def _is_of_other_form(one: ErrorDetails, values: Any) -> bool:
    """Whether a value that can have several forms, such as a word or a list, is not of this one."""
    of_several = one["loc"][-1:] != _path(one, values)[-1:]  # ends with the name of the form
    is_no_word = one["type"] == "literal_error" and not isinstance(one["input"], str)
    return of_several and (one["type"].endswith("_type") or is_no_word)


def _path(one: ErrorDetails, values: Any) -> Path:
    """The error's place within ``values``, without the names that pydantic gives alternatives."""
    path: list[str | int] = []
    here: Any = values
    last = one["loc"][-1:] if one["type"] in (*_UNKNOWN, *_MISSING) else ()
    for part in one["loc"][: len(one["loc"]) - len(last)]:
        is_key = isinstance(here, Mapping) and part in here
        is_entry = isinstance(here, list | tuple) and isinstance(part, int) and part < len(here)
        if not is_key and not is_entry:
            continue
        here = here[part]
        path.append(part)
    return (*path, *last)


def _fragment(schema: Mapping[str, Any], path: Path, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of the JSON schema that describes the value at ``path``."""
    here: Mapping[str, Any] = schema
    for part in path:
        for form in _forms(here, root):
            if isinstance(part, int) and "items" in form:
                here = form["items"]
                break
            if part in form.get("properties", {}):
                here = form["properties"][part]
                break
            of_any_key = [*form.get("patternProperties", {}).values()]
            of_any_key.append(form.get("additionalProperties"))
            if isinstance(of_any_key[0], Mapping):
                here = of_any_key[0]
                break
        else:
            return {}
    forms = _forms(here, root)
    return forms[0] if len(forms) == 1 else {"anyOf": forms}


def _forms(fragment: Mapping[str, Any], root: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The alternatives of a fragment, references resolved."""
    if "$ref" in fragment:
        return _forms(root["$defs"][fragment["$ref"].rsplit("/", 1)[1]], root)
    for several in ("anyOf", "oneOf"):
        if several in fragment:
            return [form for one in fragment[several] for form in _forms(one, root)]
    return [fragment]


def _keys(fragment: Mapping[str, Any], value: Any, root: Mapping[str, Any]) -> list[str]:
    """The keys of a section; of several the one whose `kind` is that of ``value``."""
    for form in _forms(fragment, root):
        properties: Mapping[str, Any] = form.get("properties", {})
        kind = properties.get("kind", {}).get("const")
        if kind is None or kind == value.get("kind"):
            return list(properties)
    return []


def _at(values: Any, path: Path) -> Any:
    for part in path:
        values = values[part]
    return values


def _types(fragment: Mapping[str, Any], root: Mapping[str, Any]) -> list[str]:
    types = [str(form["type"]) for form in _forms(fragment, root) if "type" in form]
    return list(dict.fromkeys(types)) or ["another type"]


def _choices(fragment: Mapping[str, Any], root: Mapping[str, Any]) -> list[str]:
    choices: list[str] = []
    for form in _forms(fragment, root):
        choices += map(str, [form["const"]] if "const" in form else form.get("enum", []))
        entries = form.get("items", {})
        if "enum" in entries:
            choices.append(f"or a list, such as [{entries['enum'][0]}], of {entries['enum']}")
    return [choice.replace("'", "") for choice in choices]
