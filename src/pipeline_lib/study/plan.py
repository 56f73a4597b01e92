"""What a study costs before anyone submits it: jobs, hours and storage, for a terminal."""

import pandas as pd

from pipeline_lib.study.cost import asked_for, block_cost, gpu_of, seconds
from pipeline_lib.study.experiment import Experiment
from pipeline_lib.study.study import Study

LONG_RUNTIME_H = 24  # above it a job is refused by many queues


def plan(study: Study) -> pd.DataFrame:
    """One row for each experiment and batch size: training jobs and what they cost.

    Times are estimates without a margin, on one CPU core and on one GPU: two ways to do the same
    work. ``memory_mb`` and ``runtime_min`` are what the first attempt of a job asks for, on the
    device and threads of the study. Whether a job is done already is not looked up.
    """
    rows = []
    threads = study.compute.threads
    for name in study.chosen:
        experiment = study.experiments[name]
        device = experiment.model.device_wanted(study.compute.device)
        jobs = experiment.initial_weights.count * len(experiment.blocks)
        for b in experiment.batch_sizes:
            cost, cpu_core = block_cost(experiment, b, threads), experiment.model.cpu_core
            if cost is None or cpu_core is None:
                break
            cpu_hours = seconds(cost, cpu_core) / 3600
            gpu_hours = seconds(cost, gpu_of(experiment.model)) / 3600
            asked = asked_for(experiment, b, 1, device, threads)
            rows.append(
                {
                    "experiment": name,
                    "b": b,
                    "jobs": jobs,
                    "runs_per_job": cost.replicas,
                    "steps": cost.steps,
                    "tflop_per_job": cost.operations / 1e12,
                    "cpu_hours_per_job": cpu_hours,
                    "gpu_hours_per_job": gpu_hours,
                    "memory_mb": asked["mem_mb"],
                    "runtime_min": asked["runtime"],
                    "cpu_hours": jobs * cpu_hours,
                    "gpu_hours": jobs * gpu_hours,
                    "storage_bytes": jobs * cost.bytes_written,
                    # A state is written beside the older one.
                    "checkpoint_bytes": jobs * 2 * cost.bytes_checkpoint,
                }
            )
    return pd.DataFrame(rows)


def _is_known(experiment: Experiment) -> bool:
    cost = block_cost(experiment, experiment.batch_sizes[0])
    return cost is not None and experiment.model.cpu_core is not None


def plan_text(study: Study) -> str:
    """`plan` as an aligned table with totals, and a line for each experiment that takes long."""
    table = plan(study)
    unknown = [
        f"not estimated: {name}, a module of your own"
        for name in study.chosen
        if not _is_known(study.experiments[name])
    ]
    if table.empty:
        return "\n".join(unknown)
    columns = {
        "experiment": "experiment",
        "b": "b",
        "jobs": "jobs",
        "runs_per_job": "runs",
        "steps": "steps",
        "tflop_per_job": "TFLOP",
        "cpu_hours_per_job": "CPU h",
        "gpu_hours_per_job": "GPU h",
        "memory_mb": "asks MB",
        "runtime_min": "asks min",
    }
    cells = [[head, *map(_cell, table[name].tolist())] for name, head in columns.items()]
    widths = [max(map(len, column)) for column in cells]
    rows = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
        for row in zip(*cells, strict=True)
    ]
    totals = {
        name: table[name].sum()
        for name in ("cpu_hours", "gpu_hours", "storage_bytes", "checkpoint_bytes")
    }
    lines = [
        f"training jobs at scale {study.scale}; runs and what follows are those of one job,",
        "hours are estimates for one CPU core or, instead, one GPU",
        *rows,
        f"total: {table['jobs'].sum():,} jobs, {_cell(totals['cpu_hours'])} CPU-hours or "
        f"{_cell(totals['gpu_hours'])} GPU-hours, "
        f"storage {_cell(totals['storage_bytes'] / 1e6)} MB, "
        f"at most {_cell(totals['checkpoint_bytes'] / 1e9)} GB of checkpoints meanwhile",
        *unknown,
        *_warnings(study, table),
    ]
    return "\n".join(lines)


def _cell(value: str | float) -> str:
    """Numbers with three digits, but whole from 100 on."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) or value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 0.001 else "<0.001"


def _warnings(study: Study, table: pd.DataFrame) -> list[str]:
    long = table[table["runtime_min"] > 60 * LONG_RUNTIME_H]
    cuda, threads = study.compute.device == "cuda", study.compute.threads
    where = "a GPU" if cuda else "a CPU core" if threads == 1 else f"{threads} CPU cores"
    mend = "fewer runs_per_block" if cuda else "device: cuda, more threads or fewer runs_per_block"
    return [
        f"warning: {name}, b = {', '.join(map(str, rows['b']))}: a job asks for up to "
        f"{rows['runtime_min'].max() / 60:,.0f} h of {where}, more than {LONG_RUNTIME_H} h; "
        f"shorter with {mend}"
        for name, rows in long.groupby("experiment", sort=False)
    ]
