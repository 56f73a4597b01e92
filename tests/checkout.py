"""A copy of the pipeline in a folder of its own, and Snakemake run in it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

FILES = ("Snakefile", "config.yaml", "workflow", "profiles", "slurm", "src", "envs")


def copy_of(repository: Path, target: Path) -> Path:
    """The files that a run needs, in a folder of its own."""
    target.mkdir()
    for name in FILES:
        source = repository / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target / name)
    return target


def snakemake(
    folder: Path, *arguments: str, data: str | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "DATA_DIR"}
    if data is not None:
        environment["DATA_DIR"] = data
    # Compiled kernels are shared between copies of the source.
    environment["NUMBA_CACHE_DIR"] = str(folder.parent / "numba")
    return subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
