"""Configuration files as they are read: what is wrong with one, and where each key stands."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from pipeline_lib.errors import ConfigError

_MERGE = "tag:yaml.org,2002:merge"
_Key = tuple[str, ...]
_NONE: Mapping[Any, Any] = MappingProxyType({})


@dataclass(frozen=True)
class ConfigText:
    """One file: its values as plain types, and the line of every key by the key's path."""

    path: Path
    values: Mapping[str, Any]
    lines: Mapping[_Key, int]


def read_config(path: Path) -> ConfigText:
    """The YAML or JSON file at ``path``.

    Raises:
        ConfigError: One line with file and line, if the file cannot be read or is not UTF-8, YAML
            or a mapping, names a key twice, or has an anchor within itself.
    """
    text = _text(path)
    if path.suffix == ".json":
        return ConfigText(path, _mapping(path, _json(path, text)), {})
    try:
        # Built by hand from yaml.load's steps, for the lines in between.
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            lines = dict(_lines(path, loader, node)) if node is not None else {}
            values = loader.construct_document(node) if node is not None else {}
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        raise ConfigError(f"{_place(path, error.problem_mark)}: {_problem(error)}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: no YAML: {' '.join(str(error).split())}") from None
    return ConfigText(path, _mapping(path, values), lines)


def located(
    message: str, files: Sequence[ConfigText], on_command_line: Mapping[str, Any] = _NONE
) -> str:
    """``message``, with file and line behind the key that it begins with where they are known.

    Of several ``files`` with the key the last one decides, and over all of them what is set
    ``on_command_line``. Where only what the key stands in is written down, as with a key that is
    missing, that is its place.
    """
    head, _, rest = message.partition(": ")
    key, _, told = rest.partition(": ")
    path = tuple(key.split("."))
    if path[0] in on_command_line:
        return f"{head}: {key} (--config): {told}"
    for length in range(len(path), 0, -1):
        for file in reversed(files):
            if path[:length] in file.lines:
                line = file.lines[path[:length]]
                return f"{head}: {key} ({file.path}, line {line}): {told}"
    return message


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(
            f"{path}, line {line}: byte 0x{error.object[error.start]:02x} is not UTF-8; "
            "save the file as UTF-8"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; expected a YAML file") from None


def _mapping(path: Path, values: object) -> Mapping[str, Any]:
    if not isinstance(values, Mapping):
        raise ConfigError(f"{path}: {values!r:.60} has no keys; expected `key: value` lines")
    return values


def _json(path: Path, text: str) -> object:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        for number, (key, _) in enumerate(pairs):
            if key in dict(pairs[:number]):
                raise ConfigError(f"{path}: the key {key!r} stands twice in one place; keep one")
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}, line {error.lineno}: no JSON: {error.msg}") from None


def _lines(
    path: Path,
    loader: yaml.SafeLoader,
    root: yaml.Node,
    key: _Key = (),
    around: Mapping[int, _Key] = _NONE,
) -> Iterator[tuple[_Key, int]]:
    """Path and line of every key below ``root``, which stands at ``key`` and in ``around``."""
    if id(root) in around:
        raise ConfigError(
            f"{_place(path, root.start_mark)}: the anchor of {'.'.join(around[id(root)])} is used "
            "within itself; an alias may name only what is complete before it"
        )
    within = {**around, id(root): key}
    if isinstance(root, yaml.SequenceNode):
        for child in root.value:
            yield from _lines(path, loader, child, key, within)
    if not isinstance(root, yaml.MappingNode):
        return
    _check_keys(path, root, key)
    for _, child in root.value:  # before they are merged, which would not end
        if id(child) in within:
            yield from _lines(path, loader, child, key, within)
    loader.flatten_mapping(root)
    for name, child in root.value:
        here = (*key, str(name.value))
        yield here, name.start_mark.line + 1
        yield from _lines(path, loader, child, here, within)


def _check_keys(path: Path, node: yaml.MappingNode, key: _Key) -> None:
    """ConfigError if ``node`` has a key twice, beside what is merged into it."""
    first: dict[str, int] = {}
    for name, _ in node.value:
        if name.tag == _MERGE or not isinstance(name, yaml.ScalarNode):
            continue
        # An aliased mapping comes by again, with what was merged into it: keys of other places.
        if not node.start_mark.index <= name.start_mark.index < node.end_mark.index:
            continue
        if name.value in first:
            raise ConfigError(
                f"{_place(path, name.start_mark)}: the key {'.'.join((*key, name.value))} stands "
                f"on line {first[name.value]} already; keep one"
            )
        first[name.value] = name.start_mark.line + 1


def _place(path: Path, mark: yaml.Mark | None) -> str:
    return f"{path}, line {mark.line + 1}" if mark is not None else str(path)


def _problem(error: yaml.MarkedYAMLError) -> str:
    context = f"{error.context}, " if error.context else ""
    column = f" in column {error.problem_mark.column + 1}" if error.problem_mark else ""
    return f"no YAML: {context}{error.problem}{column}"


def main(names: Sequence[str]) -> int:
    """Check configuration files that Snakemake reads before the workflow can: the exit status."""
    for name in names:
        try:
            read_config(Path(name))
        except ConfigError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
