"""One training block in epochs: R replicas that draw from the same labelled examples.

A block that does not fit the device is trained group after group and pooled. What is drawn belongs
to replicas (`pipeline_lib.sampling.epochs`), so a replica's path does not depend on its group.
"""

import logging
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd

from pipeline_lib.artifacts.block_tables import BlockTables
from pipeline_lib.artifacts.checkpoint import Checkpoint
from pipeline_lib.estimation.pooling import group_sizes, pooled
from pipeline_lib.training.epoch_plan import EpochData, EpochPlan
from pipeline_lib.training.epoch_run import EpochRun
from pipeline_lib.training.labelled import LabelledStack, SteppedStack

log = logging.getLogger(__name__)


def epoch_block(
    make_stack: Callable[[range], LabelledStack | SteppedStack],
    data: EpochData,
    plan: EpochPlan,
    group_size: int | None = None,
    checkpoint: Checkpoint | None = None,
) -> BlockTables:
    """Train the runs of ``plan`` and summarise the recorded steps.

    Args:
        make_stack: makes the replicas of these numbers within the block, where ``data`` is, all
            with the same initial weights. Only one stack is in memory at a time.
        group_size: replicas trained at once (`estimation.pooling.group_sizes`), all if None. Apart
            from rounding, only the degrees of freedom depend on it: each group costs one.
        checkpoint: where to save the state and to go on from, opened and closed by the caller. A
            resumed block keeps the groups that it was started with.

    Returns:
        All tables, ``noise`` where examples are averaged. The recorded gradient is that of the
        mean loss over the mini-batch, whatever the optimiser; where gradients are clipped, the
        clipped one is recorded beside it. A replica has diverged at the first recorded step at
        which its gradient or a weight is not finite, or, after the last of them, at the step after
        training. Its metrics are missing once its loss is not finite. A stack that tells the losses
        of its mini-batches has, besides the evaluation sets, the split ``train_batches``: loss and
        error of the epoch's mini-batches, before their updates, a mean over examples; its epoch
        counts from 1.

    Raises ValueError if ``plan`` is of steps, splits or epochs that do not exist, or if a recorded
    step has a short mini-batch; ArtifactError if the checkpoint is of another run; StoppedError
    after a requested stop.
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
        replicas = range(end - size, end)
        run = EpochRun(make_stack(replicas), plan.sampler(data.n, replicas), data, plan)
        if of_group is not None:
            run.restore(of_group)
            of_group = None
        run.train(save_if_due)
        finished.append(run.tables())
        del run  # its memory is for the next group
    groups = [
        BlockTables(tables["statistics"], tables["divergence"], noise=tables["noise"])
        for tables in finished
    ]
    block = pooled(groups, sizes)
    block.log_divergence(n_replicas, plan.batch_size)
    rows = pd.concat([tables["metrics"] for tables in finished])
    metrics = rows.sort_values(["split", "epoch", "replica"], ignore_index=True)
    return replace(block, metrics=metrics)
