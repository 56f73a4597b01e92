"""The smoke study, run once for all tests that read it."""

import os
from pathlib import Path

import pytest

from checkout import copy_of, snakemake

CALLS = Path(__file__).parent / "calls"


@pytest.fixture(scope="session")
def data_dir(raw_data: list[Path]) -> str | None:
    return str(raw_data[0]) if raw_data else None


@pytest.fixture(scope="session")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the jobs of the smoke study note the functions that they call."""
    return tmp_path_factory.mktemp("calls")


@pytest.fixture(scope="session")
def smoke(repository, tmp_path_factory, data_dir, calls) -> Path:
    """A folder in which the smoke study has run from clean. Tests leave it as they found it."""
    folder = copy_of(repository, tmp_path_factory.mktemp("study") / "checkout")
    inherited = os.environ.get("PYTHONPATH")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(CALLS), *filter(None, [inherited])]))
        patch.setenv("CALLS_FOLDER", str(calls))
        done = snakemake(folder, "--config", "scale=smoke", data=data_dir)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def fresh(repository, tmp_path) -> Path:
    return copy_of(repository, tmp_path / "checkout")
