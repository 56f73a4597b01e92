"""Digests of the code behind scripts, kept in a file until some code is edited."""

import hashlib
import json
import logging
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipeline_lib.artifacts.files import read_notes
from pipeline_lib.errors import ConfigError
from pipeline_lib.study.code.search import Library

log = logging.getLogger(__name__)


class Digests:
    """The digests of all scripts of a folder, as the code is when they are first asked for.

    Args:
        library: the modules that the scripts use.
        scripts: their folder.
        kept: the file that keeps them, since a search takes longer than the rest of a dry run's
            preparation; it is written anew when any file of the library or any script differs. A
            file that cannot be read or written is done without.
    """

    def __init__(self, library: Library, scripts: Path, kept: Path) -> None:
        self._library, self._scripts, self._kept = library, scripts, kept
        self._known: dict[str, Any] | None = None
        self._own: dict[Path, str] = {}

    def of(
        self,
        script: str,
        models: Iterable[str] = (),
        own: Iterable[Path] = (),
        edited: Iterable[str] = (),
    ) -> str:
        """A fingerprint of the code behind ``script``, the name of a file of the folder.

        models: the classes of the models that the job may train, as ``package.module:Class``. They
            count if the script uses the table of all models.
        own: the files of models that lie outside the library. They count likewise, with what they
            use of the library.
        edited: digests of modules of the user's own that were edited since they were first
            imported (`pipeline_lib.study.code.imported`). They count likewise.
        """
        if self._known is None:
            self._known = self._read()
        key = " ".join([script, *sorted(set(models))])
        if key not in self._known["digests"]:
            found = self._library.search(self._scripts / script, sorted(set(models)))
            self._known["digests"][key] = [found.digest(), found.uses_models]
            self._write(self._known)
        digest, uses_models = self._known["digests"][key]
        if not uses_models:
            return str(digest)
        return "-".join([digest, *map(self.of_own, own), *edited])

    def of_own(self, path: Path) -> str:
        """A fingerprint of the code of a kind of model outside the library.

        Raises ConfigError if the file is not Python, or imports ``*``.
        """
        if path not in self._own:
            try:
                self._own[path] = self._library.search(path).digest()
            except SyntaxError as error:
                line = f", line {error.lineno}" if error.lineno else ""
                raise ConfigError(f"{path}{line}: {error.msg}") from None
        return self._own[path]

    def _read(self) -> dict[str, Any]:
        code = self._state_of_code()
        known = read_notes(self._kept)
        if known.get("code") == code:
            return known
        return {"code": code, "digests": {}}

    def _write(self, known: dict[str, Any]) -> None:
        folder = self._kept.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                "w", dir=folder, encoding="utf-8", delete=False
            ) as file:
                json.dump(known, file, indent=1)
            Path(file.name).replace(self._kept)
        except OSError:
            log.debug("%s cannot be written", self._kept)

    def _state_of_code(self) -> str:
        told = hashlib.sha256()
        if self._library.lock is not None:
            told.update(self._library.lock.read_bytes())
        for folder in (self._library.folder, self._scripts):
            for path in sorted(folder.rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts:
                    content = path.read_bytes()
                    told.update(f"{path.relative_to(folder)} {len(content)}\n".encode() + content)
        return told.hexdigest()
