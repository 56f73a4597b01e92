"""A copy of the repository in which the study runs, and its artefacts by value."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from checkout import copy_of

TARGET = "results/smoke/variance/admission.parquet"
# Two blocks of some seconds each on one core: long enough to be hit while they train.
SMOKE = {
    "admission": {
        "batch_sizes": [4, 64],
        "runs": 3000,
        "runs_per_block": 3000,
        "iterations": 3000,
    }
}
CHECKPOINT_EVERY_S = 0.3
# Jobs here take seconds: looked at sooner than on a cluster. The plugin waits 10 s longer after
# every look at which nothing had finished, so a test lasts 12, 33 or 64 s and a little.
QUICK_LOOKS = (
    "--slurm-init-seconds-before-status-checks=1",
    "--seconds-between-status-checks=1",
    "--latency-wait=15",
)


@dataclass(frozen=True)
class Checkout:
    """A folder with the workflow, in which Snakemake runs with one configuration."""

    folder: Path
    data: str | None

    @classmethod
    def of(cls, repository: Path, folder: Path, smoke: dict[str, object], data: str | None):
        """Copy ``repository``; ``smoke`` is what the scale of that name changes."""
        copy_of(repository, folder)
        mine = {
            "scales": {"smoke": smoke},
            # On CPU: no program can compute on the cluster's GPUs.
            "compute": {"checkpoint_every_s": CHECKPOINT_EVERY_S, "device": "cpu"},
        }
        (folder / "mine.yaml").write_text(json.dumps(mine))
        return cls(folder, data)

    def copied(self, folder: Path) -> "Checkout":
        """The same with whatever is made already; times of files are kept."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Checkout(folder, self.data)

    def save_states_every(self, seconds: float) -> None:
        """Of blocks that start from now on; no result depends on it."""
        mine = json.loads((self.folder / "mine.yaml").read_text())
        mine["compute"]["checkpoint_every_s"] = seconds
        (self.folder / "mine.yaml").write_text(json.dumps(mine))

    @property
    def results(self) -> Path:
        return self.folder / "results/smoke"

    @property
    def block_logs(self) -> list[Path]:
        return sorted((self.folder / "logs/smoke/runs").glob("*.log"))

    @property
    def states(self) -> list[Path]:
        """Checkpoints of blocks that train, or were stopped."""
        return sorted((self.results / "checkpoints").glob("*.zip"))

    def start(self, *targets: str, options: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        """Start Snakemake; what it prints goes to output.txt."""
        command = [sys.executable, "-m", "snakemake", "--cores", "2", *options]
        command += ["--configfile", "mine.yaml", "--config", "scale=smoke", "--", *targets]
        environment = dict(os.environ, OMP_NUM_THREADS="1")
        environment["NUMBA_CACHE_DIR"] = str(self.folder.parent / "numba")
        if self.data is not None:
            environment["DATA_DIR"] = self.data
        with (self.folder / "output.txt").open("w") as output:
            return subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=output, stderr=output, text=True
            )

    def finish(self, process: subprocess.Popen[str], seconds: float = 900) -> int:
        """Wait for Snakemake; its exit status."""
        try:
            return process.wait(seconds)
        finally:
            process.kill()

    def run(self, *targets: str, options: tuple[str, ...] = ()) -> int:
        return self.finish(self.start(*targets, options=options))

    @property
    def output(self) -> str:
        """What the last Snakemake printed."""
        return (self.folder / "output.txt").read_text()

    def artefacts(self) -> dict[str, object]:
        """Every file under results/ by its path: tables with their metadata, other files as bytes.

        Pictures and the times that jobs took count by their presence.
        """
        found: dict[str, object] = {}
        for path in sorted(self.results.rglob("*")):
            name = str(path.relative_to(self.results))
            if path.suffix == ".parquet" and not path.name.startswith("."):
                found[name] = _table(path)
            elif path.is_file():
                found[name] = path.suffix in (".svg", ".png", ".tsv") or path.read_bytes()
        return found


def _table(path: Path) -> tuple[pa.Table, bytes]:
    table = pq.ParquetFile(path).read()
    return table.replace_schema_metadata(), (table.schema.metadata or {}).get(b"provenance", b"")


def differences(found: dict[str, object], expected: dict[str, object]) -> list[str]:
    """Names of artefacts that are missing, too many or of other values. NaN equals NaN."""
    names = found.keys() ^ expected.keys()
    for name in found.keys() & expected.keys():
        one, other = found[name], expected[name]
        if isinstance(one, tuple) and isinstance(other, tuple):
            same = one[1] == other[1] and one[0].to_pandas().equals(other[0].to_pandas())
        else:
            same = one == other
        if not same:
            names.add(name)
    return sorted(names)
