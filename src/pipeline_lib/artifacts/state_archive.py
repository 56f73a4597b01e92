"""The state of a run as one file: what it holds, and what a reader says of a file that is no such.

The file is an uncompressed zip archive: `state.json` holds the structure and the plain values,
members `0.npy`, `1.npy`, ... the arrays. Nothing in it is executed when it is read, and the archive
checks the sums of its contents. Arrays are written one after the other, so that a state as large as
the memory needs no second copy of it.
"""

import errno
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline_lib.errors import ArtifactError

State = Mapping[str, Any]
"""A dictionary with names as keys, of numpy arrays, torch tensors, data frames, None, booleans,
integers, floats and texts, and of lists and dictionaries of these."""

MadeOf = Mapping[str, str]
"""A digest of each thing that the numbers of a run depend on, by its name, such as
``configuration``; of the content of a file by ``kind: name of the file``."""

# Files of one kind that a message names; it counts the others.
_NAMED_FILES = 5

# What parsers say of bytes that are not theirs, beside the OSErrors that `_is_of_the_disk` tells.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    KeyError,
    IndexError,
    TypeError,
    ValueError,
    RuntimeError,  # a flag says that the member is encrypted; of a method unknown to zipfile
)


def write_state(path: Path, made_of: MadeOf, state: State) -> None:
    """Write ``state`` of a run that was ``made_of`` this.

    Raises TypeError if a value is of no kind that `State` names.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        head = {"made_of": dict(made_of), "state": _encoded(dict(state), archive)}
        archive.writestr("state.json", json.dumps(head))


def read_state(path: Path, made_of: MadeOf) -> dict[str, Any]:
    """What `write_state` wrote; arrays and tensors are on the CPU.

    Raises FileNotFoundError if there is no file, ArtifactError if it cannot be read, is damaged or
    was made of something else.
    """
    try:
        with path.open("rb") as file:
            return _read(file, path, made_of)
    except FileNotFoundError:
        raise
    except OSError as problem:
        raise ArtifactError(f"{path}: cannot be read ({problem.strerror})") from problem


def read_made_of(path: Path) -> MadeOf | None:
    """What the run of a state was made of; None if it cannot be read or is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            made_of: dict[str, str] = json.loads(archive.read("state.json"))["made_of"]
            return made_of
    except (*_DAMAGE, OSError):
        return None


def _read(file: IO[bytes], path: Path, made_of: MadeOf) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(file) as archive:
            head = json.loads(archive.read("state.json"))
            differing = _differences(head["made_of"], made_of)
            if not differing:
                state: dict[str, Any] = _decoded(head["state"], archive)
                return state
    except (*_DAMAGE, OSError) as problem:
        if isinstance(problem, OSError) and problem.errno != errno.EINVAL:  # of a place before 0
            raise
        raise ArtifactError(
            f"{path}: not a whole checkpoint ({problem}); remove it to start anew"
        ) from problem
    raise ArtifactError(f"{path}: is the state of a run of {differing}; remove it to start anew")


def _differences(saved: MadeOf, here: MadeOf) -> str:
    """Such as "other code (training.py), other weights"; empty if there are none."""
    files: dict[str, list[str]] = {}
    for name in sorted({*saved, *here}):
        if saved.get(name) != here.get(name):
            kind, _, file = name.partition(": ")
            files.setdefault(kind, []).extend([file] if file else [])
    found = []
    for kind, names in files.items():
        more = len(names) - _NAMED_FILES
        named = ", ".join(names[:_NAMED_FILES]) + (f" and {more} more" if more > 0 else "")
        found.append(f"other {kind} ({named})" if named else f"other {kind}")
    return ", ".join(found)


def _encoded(value: Any, archive: zipfile.ZipFile) -> list[Any]:
    """``value`` as [kind, JSON]; arrays go to ``archive`` and leave the name of their member."""
    if isinstance(value, dict):
        strange = [key for key in value if not isinstance(key, str)]
        if strange:
            raise TypeError(f"keys of a state must be texts, found {strange}")
        return ["dict", {key: _encoded(item, archive) for key, item in value.items()}]
    if isinstance(value, list):
        return ["list", [_encoded(item, archive) for item in value]]
    if value is None or isinstance(value, bool | int | float | str):
        return ["value", value]
    if isinstance(value, np.ndarray):
        return ["array", _add(value, archive)]
    if isinstance(value, pd.DataFrame):
        buffer = io.BytesIO()
        value.to_parquet(buffer)
        return ["frame", _add(np.frombuffer(buffer.getbuffer(), dtype=np.uint8), archive)]
    if type(value).__module__ == "torch":  # without importing it for a run that has no tensors
        return ["tensor", _add(value.detach().cpu().numpy(), archive)]
    raise TypeError(f"a state cannot hold a {type(value).__name__}")


def _add(array: NDArray[np.generic], archive: zipfile.ZipFile) -> str:
    name = f"{len(archive.namelist())}.npy"
    with archive.open(name, "w", force_zip64=True) as member:
        np.lib.format.write_array(member, array, allow_pickle=False)
    return name


def _decoded(encoded: list[Any], archive: zipfile.ZipFile) -> Any:
    kind, value = encoded
    if kind == "dict":
        return {key: _decoded(item, archive) for key, item in value.items()}
    if kind == "list":
        return [_decoded(item, archive) for item in value]
    if kind == "value":
        return value
    with archive.open(value) as member:
        array = np.lib.format.read_array(member, allow_pickle=False)
        member.read()  # to the end, where the checksum is compared
    if kind == "frame":
        return pd.read_parquet(io.BytesIO(array.tobytes()))
    if kind == "tensor":
        import torch

        return torch.from_numpy(array)
    return array
