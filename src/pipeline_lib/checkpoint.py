"""Long runs that can be stopped: their state in one file, to go on from bit for bit.

The file is an uncompressed zip archive: `state.json` holds the structure and the plain values,
members `0.npy`, `1.npy`, ... the arrays. Nothing in it is executed when it is read, and the archive
checks the sums of its contents. Arrays are written one after the other, so that a state as large as
the memory needs no second copy of it.

    with Checkpoint(path, digest, every_s=600) as checkpoint:
        state = checkpoint.load()
        for ...:
            checkpoint.save_if_due(lambda: {"step": step, "weights": weights})
        write the results
"""

import hashlib
import io
import json
import logging
import signal
import time
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline_lib.artifacts import write_whole
from pipeline_lib.config import digest
from pipeline_lib.errors import ArtifactError, PipelineError

log = logging.getLogger(__name__)

State = Mapping[str, Any]
"""A dictionary with names as keys, of numpy arrays, torch tensors, data frames, None, booleans,
integers, floats and texts, and of lists and dictionaries of these."""

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class StoppedError(PipelineError):
    """The run was asked to stop and has saved its state."""


class StopRequested:
    """While it is open, SIGTERM and SIGUSR1 raise a flag instead of ending the process.

    True once such a signal has come; ``name`` is that of the first. Slurm sends SIGTERM before it
    kills, and what ``--signal`` asks for. To be opened in the main thread.
    """

    def __init__(self) -> None:
        self.name: str | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __bool__(self) -> bool:
        return self.name is not None

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.name is None:
            self.name = signal.Signals(number).name


class Checkpoint:
    """The newest state of one run, in the file ``path``.

    Args:
        digest: of everything that the run's results depend on.
        every_s: seconds from the end of one save to the start of the next. The state is also saved
            when a stop is requested, between two steps.

    As a context it listens to signals (`StopRequested`), and leaving it without an error removes
    the file: leave it once the results are written.
    """

    def __init__(self, path: Path, digest: str, every_s: float = 600.0) -> None:
        self.path = path
        self.digest = digest
        self.every_s = every_s
        self._stop = StopRequested()
        self._saved_at = time.monotonic()

    def __enter__(self) -> Self:
        self._stop.__enter__()
        self._saved_at = time.monotonic()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.__exit__(kind, error, trace)
        if kind is None:
            self.remove()

    def load(self) -> dict[str, Any] | None:
        """The state to go on from, None if there is none; arrays and tensors are on the CPU.

        Raises ArtifactError if the file is of another digest or not whole.
        """
        self._remove_torn()
        try:
            with zipfile.ZipFile(self.path) as archive:
                head = json.loads(archive.read("state.json"))
                if head["digest"] != self.digest:
                    raise ArtifactError(
                        f"{self.path}: state of a run with digest {head['digest']}, this run has "
                        f"{self.digest}; remove the file to start anew"
                    )
                state: dict[str, Any] = _decoded(head["state"], archive)
        except FileNotFoundError:
            return None
        except (zipfile.BadZipFile, OSError, KeyError, ValueError, EOFError) as problem:
            raise ArtifactError(
                f"{self.path}: not a whole checkpoint ({problem}); remove it to start anew"
            ) from problem
        log.info("%s: going on from the state that a stopped run left", self.path)
        return state

    def save(self, state: State) -> bool:
        """Put ``state`` in the place of any older one, in one step; whether it is there.

        It is not, and the log says so, if another process removed what was being written, taking
        it for torn. An older state stays.

        Raises TypeError if a value is of no kind that `State` names.
        """
        try:
            write_whole(self.path, lambda temporary: _write(temporary, self.digest, state))
        except FileNotFoundError as gone:
            log.warning(
                "%s: state not saved, %s is gone; another process seems to train the same block",
                self.path,
                gone.filename,
            )
            return False
        self._saved_at = time.monotonic()
        return True

    def save_if_due(self, state: Callable[[], State]) -> None:
        """Save what ``state`` gives, if it is time to or if a stop is requested.

        Raises StoppedError after saving for a requested stop.
        """
        if self._stop:
            saved = "state saved" if self.save(state()) else "state not saved"
            raise StoppedError(
                f"{self.path}: stopped by {self._stop.name}, {saved}; run again to go on"
            )
        if time.monotonic() - self._saved_at >= self.every_s:
            self.save(state())

    def remove(self) -> None:
        """Remove the state, if there is one."""
        self.path.unlink(missing_ok=True)
        self._remove_torn()

    def _remove_torn(self) -> None:
        """Remove what a process killed while it was writing has left (`artifacts.write_whole`)."""
        if self.path.parent.is_dir():
            for torn in self.path.parent.glob(f".{self.path.name}.????????"):
                torn.unlink(missing_ok=True)


def block_checkpoint(
    path: Path, depends_on: Mapping[str, Any], files: Iterable[str | Path], every_s: float
) -> Checkpoint:
    """The checkpoint of a training block, which refuses a state of other data, weights or code.

    Args:
        depends_on: what the block's results depend on, as plain JSON values.
        files: those whose contents they depend on, wherever they lie; their order counts.
        every_s: as of `Checkpoint`.

    Raises FileNotFoundError if one of ``files`` is absent.
    """
    contents = [hashlib.sha256(Path(name).read_bytes()).hexdigest() for name in files]
    return Checkpoint(path, digest({**depends_on, "files": contents}), every_s)


def _write(path: Path, digest: str, state: State) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        head = {"digest": digest, "state": _encoded(dict(state), archive)}
        archive.writestr("state.json", json.dumps(head))


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
