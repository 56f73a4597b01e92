"""The user's modules that a job imported, whatever way: recorded once, compared ever after.

Most are found before a job starts, from the import statements (`pipeline_lib.imports`), and are
inputs of the jobs. A module that is imported by a name put together when the code runs is seen only
in the job. Its content when it is first seen is recorded, and an edit is what differs from that: a
record that changed with every run would itself make jobs run again.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import pipeline_lib
from pipeline_lib.artifacts.files import read_notes, write_text
from pipeline_lib.imports import is_installed

_SOURCE = Path(pipeline_lib.__file__).parents[1]


def import_folders() -> list[Path]:
    """The folders on PYTHONPATH, where a job finds the user's modules, without this library's."""
    named = map(Path, filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)))
    return [folder.resolve() for folder in named if folder.resolve() != _SOURCE]


def imported_from(folders: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of each module in ``folders`` that Python has imported, by its path within them.

    Installed packages do not count.
    """
    folders = [folder.resolve() for folder in folders]
    found: dict[str, str] = {}
    for module_name, module in list(sys.modules.items()):
        name = getattr(module, "__file__", None)
        # Some packages give modules of theirs the names of files that are nowhere.
        if module_name == "__main__" or not isinstance(name, str) or not Path(name).is_absolute():
            continue
        path = Path(name).resolve()
        folder = next((one for one in folders if path.is_relative_to(one)), None)
        is_own = not (is_installed(Path(name)) or path.is_relative_to(_SOURCE))
        if folder is not None and is_own and path.suffix == ".py" and path.is_file():
            found[path.relative_to(folder).as_posix()] = _digest(path)
    return found


def record(path: Path, found: Mapping[str, str]) -> None:
    """Add what of ``found`` is new to the record at ``path``; what it has stays as it is."""
    known = read_notes(path)
    if found.keys() - known.keys():
        write_text(path, json.dumps(dict(found) | known, indent=1, sort_keys=True) + "\n")


def edited(path: Path, folders: Iterable[Path]) -> dict[str, str]:
    """What of the record at ``path`` differs from its content now: its digest, or ``gone``."""
    folders = list(folders)
    now = {}
    for name, digest in read_notes(path).items():
        places = [folder / name for folder in folders if (folder / name).is_file()]
        present = _digest(places[0]) if places else "gone"
        if present != digest:
            now[name] = present
    return now


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
