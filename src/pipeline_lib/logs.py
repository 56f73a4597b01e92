"""Logs and progress of long work: a bar on a terminal, a heartbeat line in a file."""

import atexit
import gc
import logging
import re
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from pipeline_lib.errors import PipelineError

log = logging.getLogger(__name__)
T = TypeVar("T")
_JOB_LOG = re.compile(r"^ *log: (.+) \(check log file", re.MULTILINE)


@contextmanager
def job_log(path: str | Path) -> Iterator[None]:
    """Log to ``path`` and to standard error while a job runs.

    An error that the user can mend ends the job with its one line and no traceback.
    """
    # An interpreter that ends looks through all its objects for cycles, again and again: with torch
    # for half a second, a fifth of a small job.
    atexit.register(gc.freeze)
    handlers: list[logging.Handler] = [logging.FileHandler(path, mode="w"), logging.StreamHandler()]
    logging.basicConfig(format="%(asctime)s %(message)s", handlers=handlers, force=True)
    logging.getLogger("pipeline_lib").setLevel(logging.INFO)
    try:
        yield
    except PipelineError as error:
        log.error("error: %s", error)
        raise SystemExit(1) from None
    except Exception:
        log.exception("the job failed")
        raise
    finally:
        for handler in handlers:
            handler.close()


def errors_told(logs_of_run: Iterable[Path]) -> list[str]:
    """What the logs of failed jobs say was wrong, each line once.

    ``logs_of_run`` are Snakemake's own logs, which name those of the jobs.
    """
    told: dict[str, None] = {}
    texts = [path.read_text(errors="replace") for path in logs_of_run]
    for name in (name for text in texts for name in _JOB_LOG.findall(text)):
        try:
            lines = Path(name).read_text(errors="replace").splitlines()
        except OSError:
            continue
        told |= {line[line.index("error: ") :]: None for line in lines if " error: " in line}
    return list(told)


def progress(items: Iterable[T], total: int, what: str, every_s: float = 30.0) -> Iterator[T]:
    """Pass ``items`` through; ``total`` is their number and ``what`` names them.

    On a terminal a bar is drawn; elsewhere a line is logged every ``every_s`` seconds and at the
    end.
    """
    if sys.stderr.isatty():
        yield from tqdm(items, total=total, desc=what)
        return
    start = last = time.monotonic()
    done = 0
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= every_s:
            left = (now - start) / done * (total - done)
            log.info("%s: %d of %d, about %.0f s left", what, done, total, left)
            last = now
    log.info("%s: %d done in %.1f s", what, done, time.monotonic() - start)
