"""Losses and errors of single runs become their means over runs, with intervals."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import special  # scipy.stats takes a second to import

from pipeline_lib.artifacts.schemas import SCHEMAS
from pipeline_lib.errors import ArtifactError
from pipeline_lib.estimation.aggregation import Block, read_block_tables

TRAINING, VALIDATION, DISTORTED = "training", "validation", "distorted"
LOSS, ERROR, GAP = "loss", "error", "gap"


def read_metrics(
    files: Mapping[Block, Path], expected: Mapping[str, Any]
) -> dict[tuple[int, int], pd.DataFrame]:
    """Read ``metrics`` of blocks, one frame for each (init, b).

    A frame has the columns of ``metrics`` and ``seed``, the block: a run is a (seed, replica).

    Raises:
        ArtifactError: as `aggregation.read_block_tables`; or the replicas of a block, or the
            blocks of one (init, b), do not evaluate the same splits at the same epochs.
    """
    groups = read_block_tables(files, "metrics", expected)
    return {
        (init, b): _stacked({files[init, b, seed]: (seed, part) for seed, part in group.items()})
        for (init, b), group in groups.items()
    }


def metrics_with_values(summary: pd.DataFrame) -> list[str]:
    """Of the artefact ``metric_summary`` the metrics to show: loss, and error where there is one.

    An error that no example has is missing everywhere. A loss may be, where all runs diverged.
    """
    there = {LOSS, *summary.loc[summary["mean"].notna(), "metric"]}
    return [name for name in (LOSS, ERROR) if name in there]


def metric_summary(frames: Mapping[tuple[int, int], pd.DataFrame], level: float) -> pd.DataFrame:
    """Rows of the ``metric_summary`` artefact, from the frames of `read_metrics`.

    The mean over runs of ``loss`` and ``error`` by epoch and split, and of ``gap``, a run's error
    on the distorted images less its error on the training set (Figure 3b), where it has both.
    ``std_error`` is s/√n with n - 1 in s, and (``ci_low``, ``ci_high``) Student's t interval for
    the mean at ``level``. It is right for Gaussian runs; a mean near 0 can have ``ci_low`` below 0.

    A row at which any run has diverged has missing numbers, not the mean of the others; one run
    alone has a mean without an error.
    """
    parts = [_summary(init, b, frame, level) for (init, b), frame in sorted(frames.items())]
    if not parts:
        raise ArtifactError("no block holds losses and errors to summarise")
    return pd.concat(parts, ignore_index=True)


def _stacked(group: Mapping[Path, tuple[int, pd.DataFrame]]) -> pd.DataFrame:
    """One frame of the blocks of an (init, b), each a file with its seed and table."""
    shared: tuple[set[Any], Path] | None = None
    for path, (_, part) in group.items():
        rows = part.groupby(["split", "epoch"], observed=True).size()
        if (rows != part["replica"].nunique()).any():
            raise ArtifactError(f"{path}: its replicas do not evaluate the same epochs")
        shared = shared or (set(rows.index), path)
        if set(rows.index) != shared[0]:
            raise ArtifactError(f"{path}: does not evaluate the same epochs as {shared[1]}")
    return pd.concat([part.assign(seed=seed) for seed, part in group.values()], ignore_index=True)


def _summary(init: int, b: int, frame: pd.DataFrame, level: float) -> pd.DataFrame:
    runs = (
        frame.astype({"split": object})
        .pivot(index=["seed", "replica"], columns=["split", "epoch"], values=[LOSS, ERROR])
        .sort_index(axis=1)
    )
    gap = _gap(runs)
    values = pd.concat([runs, gap], axis=1) if len(gap.columns) else runs
    mean, std_error = values.mean(skipna=False), values.sem(skipna=False)
    half_width = float(special.stdtrit(len(values) - 1, (1 + level) / 2)) * std_error
    table = pd.DataFrame(
        {
            "init": np.int32(init),
            "b": np.int32(b),
            "mean": mean,
            "std_error": std_error,
            "ci_low": mean - half_width,
            "ci_high": mean + half_width,
            "n_runs": np.int32(len(values)),
            "n_diverged": values.isna().sum(),
        }
    )
    table.index = table.index.set_names(["metric", "split", "epoch"])
    table = table.reset_index().sort_values(["split", "metric", "epoch"], ignore_index=True)
    return pd.DataFrame(table[SCHEMAS["metric_summary"].names])


def _gap(runs: pd.DataFrame) -> pd.DataFrame:
    """Gaps of runs by (metric, split, epoch), from metrics by (metric, split, epoch)."""
    splits = runs.columns.get_level_values("split")
    if DISTORTED not in splits or TRAINING not in splits:
        return pd.DataFrame(index=runs.index)
    distorted, training = pd.DataFrame(runs[ERROR, DISTORTED]), pd.DataFrame(runs[ERROR, TRAINING])
    both = distorted.columns.intersection(training.columns)
    gap = distorted[both] - training[both]
    gap.columns = pd.MultiIndex.from_product([[GAP], [DISTORTED], both])
    return gap
