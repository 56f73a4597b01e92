"""Where the tests find the repository and raw data."""

import os
import signal
from pathlib import Path

import pytest

# A shell ignores SIGINT in what it starts behind `&`, and children inherit that: tests that send
# it would wait for nothing.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def raw_data() -> list[Path]:
    """Folders that may hold raw data: DATA_DIR, or the data folder beside the checkout."""
    named = os.environ.get("DATA_DIR")
    folders = [Path(named)] if named else [REPOSITORY.parent / "shared" / "data"]
    return [folder for folder in folders if folder.is_dir()]
