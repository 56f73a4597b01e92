"""Checkouts to run the workflow in."""

import shutil
from pathlib import Path

import pytest

from checkout import copy_of


@pytest.fixture(scope="module")
def smoke(smoke_study, tmp_path_factory) -> Path:
    """A copy of it, for the tests of one file. They leave it as they found it."""
    folder = tmp_path_factory.mktemp("smoke") / "checkout"
    return Path(shutil.copytree(smoke_study, folder, symlinks=True))


@pytest.fixture
def fresh(repository, tmp_path) -> Path:
    return copy_of(repository, tmp_path / "checkout")
