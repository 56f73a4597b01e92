"""A block in epochs, one group of replicas after the other, that can stop and go on."""

import logging
from collections.abc import Callable

import numpy as np
import pandas as pd

from pipeline_lib.artifacts.block_tables import BlockTables
from pipeline_lib.artifacts.checkpoint import Checkpoint
from pipeline_lib.estimation.pooling import group_sizes, pooled
from pipeline_lib.sampling.epochs import EpochSampler
from pipeline_lib.training.epoch_plan import EpochData, EpochPlan
from pipeline_lib.training.epoch_run import EpochRun

log = logging.getLogger(__name__)


def train_groups(
    make_run: Callable[[EpochSampler], EpochRun],
    data: EpochData,
    plan: EpochPlan,
    group_size: int | None = None,
    checkpoint: Checkpoint | None = None,
) -> BlockTables:
    """Train all replicas of ``plan`` and pool the groups' tables.

    Args:
        make_run: starts the run of a group from its mini-batches, which also tell the numbers of
            its replicas within the block. Only one run is in memory at a time.
        group_size: replicas trained at once (`estimation.pooling.group_sizes`), all if None.
        checkpoint: where to save the state and to go on from, opened and closed by the caller. A
            resumed block keeps the groups that it was started with.

    Raises ValueError if ``plan`` is of steps, splits or epochs that do not exist, ArtifactError if
    the checkpoint is of another run, StoppedError after a requested stop.
    """
    n_replicas = plan.n_replicas
    now = group_sizes(n_replicas, n_replicas if group_size is None else group_size)
    plan.check(data)
    state = None if checkpoint is None else checkpoint.load()
    if state is None:
        state = {"sizes": now, "finished": [], "group": None}
    sizes, finished, of_group = state["sizes"], state["finished"], state.pop("group")
    if checkpoint is not None and max(sizes) > max(now):
        log.warning(
            "%s: groups of up to %d replicas are kept, although only %d at once fit the memory now",
            checkpoint.path,
            max(sizes),
            max(now),
        )

    def save_if_due(run: EpochRun) -> None:
        if checkpoint is not None:
            checkpoint.save_if_due(
                lambda: {"sizes": sizes, "finished": finished, "group": run.state()}
            )

    ends = np.cumsum(sizes).tolist()
    for end, size in list(zip(ends, sizes, strict=True))[len(finished) :]:
        run = make_run(plan.sampler(data.n, range(end - size, end)))
        if of_group is not None:
            run.restore(of_group)
            of_group = None
        run.train(save_if_due)
        finished.append(run.tables())
        del run  # its memory is for the next group
    groups = [BlockTables(tables["statistics"], tables["divergence"]) for tables in finished]
    block = pooled(groups, sizes)
    block.log_divergence(n_replicas, plan.batch_size)
    rows = pd.concat([tables["metrics"] for tables in finished])
    metrics = rows.sort_values(["split", "epoch", "replica"], ignore_index=True)
    return BlockTables(block.statistics, block.divergence, metrics)
