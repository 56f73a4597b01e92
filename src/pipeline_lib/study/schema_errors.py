"""JSON schema errors, told in one line: the key, its value and what is allowed."""

import difflib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import ValidationError, best_match

from pipeline_lib.errors import ConfigError

_BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
    "minItems": "at least {} entries",
    "maxItems": "at most {} entries",
    "minProperties": "at least {} entries",
    "pattern": "text matching {}",
    "const": "{}",
}


def _is_integer(_: object, value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(_: object, value: object) -> bool:
    return _is_integer(_, value) or (isinstance(value, float) and math.isfinite(value))


# JSON schema would take 4.0 for an integer, and YAML's .nan and .inf for numbers.
_Validator = validators.extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine_many(
        {"integer": _is_integer, "number": _is_number}
    ),
)


def check_schema(values: Mapping[str, Any], schema: Path) -> None:
    """Check ``values`` against the JSON schema in the YAML file ``schema``.

    Raises:
        ConfigError: For the error that is most specific, in one line.
    """
    validator = _Validator(yaml.safe_load(schema.read_text()))
    # A scale lists only what it changes: what is required is asked of the merged experiments.
    error = best_match(
        error
        for error in validator.iter_errors(values)
        if not (
            error.validator == "required"
            and len(error.absolute_path) > 2
            and error.absolute_path[0] == "scales"
        )
    )
    if error is not None:
        raise ConfigError(_describe(error))


def _describe(error: ValidationError) -> str:
    where = ".".join(str(part) for part in error.absolute_path)
    prefix = f"{where}." if where else ""
    rule, allowed = error.validator, error.validator_value
    if rule == "additionalProperties":
        assert isinstance(error.instance, Mapping)
        assert isinstance(error.schema, Mapping)
        known = list(error.schema.get("properties", {}))
        unknown = next(key for key in error.instance if key not in known)
        close = difflib.get_close_matches(str(unknown), known, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        return f"config: {prefix}{unknown}: unknown key; allowed: {', '.join(known)}{hint}"
    if rule == "required":
        assert isinstance(allowed, list)
        assert isinstance(error.instance, Mapping)
        missing = next(key for key in allowed if key not in error.instance)
        return f"config: {prefix}{missing}: missing; it is required"
    found = f"config: {where or 'the file'}: {error.instance!r}"
    if rule == "enum":
        assert isinstance(allowed, list)
        return f"{found} is not one of the allowed values: {', '.join(map(str, allowed))}"
    if rule == "type":
        kinds = allowed if isinstance(allowed, list) else [allowed]
        return f"{found} is of the wrong type; allowed: {' or '.join(map(str, kinds))}"
    if rule == "uniqueItems":
        return f"{found} holds a value twice; allowed: each value once"
    if isinstance(rule, str) and rule in _BOUNDS:
        return f"{found} is not allowed; allowed: {_BOUNDS[rule].format(allowed)}"
    return f"config: {where or 'the file'}: {error.message}"
