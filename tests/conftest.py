"""Where the tests find the repository, raw data and the smoke study, and which of them are slow."""

import os
import signal
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from checkout import copy_of, snakemake
from once import once
from pipeline_lib.study import rates

# A shell ignores SIGINT in what it starts behind `&`, and children inherit that: tests that send
# it would wait for nothing.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The workflow refuses an interpreter whose path has a space, as that of a checkout in "my folder".
# A link to it has none.
if " " in sys.executable:
    links = tempfile.TemporaryDirectory(prefix="interpreter-")
    (Path(links.name) / "venv").symlink_to(sys.prefix)
    sys.executable = str(Path(links.name) / "venv/bin" / Path(sys.executable).name)

TESTS = Path(__file__).resolve().parent
REPOSITORY = TESTS.parent
CALLS = TESTS / "workflow/calls"
# Tests in these folders run the workflow, a browser or a Slurm.
SLOW_FOLDERS = {"browser", "cluster", "workflow"}

# No test depends on how fast or how busy the machine is.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of slow folders, and put these first, then other files with slow tests.

    With several workers a long file that came last would leave all but one of them idle.
    """
    slow_folders = [TESTS / name for name in SLOW_FOLDERS]
    order = {}  # of files, which may lie outside of tests/
    for item in items:
        if any(item.path.is_relative_to(folder) for folder in slow_folders):
            item.add_marker("slow")
            order[item.path] = 0
        elif item.get_closest_marker("slow"):
            order[item.path] = 1
    items.sort(key=lambda item: order.get(item.path, 2))


@pytest.fixture(autouse=True)
def no_measured_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Estimates are the assumed ones, whatever was measured in the folder of the tests."""
    monkeypatch.setattr(rates, "RATES", TESTS / "no_such_rates.json")


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
def smoke_study(repository, shared, data_dir, calls) -> Path:
    """A folder in which the smoke study has run from clean. It is read by all and changed by none.

    The worker that asks first runs it; the other waits for it.
    """
    folder = shared / "study" / "checkout"

    def run() -> None:
        folder.parent.mkdir(exist_ok=True)
        _run_smoke(copy_of(repository, folder), calls, data_dir)

    once(shared, "smoke", run)
    return folder


def _run_smoke(folder: Path, calls: Path, data_dir: str | None) -> None:
    inherited = os.environ.get("PYTHONPATH")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(CALLS), *filter(None, [inherited])]))
        patch.setenv("CALLS_FOLDER", str(calls))
        done = snakemake(folder, "--config", "scale=smoke", data=data_dir)
    assert done.returncode == 0, done.stderr
