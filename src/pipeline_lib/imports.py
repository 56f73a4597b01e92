"""Objects of the user's own code, named ``package.module:name`` in the configuration."""

import ast
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pipeline_lib.errors import ConfigError

EXPECTED = "'package.module:name'"
# Beside the standard library.
_USED = {"pipeline_lib", "torch", "torchvision", "transformers", "numpy", "scipy", "pandas",
         "pyarrow", "numba", "safetensors", "pydantic", "matplotlib", "psutil", "tqdm", "yaml",
         "snakemake"}  # fmt: skip
_BY_NAME = ("import_module", "__import__")
_INSTALLED = {"site-packages", "dist-packages"}
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
    """The files in ``folders`` that importing what ``reference`` names runs.

    All ``.py`` files of its package or, for a module outside packages, its one file; and those of
    whatever these import, also within functions, as far as it lies in ``folders``. Nothing is
    imported. Empty if no folder has it, as with what is installed elsewhere.
    """
    folders = list(folders)
    to_read, found = _files_of(reference.split(":")[0], folders), set[Path]()
    while to_read:
        path = to_read.pop()
        if path not in found:
            found.add(path)
            for name in _imported(path):
                to_read += _files_of(name, folders)
    return sorted(found)


def refuse_missing(where: str, reference: str, folders: Iterable[Path]) -> None:
    """ConfigError if neither ``folders`` nor Python's own path has the package of ``reference``.

    Told before a job starts: a job deletes what it is to make anew.
    """
    top = reference.split(":")[0].split(".")[0]
    if not _files_of(top, list(folders)) and importlib.util.find_spec(top) is None:
        raise ConfigError(
            f"{where}: {reference!r}: no module {top!r} in the folder of the configuration file or "
            "on PYTHONPATH"
        )


def is_used(name: str) -> bool:
    """Whether ``name`` is that of a package that the pipeline itself uses."""
    return name in _USED or (name in sys.stdlib_module_names and name in sys.modules)


def is_installed(path: Path) -> bool:
    """Whether a file belongs to Python or to an installed package, as also in an environment."""
    prefixes = [Path(prefix) for prefix in (sys.prefix, sys.base_prefix)]
    folders = {*prefixes, *(prefix.resolve() for prefix in prefixes)}
    return any(
        _INSTALLED & set(place.parts) or any(place.is_relative_to(folder) for folder in folders)
        for place in (path, path.resolve())
    )


def refuse_shadows(folders: Iterable[Path]) -> None:
    """ConfigError if a file or package in ``folders`` hides a package that the pipeline uses."""
    for folder in folders:
        for path in sorted(folder.glob("*")):
            is_package = (path / "__init__.py").is_file()
            if is_used(path.stem) and (is_package or path.suffix == ".py"):
                raise ConfigError(
                    f"{path}: its name hides the package {path.stem!r}, which the pipeline uses; "
                    "give it another name"
                )


def named_files(where: str, names: Iterable[str], folder: Path) -> list[Path]:
    """The files that ``names``, of files and folders in ``folder``, stand for.

    Raises ConfigError, which begins with ``where``, for a name that ``folder`` does not have.
    """
    files = list[Path]()
    for name in names:
        place = folder / name
        if not place.exists():
            raise ConfigError(
                f"{where}: {name!r} is no file or folder in {folder}; allowed: paths that begin in "
                "the folder of the configuration file, or with /"
            )
        files += sorted(place.rglob("*")) if place.is_dir() else [place]
    return [path for path in files if path.is_file() and "__pycache__" not in path.parts]


def _files_of(module: str, folders: list[Path]) -> list[Path]:
    """Files of the package or module at the top of a dotted name.

    As Python does: in each folder a package goes before a module, and folders without
    ``__init__.py`` count only if no folder has either.
    """
    top = module.split(".")[0]
    for folder in folders:
        if (folder / top / "__init__.py").is_file():
            return sorted((folder / top).rglob("*.py"))
        if (folder / f"{top}.py").is_file():
            return [folder / f"{top}.py"]
    spaces = [folder / top for folder in folders if (folder / top).is_dir()]
    return sorted(path for space in spaces for path in space.rglob("*.py"))


def _imported(path: Path) -> set[str]:
    """The dotted names that a file imports; relative ones are of its own package.

    Of imports by ``import_module(name)`` those whose name is written out.
    """
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return set()  # told when it is imported
    names = set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(_BY_NAME):
            match node.args:
                case [ast.Constant(value=str(name)), *_]:
                    names.add(name)
    return names


def one_line(error: BaseException) -> str:
    """The kind of ``error`` and the first line of what it says."""
    text = str(error).strip().split("\n")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
