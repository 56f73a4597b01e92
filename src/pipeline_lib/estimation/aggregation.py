"""Blocks of replicas merged into one variance estimate with its interval, per (init, b, step)."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from pipeline_lib.artifacts.files import read_provenance, read_table, refuse_others
from pipeline_lib.artifacts.schemas import SCHEMAS
from pipeline_lib.errors import ArtifactError
from pipeline_lib.estimation.certain import Certain
from pipeline_lib.estimation.judged import judged
from pipeline_lib.estimation.statistics import STOCHASTIC, contributions_of
from pipeline_lib.estimation.variance import pool

Block = tuple[int, int, int]  # init, b, seed

_ROUNDING = 1e-6  # of a sum in float32, relative to it
_ROW = ["step", "epoch", "quantity", "tensor", "estimator"]
# What tells the rows of a block apart, by the artefact that is pooled.
_ROWS = {"statistics": _ROW, "noise": ["step", "epoch", "tensor"]}


def read_blocks(
    files: Mapping[Block, Path],
    expected: Mapping[str, Any],
    kind: Literal["statistics", "noise"] = "statistics",
) -> dict[tuple[int, int], list[pd.DataFrame]]:
    """The artefact ``kind`` of blocks by (init, b), each group ordered by block.

    Raises:
        ArtifactError: as `read_block_tables`; or blocks of one (init, b) do not record the same
            steps.
    """
    row, blocks = _ROWS[kind], read_block_tables(files, kind, expected)
    for key, group in blocks.items():
        first, *others = group
        for seed in others:
            if not group[seed][row].equals(group[first][row]):
                raise ArtifactError(
                    f"{files[*key, seed]}: does not record the same steps as {files[*key, first]}"
                )
    return {key: list(group.values()) for key, group in blocks.items()}


def read_block_tables(
    files: Mapping[Block, Path], kind: str, expected: Mapping[str, Any]
) -> dict[tuple[int, int], dict[int, pd.DataFrame]]:
    """Read the artefact ``kind`` of blocks, by (init, b) and then by seed, seeds ascending.

    Every file must carry the ``expected`` provenance and be of the block it is listed under, and
    all must agree on their data and on what they ran on. A block may be empty where b is above
    the data's rows, and then all blocks of its (init, b) are.

    Raises:
        ArtifactError: names the file and what differs.
    """
    shared_seen: dict[str, tuple[Any, Path]] = {}
    blocks: dict[tuple[int, int], dict[int, pd.DataFrame]] = {}
    for (init, b, seed), path in sorted(files.items()):
        frame = read_table(path, kind)
        provenance = read_provenance(path)
        # A block is of no scale and has no intervals.
        of_block = {name: expected[name] for name in ("experiment", "config") if name in expected}
        refuse_others(path, provenance, of_block)
        held = tuple(provenance.get(key) for key in ("init", "b", "seed"))
        if held != (init, b, seed):
            raise ArtifactError(
                f"{path}: holds the block (init, b, seed) = {held}, where {(init, b, seed)} "
                "belongs; remove the file and run again"
            )
        for key in ("data_sha256", "backend"):
            value, first = shared_seen.setdefault(key, (provenance[key], path))
            if provenance[key] != value:
                raise ArtifactError(
                    f"{path}: made with {key} {provenance[key]!r}, but {first} with {value!r}; "
                    "remove one of them and run again"
                )
        group = blocks.setdefault((init, b), {})
        _refuse_missing_rows(frame, path, b, provenance["n_rows"], group)
        group[seed] = frame
    return blocks


def _refuse_missing_rows(
    frame: pd.DataFrame,
    path: Path,
    b: int,
    n_rows: int | None,
    others: Mapping[int, pd.DataFrame],
) -> None:
    """Raise ArtifactError if ``frame`` must have rows and has none, or differs from ``others``.

    They are those of the same (init, b) that were read before. An empty block that nobody noticed
    would take its batch size, or its own replicas, out of every table.
    """
    if frame.empty and (n_rows is None or b <= n_rows):
        raise ArtifactError(
            f"{path}: holds no rows, though b = {b} is not above the data's rows; remove the file "
            "and run again"
        )
    if any(other.empty != frame.empty for other in others.values()):
        raise ArtifactError(
            f"{path}: holds {'no ' if frame.empty else ''}rows, unlike the blocks before it of the "
            f"same b = {b}; remove one of them and run again"
        )


def variance_table(
    blocks: Mapping[tuple[int, int], Sequence[pd.DataFrame]],
    level: float,
    certain: Callable[[int], Certain] = lambda b: Certain(),
) -> pd.DataFrame:
    """Rows of the ``variance`` artefact, with confidence intervals at ``level``.

    Blocks are merged by pooled within-block variance. A step that any replica did not reach has
    missing numbers; empty blocks (b above the number of examples) leave no row. Where the runs tell
    nothing of the error it is missing, and so is the interval: with one degree of freedom, and if
    the contributions of all runs are equal (`judged`) without theory saying so: ``certain`` gives
    what it says of each batch size, by default that the first step is taken with the same weights.
    """
    parts = [
        _merged(init, b, frames, level, certain(b))
        for (init, b), frames in sorted(blocks.items())
        if not all(frame.empty for frame in frames)
    ]
    if not parts:
        raise ArtifactError("no block holds an estimate: every batch size is above the data's rows")
    return pd.concat(parts, ignore_index=True)


def efficiency_table(variance: pd.DataFrame) -> pd.DataFrame:
    """Rows of the ``efficiency`` artefact: what a Rao-Blackwellised run is worth, by b and step.

    ``runs_worth`` is the squared ratio of the standard errors of the two estimators of the same
    variance from the same runs: how many plain runs give the precision of one. Steps at which the
    Rao-Blackwellised estimate is known without error (all runs still share their weights) and
    steps without an estimate are left out; where there is no such estimator no row is left.
    """
    key = ["init", "b", "step", "tensor"]
    whole = variance[variance["quantity"] == STOCHASTIC].assign(
        relative=variance["std_error"] / variance["variance"]
    )
    wide = whole.pivot(index=key, columns="estimator", values="std_error")
    if "rao_blackwell" not in wide:
        frame: pd.DataFrame = SCHEMAS["efficiency"].empty_table().to_pandas()
        return frame
    # Rounding leaves a trace of a standard error where there is none: examples that are summed in
    # another order, in single precision.
    relative = whole.pivot(index=key, columns="estimator", values="relative")["rao_blackwell"]
    # Where nothing varies both errors are 0.
    known = (relative <= _ROUNDING) | (wide["rao_blackwell"] <= _ROUNDING * wide["sample"])
    wide = wide[~known].dropna().reset_index()
    return pd.DataFrame(
        {
            **{name: wide[name] for name in key},
            "std_error_sample": wide["sample"],
            "std_error_rao_blackwell": wide["rao_blackwell"],
            "runs_worth": (wide["sample"] / wide["rao_blackwell"]) ** 2,
        }
    )


def _merged(
    init: int, b: int, frames: Sequence[pd.DataFrame], level: float, certain: Certain
) -> pd.DataFrame:
    rows = frames[0][_ROW]
    merged = pool([contributions_of(frame) for frame in frames])
    n_diverged = np.sum([frame["n_diverged"] for frame in frames], axis=0)
    one = judged(merged, level, certain.rows(rows))
    table = rows.assign(
        init=init,
        b=b,
        variance=merged.mean,
        std_error=one.interval.std_error,
        ci_low=one.interval.low,
        ci_high=one.interval.high,
        n_runs=merged.n_replicas,
        dof=merged.dof,
        max_share=one.max_share,
        reliable=one.reliable,
        n_diverged=n_diverged,
    )
    # The Rao-Blackwell form hides the tail of the last mini-batch, the plain one is the noisier: an
    # estimate is relied on only where neither form of it is flagged.
    key = ["step", "quantity", "tensor"]
    table["reliable"] = table.groupby(key, observed=True)["reliable"].transform("all")
    return pd.DataFrame(table[SCHEMAS["variance"].names])
