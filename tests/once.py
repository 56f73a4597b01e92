"""Work that the workers of one run of the tests share."""

import fcntl
import traceback
from collections.abc import Callable
from pathlib import Path


def once(shared: Path, name: str, work: Callable[[], None]) -> None:
    """Do ``work`` in the worker that comes first; the others wait for it.

    Where it failed there, the others raise RuntimeError with what went wrong, and don't try again.
    """
    outcome = shared / f"{name}_outcome"
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not outcome.exists():
            try:
                work()
            except BaseException:
                outcome.write_text(traceback.format_exc())
                raise
            outcome.write_text("")
        elif failure := outcome.read_text():
            raise RuntimeError(f"{name} failed in another worker:\n{failure}")
