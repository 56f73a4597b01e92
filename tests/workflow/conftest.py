"""The smoke study, run once for all tests that read it."""

import fcntl
import os
from pathlib import Path

import pytest

from checkout import copy_of, snakemake

CALLS = Path(__file__).parent / "calls"


@pytest.fixture(scope="session")
def data_dir(raw_data: list[Path]) -> str | None:
    return str(raw_data[0]) if raw_data else None


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this run of the tests share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def calls(shared: Path) -> Path:
    """Where the jobs of the smoke study note the functions that they call."""
    folder = shared / "calls"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def smoke(repository, shared, data_dir, calls) -> Path:
    """A folder in which the smoke study has run from clean. Tests leave it as they found it.

    The worker that asks first runs it; the other waits for it.
    """
    folder, done = shared / "study" / "checkout", shared / "smoke_is_done"
    with (shared / "smoke.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            folder.parent.mkdir(exist_ok=True)
            _run_smoke(copy_of(repository, folder), calls, data_dir)
            done.touch()
    return folder


def _run_smoke(folder: Path, calls: Path, data_dir: str | None) -> None:
    inherited = os.environ.get("PYTHONPATH")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(CALLS), *filter(None, [inherited])]))
        patch.setenv("CALLS_FOLDER", str(calls))
        done = snakemake(folder, "--config", "scale=smoke", data=data_dir)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def fresh(repository, tmp_path) -> Path:
    return copy_of(repository, tmp_path / "checkout")
