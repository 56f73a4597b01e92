"""Objects of the user's own code, named ``package.module:name`` in the configuration."""

import importlib
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pipeline_lib.errors import ConfigError

EXPECTED = "'package.module:name'"
REFERENCE = r"^[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*$"
"""What a reference looks like, as a regular expression."""
_PATTERN = re.compile(REFERENCE)


def check_reference(where: str, reference: str) -> None:
    """ConfigError unless ``reference`` is written as it should be; ``where`` names the key."""
    if not _PATTERN.fullmatch(reference):
        raise ConfigError(f"{where}: {reference!r} names no object; expected {EXPECTED}")


def load_object(where: str, reference: str) -> Callable[..., Any]:
    """Import what ``reference`` names.

    Raises ConfigError if it is badly written, if there is no such module or no such name in it, if
    importing it fails, or if it cannot be called.
    """
    check_reference(where, reference)
    module_name, name = reference.split(":")
    hint = f"expected {EXPECTED}, found through PYTHONPATH or the folder of the configuration file"
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # Its parents have names that it starts with; any other is what the module itself imports.
        if f"{module_name}.".startswith(f"{error.name}."):
            raise ConfigError(f"{where}: {reference!r}: no module {error.name!r}; {hint}") from None
        raise ConfigError(f"{where}: {reference!r}: importing it fails: {error}") from error
    except Exception as error:
        raise ConfigError(
            f"{where}: {reference!r}: importing it fails: {one_line(error)}"
        ) from error
    if not hasattr(module, name):
        raise ConfigError(f"{where}: {reference!r}: {module_name} has no {name!r}; {hint}")
    found = getattr(module, name)
    if not callable(found):
        raise ConfigError(
            f"{where}: {reference!r} is of type {type(found).__name__}; allowed: what can be called"
        )
    return found  # type: ignore[no-any-return]


def source_files(reference: str, folders: Iterable[Path]) -> list[Path]:
    """The files of the package that ``reference`` names, in the first of ``folders`` that has it.

    Every ``.py`` file of the package or, for a module outside packages, its one file. Nothing is
    imported. Empty if no folder has it, as with what is installed elsewhere.
    """
    top = reference.split(":")[0].split(".")[0]
    for folder in folders:
        if (folder / top).is_dir():
            return sorted((folder / top).rglob("*.py"))
        if (folder / f"{top}.py").is_file():
            return [folder / f"{top}.py"]
    return []


def one_line(error: Exception) -> str:
    """The kind of ``error`` and the first line of what it says."""
    text = str(error).strip().split("\n")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
