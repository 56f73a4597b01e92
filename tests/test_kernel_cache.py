"""The cache of compiled kernels where the code cannot be written."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline_lib.kernel_cache import kernel_cache

pytestmark = pytest.mark.slow


def test_numba_is_left_alone_where_it_can_write_or_the_user_has_chosen(tmp_path: Path) -> None:
    assert kernel_cache(tmp_path, tmp_path / "cache", {}) is None
    missing = tmp_path / "none"
    assert kernel_cache(missing, tmp_path / "cache", {}) == tmp_path / "cache"
    assert kernel_cache(missing, tmp_path / "cache", {"NUMBA_CACHE_DIR": "/mine"}) is None


def test_kernels_compile_where_neither_code_nor_home_can_be_written(
    repository: Path, tmp_path: Path
) -> None:
    """Numba alone refuses there, which shows that the test has what it needs."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(repository / "src", tmp_path / "src", ignore=ignored)
    # Folders that cannot be written, by root neither.
    for folder in (tmp_path / "src/pipeline_lib").rglob("*"):
        if folder.is_dir():
            (folder / "__pycache__").write_text("")

    def run(**more: str) -> subprocess.CompletedProcess[str]:
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith("NUMBA")
        }
        return subprocess.run(
            [sys.executable, "-c", "import pipeline_lib.training.replica_moments"],
            env=environment | {"HOME": "/dev/null", "PYTHONPATH": str(tmp_path / "src")} | more,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )

    assert "no locator available" in run().stderr
    done = run(NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
