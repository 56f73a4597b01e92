"""Long runs that can be stopped: their state in one file, to go on from bit for bit.

    with Checkpoint(path, made_of, every_s=600) as checkpoint:
        state = checkpoint.load()
        for ...:
            checkpoint.save_if_due(lambda: {"step": step, "weights": weights})
        write the results

`pipeline_lib.artifacts.state_archive` tells what a state may hold and how it lies in the file.
"""

import hashlib
import logging
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from pipeline_lib.artifacts.digest import digest
from pipeline_lib.artifacts.files import write_whole
from pipeline_lib.artifacts.state_archive import (
    MadeOf,
    State,
    read_made_of,
    read_state,
    write_state,
)
from pipeline_lib.errors import PipelineError

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class StoppedError(PipelineError):
    """The run was asked to stop; the message says whether its state is saved."""


class StopRequested:
    """While it is open, SIGTERM, SIGUSR1 and SIGINT raise a flag instead of ending the process.

    True once such a signal has come; ``name`` is that of the first. Slurm sends SIGTERM before it
    kills, and what ``--signal`` asks for; Ctrl-C sends SIGINT, and pressed again it raises
    KeyboardInterrupt as ever. Where SIGINT is ignored, as behind ``&`` in a script, it stays so.
    To be opened in the main thread.
    """

    def __init__(self) -> None:
        self.name: str | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __bool__(self) -> bool:
        return self.name is not None

    def __enter__(self) -> Self:
        heard = [
            number
            for number in SIGNALS
            if number != signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN
        ]
        self._before = {number: signal.signal(number, self._note) for number in heard}
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
        elif number == signal.SIGINT:
            signal.default_int_handler(number, frame)


class Checkpoint:
    """The newest state of one run, in the file ``path``.

    Args:
        made_of: everything that the run's results depend on.
        every_s: seconds from the end of one save to the start of the next. The state is also saved
            when a stop is requested.

    As a context it listens to signals (`StopRequested`), and leaving it without an error removes
    the file: leave it once the results are written.
    """

    def __init__(self, path: Path, made_of: MadeOf, every_s: float = 600.0) -> None:
        self.path = path
        self.made_of = made_of
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

        Raises ArtifactError if the file cannot be read, is not whole or is of another run.
        """
        self._remove_torn()
        try:
            state = read_state(self.path, self.made_of)
        except FileNotFoundError:
            return None
        log.info("%s: going on from the state that a stopped run left", self.path)
        return state

    def save(self, state: State) -> bool:
        """Put ``state`` in the place of any older one, in one step; whether it is there.

        It is not, and the log says why, if it cannot be written, as on a full disk. An older state
        stays, and the next save is due as after any other.

        Raises TypeError if a value is of no kind that `State` names.
        """
        try:
            write_whole(self.path, lambda temporary: write_state(temporary, self.made_of, state))
        except FileNotFoundError as gone:  # `_remove_torn` of another process took it for torn
            log.warning(
                "%s: state not saved, %s is gone; another process seems to train the same block",
                self.path,
                gone.filename,
            )
            return False
        except OSError as problem:
            log.warning("%s: state not saved (%s)", self.path, problem.strerror or problem)
            return False
        finally:
            self._saved_at = time.monotonic()
        return True

    def save_if_due(self, state: Callable[[], State]) -> bool:
        """Save what ``state`` gives, if it is time to or if a stop is requested; whether it did.

        Raises StoppedError for a requested stop, also where the state could not be saved.
        """
        if self._stop:
            told = "state saved; run again to go on"
            if not self.save(state()):
                told = "state not saved; run again to go on from an older one, or to start anew"
            raise StoppedError(f"{self.path}: stopped by {self._stop.name}, {told}")
        return time.monotonic() - self._saved_at >= self.every_s and self.save(state())

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
    path: Path,
    values: Mapping[str, Any],
    files: Mapping[str, Iterable[str | Path]],
    every_s: float,
) -> Checkpoint:
    """The checkpoint of a training block, which refuses a state of other data, weights or code.

    Args:
        values: what the block's results depend on, as plain JSON values, by the names by which
            a refusal calls them.
        files: by kind, those whose contents they depend on, wherever they lie; the order of files
            of one name counts.
        every_s: as of `Checkpoint`.

    Raises FileNotFoundError if one of ``files`` is absent.
    """
    contents: dict[str, list[str]] = {}
    for kind, paths in files.items():
        for file in map(Path, paths):
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            contents.setdefault(f"{kind}: {file.name}", []).append(content)
    made_of = _digests({**values, **contents})
    return Checkpoint(path, made_of, every_s)


def is_stale(path: Path, values: Mapping[str, Any]) -> bool:
    """Whether the state in ``path`` is of a run with others of ``values``, or cannot be read.

    ``values`` are some of those that `block_checkpoint` takes: what is known before the job runs.
    """
    made_of = read_made_of(path)
    return made_of is None or any(made_of.get(k) != v for k, v in _digests(values).items())


def _digests(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: digest({name: value}) for name, value in values.items()}
