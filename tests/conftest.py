"""Where the tests find the repository and raw data."""

import os
from pathlib import Path

import pytest

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
