"""Raw files as they were used, kept so that data once built can be built again from the same.

Neither a data folder that is not named any more nor a network that is away then changes what a
study is made of. Each file has a note of the place where it was found, which stays its source.
"""

import hashlib
import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline_lib.artifacts.files import read_notes, write_text, write_whole

logger = logging.getLogger(__name__)

FOLDER = Path("raw_data")
"""Where the workflow keeps raw files: in the folder in which it runs, for every scale."""

Kind = Literal["mirror", "url", "wheel"]


@dataclass(frozen=True)
class Source:
    """One file as found: the kind of place, that place in words, the file's name, its bytes."""

    kind: Kind
    location: str
    file_name: str
    content: bytes


def keep(folder: Path, what: str, source: Source) -> None:
    """Keep ``source`` as the raw file of ``what``; without a folder to write in, log a warning."""
    path, note = _paths(folder, what)
    told = {
        "kind": source.kind,
        "location": source.location,
        "file_name": source.file_name,
        "sha256": hashlib.sha256(source.content).hexdigest(),
    }
    try:
        write_whole(path, lambda temporary: temporary.write_bytes(source.content))
        write_text(note, json.dumps(told, indent=2) + "\n")
    except OSError as error:
        logger.warning("%s: no copy is kept in %s: %s", what, folder, error.strerror)


def kept(folder: Path | None, what: str) -> Source | None:
    """The raw file of ``what`` as it was kept; None where there is none, or not a whole one."""
    if folder is None:
        return None
    path, note = _paths(folder, what)
    try:
        told, content = json.loads(note.read_text(encoding="utf-8")), path.read_bytes()
        if hashlib.sha256(content).hexdigest() != told["sha256"]:
            logger.warning("%s: %s is truncated or altered: passed over", what, path)
            return None
        return Source(told["kind"], told["location"], told["file_name"], content)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def supplied_digest(file_names: Sequence[str], mirrors: Sequence[Path]) -> str | None:
    """sha256 of the first of ``file_names`` in ``mirrors``, or None where there is none."""
    for path in (folder / name for folder in mirrors for name in file_names):
        if path.is_file():
            return hashlib.sha256(path.read_bytes()).hexdigest()
    return None


def supplied_since(supplied: str | None, origin: Path, kept_in: Path) -> str | None:
    """``supplied``, from `supplied_digest`, as the data noted in ``origin`` should see it.

    That is what they were built with, unless a file of another content is supplied now: neither a
    folder that is not there any more nor a copy of the very file in use builds them anew.
    """
    built = read_notes(origin)
    if "supplied" not in built:
        return supplied
    used = [note.get("sha256") for note in map(read_notes, sorted(kept_in.glob("*.json")))]
    if supplied is None or supplied in used:
        before: str | None = built["supplied"]
        return before
    return supplied


def _paths(folder: Path, what: str) -> tuple[Path, Path]:
    name = re.sub(r"\W+", "_", what.lower())
    return folder / name, folder / f"{name}.json"
