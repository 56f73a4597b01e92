"""What the user sets beside the file, in `--configfile` or `--config`, and what it wins over."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from pipeline_lib.study.messages import Path, dotted

Raw = Mapping[str, Any]


def apply_changes(base: Raw, changes: Raw) -> dict[str, Any]:
    """The configuration ``base`` with the user's ``changes``, as new objects all the way down.

    A scale wins over what stands under ``experiments``, but not over what the user sets there for
    this run. It is therefore put into the chosen scale, below what the user sets in that scale.
    """
    known = _mapping(base.get("experiments"))
    below = {"scales": dict.fromkeys(_mapping(base.get("scales")), known)}
    applied: dict[str, Any] = deepcopy(merge(base, changes, below))
    scale, scales = applied.get("scale"), applied.get("scales")
    if not isinstance(scale, str) or not isinstance(scales, dict):
        return applied  # which is refused for that
    for name, values in _mapping(changes.get("experiments")).items():
        if name not in known or not isinstance(values, Mapping):
            continue
        layers = (
            _at(base, ("scales", scale, name)),
            values,
            _at(changes, ("scales", scale, name)),
        )
        merged: Any = {}
        for layer in layers:
            merged = merge(merged, {} if layer is None else layer, known[name])
        applied["experiments"][name] = deepcopy(known[name])
        scales[scale] = {**_mapping(scales.get(scale)), name: deepcopy(merged)}
    return applied


def place_of(path: Path, scale: str, applied: Raw, changes: Raw) -> str:
    """The key that sets the value at ``path``, which begins with ``experiments`` and a name.

    ``applied`` is what `apply_changes` returned for ``changes``.
    """
    in_scale = ("scales", scale, *path[1:])
    for values, key in ((changes, in_scale), (changes, path), (applied, in_scale)):
        if _has(values, key):
            return dotted(key)
    return dotted(path)


def merge(base: Any, override: Any, below: Any = None) -> Any:
    """``override`` over ``base``, mappings key by key and all else as a whole.

    A section with another ``kind`` is all else, too: its keys are those of that kind. Where
    ``base`` names none, it is of the kind of the values ``below``, which both are laid over.
    """
    if not (isinstance(base, Mapping) and isinstance(override, Mapping)):
        return override
    below = _mapping(below)
    kind = base.get("kind", below.get("kind"))
    if kind is not None and override.get("kind", kind) != kind:
        return override
    return {
        key: merge(base.get(key), override.get(key, base.get(key)), below.get(key))
        for key in {**base, **override}
    }


def _mapping(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


def _at(values: Any, path: Path) -> Any:
    for part in path:
        values = _mapping(values).get(part)
    return values


def _has(values: Any, path: Path) -> bool:
    for part in path:
        if isinstance(values, list | tuple):
            return True  # a list is set as a whole
        if not isinstance(values, Mapping) or part not in values:
            return False
        values = values[part]
    return True
