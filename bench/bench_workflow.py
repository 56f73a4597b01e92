"""What the workflow costs around the work: reading the study, and starting a job here or on Slurm.

Prints a Markdown table. The paper's study is only planned; jobs are those of a tiny study, so that
their time is start and end. The rows on Slurm need the test cluster (`tests/cluster/start.sh`) and
hold the plugin's looks at the jobs: it notices an end after 1, 12 or 33 s.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
COPIED = ("Snakefile", "config.yaml", "workflow", "profiles", "slurm", "src", "envs")
TINY = {"runs": 2, "runs_per_block": 2, "iterations": 2}
BLOCKS = 6  # a batch size each
MANY = {"experiments": {"admission_sweep": {"runs": 10000, "runs_per_block": 50}}}  # 4,000 blocks
BARE = """
rule all:
    input: expand("{n}/a", n=range(4118))
rule one:
    output: a="{n}/a", b="{n}/b", c="{n}/c"
    log: "{n}/log"
    benchmark: "{n}/tsv"
    script: "one.py"
"""
LOOK_EVERY_S = 1  # the first look at a job of Slurm


def snakemake(folder: Path, *arguments: str) -> float:
    """Seconds of one call. RuntimeError with its last lines if it fails."""
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *arguments]
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode != 0:
        raise RuntimeError("\n".join(done.stderr.splitlines()[-20:]))
    return seconds


def python(code: str) -> float:
    """Seconds of an interpreter that runs ``code``, the shorter of two."""
    times = []
    for _ in range(2):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True)
        times.append(time.perf_counter() - start)
    return min(times)


def copy_of_repository(folder: Path) -> None:
    for name in COPIED:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, folder / name)
        else:
            shutil.copy(source, folder / name)
    admission = {"admission": TINY | {"batch_sizes": list(range(2, 2 + BLOCKS))}}
    (folder / "many.yaml").write_text(json.dumps(MANY))
    (folder / "bare").mkdir()
    (folder / "bare/Snakefile").write_text(BARE)
    (folder / "bare/one.py").touch()
    (folder / "tiny.yaml").write_text(json.dumps({"scales": {"smoke": admission}}))


def blocks(number: int) -> list[str]:
    root = "results/smoke/runs/statistics/admission/init_0"
    return [f"{root}/b_{b}/seed_0.parquet" for b in range(2, 2 + number)]


def job_seconds(folder: Path, *options: str) -> float:
    """Seconds that one more training job takes, from one job and from `BLOCKS` in turn."""
    tiny = ("--configfile", "tiny.yaml", "--config", "scale=smoke", "--")
    times = []
    for number in (1, BLOCKS):
        shutil.rmtree(folder / "results/smoke/runs", ignore_errors=True)
        times.append(snakemake(folder, *options, *tiny, *blocks(number)))
    return (times[1] - times[0]) / (BLOCKS - 1)


def cluster_runs() -> bool:
    if shutil.which("sinfo") is None:
        return False
    return subprocess.run(["sinfo"], capture_output=True, check=False).returncode == 0


def main() -> None:
    rows = {"an interpreter": python("pass")}
    for modules in ("snakemake.cli", "pandas, pyarrow.parquet", "torch"):
        rows[f"an interpreter that imports {modules}"] = python(f"import {modules}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_of_repository(folder)
        # The configuration names a folder relative to the repository, which the copy would lose.
        if (data := REPOSITORY.parent / "shared/data").is_dir():
            os.environ.setdefault("DATA_DIR", str(data))
        for scale in ("smoke", "paper"):
            dry = ("--dry-run", "--quiet", "--config", f"scale={scale}")
            rows[f"dry run of the whole study, scale {scale}"] = snakemake(folder, *dry)
        many = ("--configfile", "many.yaml", "--config", "scale=paper")
        rows["dry run of 4,118 jobs"] = snakemake(folder, "--dry-run", "--quiet", *many)
        rows["the same of a workflow without code"] = snakemake(
            folder / "bare", "--dry-run", "--quiet"
        )
        tiny = ("--configfile", "tiny.yaml", "--config", "scale=smoke", "--")
        snakemake(folder, *tiny, *blocks(1))  # data, weights, compiled kernels
        rows["one training job more, here"] = job_seconds(folder)
        if cluster_runs():
            slurm = ("--profile", "slurm", "--jobs", "1", "--latency-wait", "15")
            looks = (
                f"--slurm-init-seconds-before-status-checks={LOOK_EVERY_S}",
                f"--seconds-between-status-checks={LOOK_EVERY_S}",
            )
            alone = ("--group-components", "blocks=1")
            eight = ("--group-components", "blocks=8")
            rows["the same on Slurm, an allocation each, in turn"] = job_seconds(
                folder, *slurm, *looks, *alone
            )
            rows["the same on Slurm, in one allocation"] = job_seconds(
                folder, *slurm, *looks, *eight
            )
    print(f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}\n")
    print("| what | seconds |\n|---|---|")
    for what, seconds in rows.items():
        print(f"| {what} | {seconds:.2f} |")


if __name__ == "__main__":
    main()
