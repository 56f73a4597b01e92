"""One block trained in groups of replicas: how it is cut, and how its tables are merged."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline_lib.artifacts.block_tables import BlockTables
from pipeline_lib.artifacts.schemas import SCHEMAS
from pipeline_lib.estimation.noise_moments import merged_noise
from pipeline_lib.estimation.statistics import contributions_of
from pipeline_lib.estimation.variance import pool

Floats = NDArray[np.float64]


def group_sizes(n_replicas: int, at_once: int) -> list[int]:
    """Sizes of even groups of at most ``at_once`` replicas, but of at least 2.

    With ``at_once`` = 2 an odd number has one group of 3.

    Raises ValueError if there are fewer than 2 replicas, for which there is no variance.
    """
    if n_replicas < 2 or at_once < 2:
        raise ValueError(f"a variance needs 2 replicas, got {n_replicas}, {at_once} at once")
    n_groups = min(-(-n_replicas // at_once), n_replicas // 2)
    small, larger = divmod(n_replicas, n_groups)
    return [small + 1] * larger + [small] * (n_groups - larger)


def pooled(results: Sequence[BlockTables], sizes: Sequence[int]) -> BlockTables:
    """Merge groups that trained ``sizes`` replicas each into one block.

    A step at which a replica of any group had diverged has missing numbers. ``sq_norm_of_mean`` is
    the groups' mean, so ``mean_sq_norm - sq_norm_of_mean`` remains the mean squared deviation.
    """
    frames = [result.statistics for result in results]
    with np.errstate(over="ignore", invalid="ignore"):  # a replica about to diverge
        merged = pool([contributions_of(frame) for frame in frames])
    shares = np.asarray(sizes) / np.sum(sizes)

    def average(column: str) -> Floats:
        return np.asarray(shares @ np.stack([frame[column] for frame in frames]))

    def total(column: str) -> NDArray[np.generic]:
        return np.asarray(np.sum([frame[column] for frame in frames], axis=0))

    statistics = frames[0].assign(
        n_replicas=merged.n_replicas,
        dof=merged.dof,
        n_diverged=total("n_diverged"),
        mean_sq_norm=average("mean_sq_norm"),
        sq_norm_of_mean=average("sq_norm_of_mean"),
        sum_sq_dev=total("sum_sq_dev"),
        conditional_variance=average("conditional_variance"),
        conditional_m2=np.where(frames[0]["conditional_m2"].isna(), np.nan, merged.conditional_m2),
        contribution_mean=merged.mean,
        contribution_m2=merged.m2,
        contribution_m3=merged.m3,
        contribution_max=merged.max,
    )
    offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    divergence = pd.concat(
        [
            result.divergence.assign(replica=result.divergence["replica"] + offset)
            for result, offset in zip(results, offsets, strict=True)
        ],
        ignore_index=True,
    )
    noise = [result.noise for result in results]
    return BlockTables(
        statistics[SCHEMAS["statistics"].names],
        divergence,
        noise=noise[0] if noise[0].empty else merged_noise(noise),
    )
