"""Each GPU job of this machine on a card of its own.

Slurm hands out cards itself. Elsewhere, and within an allocation of several cards, a job takes the
first card that no other job holds, by a lock on a file, which the system drops when the job ends,
however it ends.
"""

import fcntl
import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pipeline_lib.training.device import named_cards

log = logging.getLogger(__name__)

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_POLL_S = 0.5


def cards_here(environ: Mapping[str, str], devices: Path = Path("/dev")) -> list[str]:
    """The cards that a job here may use, as ``CUDA_VISIBLE_DEVICES`` names them.

    Those of that variable where it is set, else as many as there are device files. Torch is not
    asked, since this is read whenever the workflow is.
    """
    if _VISIBLE in environ:
        return named_cards(environ[_VISIBLE])
    files = [path for path in devices.glob("nvidia*") if path.name.removeprefix("nvidia").isdigit()]
    below_windows = (devices / "dxg").exists()  # which has no file for each card
    return [str(number) for number in range(len(files) or int(below_windows))]


@contextmanager
def own_card(
    device: str, environ: MutableMapping[str, str] | None = None, folder: Path | None = None
) -> Iterator[None]:
    """Inside, ``CUDA_VISIBLE_DEVICES`` of ``environ`` names one card that no other job here holds.

    To be entered before torch first asks for a device. Waits for a card while all are taken.
    Nothing is done if ``device`` is ``cpu``, where there is no card, or in a job of Slurm that was
    given one; one that was given more is an allocation in which several jobs may run.

    Args:
        device: `pipeline_lib.study.model.Model.device_wanted`.
        environ: of this process if None.
        folder: of the locks; one of the user's in the folder of temporary files if None.
    """
    environ = os.environ if environ is None else environ
    cards = [] if device == "cpu" else cards_here(environ)
    if not cards or ("SLURM_JOB_ID" in environ and len(cards) == 1):
        yield
        return
    if folder is None:
        # Two allocations may name different cards alike.
        allocation = f"-{environ['SLURM_JOB_ID']}" if "SLURM_JOB_ID" in environ else ""
        folder = Path(tempfile.gettempdir()) / f"gpus-{os.getuid()}{allocation}"
    folder.mkdir(mode=0o700, exist_ok=True)
    before = environ.get(_VISIBLE)
    with ExitStack() as held:
        environ[_VISIBLE] = _take(cards, folder, held)
        try:
            yield
        finally:
            if before is None:
                del environ[_VISIBLE]
            else:
                environ[_VISIBLE] = before


def _take(cards: Sequence[str], folder: Path, held: ExitStack) -> str:
    """The first card whose lock is had; ``held`` keeps it."""
    is_told = False
    while True:
        for card in cards:
            # The name of a slice of a card has slashes.
            name = hashlib.sha256(card.encode()).hexdigest()[:16]
            with ExitStack() as tried:
                file = tried.enter_context((folder / f"{name}.lock").open("w"))
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                held.enter_context(tried.pop_all())
                return card
        if not is_told:
            log.info("waiting for a GPU: other blocks hold all %d", len(cards))
            is_told = True
        time.sleep(_POLL_S)
