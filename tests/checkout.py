"""A copy of the pipeline in a folder of its own, and Snakemake run in it."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

FILES = ("Snakefile", "config.yaml", "workflow", "profiles", "slurm", "src", "envs")
NOTHING = "Nothing to be done"


def copy_of(repository: Path, target: Path) -> Path:
    """The files that a run needs, in a folder of its own."""
    target.mkdir()
    for name in FILES:
        source = repository / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=_unfinished)
        else:
            shutil.copy(source, target / name)
    return target


def _unfinished(folder: str, names: list[str]) -> list[str]:
    """What another process may be writing just now, of what python and numba have compiled.

    The rest is copied with its sources and their times, by which it is found to be up to date:
    compiling the kernels takes several seconds.
    """
    if Path(folder).name != "__pycache__":
        return []
    return [name for name in names if not name.endswith((".pyc", ".nbi", ".nbc"))]


def snakemake(
    folder: Path, *arguments: str, data: str | None = None
) -> subprocess.CompletedProcess[str]:
    """A checkout's own study, run in it, with DATA_DIR alone as ``data`` says."""
    environment = {key: value for key, value in os.environ.items() if key != "DATA_DIR"}
    if data is not None:
        environment["DATA_DIR"] = data
    return _snakemake(folder, arguments, environment)


def snakemake_from(
    checkout: Path, folder: Path, *arguments: str, configuration: str = "config.yaml"
) -> subprocess.CompletedProcess[str]:
    """The pipeline of a checkout run from a user's folder, as the READMEs of examples say."""
    places = ("--snakefile", str(checkout / "Snakefile"), "--configfile", configuration)
    return _snakemake(folder, (*places, *arguments), os.environ | {"OMP_NUM_THREADS": "1"})


def _snakemake(
    folder: Path, arguments: tuple[str, ...], environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=3600,  # so that nothing hangs; a busy machine may be slow
    )


def jobs(output: str) -> dict[str, int]:
    """The table 'Job stats' of a dry-run."""
    lines = output.split("Job stats:")[1].split("\n\n")[0].splitlines()[3:]
    return {name: int(count) for name, count in (line.split() for line in lines)}


def with_real_edit(source: str) -> str:
    """A module whose functions all do one thing more, of no consequence."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.body.append(ast.parse("assert True").body[0])
    return ast.unparse(tree)


def with_cosmetic_edits(source: str) -> str:
    """A module with comments, blank lines, other docstrings and its own layout."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef):
            if ast.get_docstring(node) is not None:
                node.body.pop(0)
            if not isinstance(node, ast.Module):
                node.body.insert(0, ast.parse("'Another docstring.'").body[0])
    return "# A comment.\n\n" + ast.unparse(tree)
