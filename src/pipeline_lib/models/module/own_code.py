"""Calls of the user's own functions: seeded, what they print in the log, errors in one line."""

import contextlib
import functools
import io
import logging
import random
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from pipeline_lib.errors import ConfigError, PipelineError
from pipeline_lib.imports import is_installed, one_line
from pipeline_lib.seeding import torch_seed

log = logging.getLogger(__name__)
_OPENED: list[list[Path]] = []
Result = TypeVar("Result")


@contextlib.contextmanager
def seeded(stream: np.random.SeedSequence) -> Iterator[None]:
    """Seed the global generators of torch (on CPU), NumPy and Python; afterwards they go on."""
    of_numpy, of_python = np.random.get_state(), random.getstate()  # noqa: NPY002
    seed = torch_seed(stream)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(of_numpy)  # noqa: NPY002
            random.setstate(of_python)


@contextlib.contextmanager
def files_read() -> Iterator[list[Path]]:
    """The files that Python opens for reading meanwhile, but for code and installed packages."""
    seen: list[Path] = []
    _hook()
    _OPENED.append(seen)
    try:
        yield seen
    finally:
        _OPENED[:] = [one for one in _OPENED if one is not seen]
        of_system = [Path(name) for name in ("/proc", "/sys", "/dev")]
        kept = {
            path
            for path in set(seen)
            if path.suffix not in (".py", ".pyc")
            and not is_installed(path)
            and not any(path.is_relative_to(folder) for folder in of_system)
        }
        seen[:] = sorted(kept)


@functools.cache
def _hook() -> None:
    sys.addaudithook(_note_open)  # for good: Python takes none back


def _note_open(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and _OPENED and isinstance(arguments[0], str):
        mode = arguments[1]
        if mode is None or not set("wax+") & set(str(mode)):
            for seen in list(_OPENED):
                seen.append(Path(arguments[0]).absolute())


def called(name: str, function: Callable[[], Result]) -> Result:
    """What a function of the user's own returns; what it prints goes to the log.

    Raises ConfigError, which begins with ``name``, if it raises or ends Python.
    """
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            return function()
    except PipelineError:
        raise
    except (Exception, SystemExit) as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(last.filename).name}, line {last.lineno}"
        raise ConfigError(f"{name}: calling it fails: {one_line(error)} ({place})") from error
    finally:
        for line in printed.getvalue().splitlines():
            log.info("%s prints: %s", name, line)
