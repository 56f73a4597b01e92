"""One training block in epochs: R replicas that draw from the same labelled examples.

A block that does not fit the device is trained group after group and pooled. What is drawn belongs
to replicas (`pipeline_lib.sampling.epochs`), so a replica's path does not depend on its group.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from pipeline_lib.artifacts.block_tables import BlockTables
from pipeline_lib.artifacts.checkpoint import Checkpoint
from pipeline_lib.errors import ConfigError
from pipeline_lib.estimation.pooling import group_sizes, pooled
from pipeline_lib.estimation.statistics import Tables
from pipeline_lib.imports import one_line
from pipeline_lib.training.epoch_plan import EpochData, EpochPlan
from pipeline_lib.training.epoch_run import EpochRun
from pipeline_lib.training.labelled import LabelledStack, SteppedStack
from pipeline_lib.training.memory import give_memory_back, is_out_of_memory

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

    A group that uses up the memory is halved and tried again, as long as no state of it was saved:
    the block is then what it had been with smaller groups from the start.

    Raises ValueError if ``plan`` is of steps, splits or epochs that do not exist, or if a recorded
    step has a short mini-batch; ConfigError if memory is used up by two replicas or by a group of
    which a state is saved; ArtifactError if the checkpoint is of another run; StoppedError after a
    requested stop.
    """
    n_replicas, b = plan.n_replicas, plan.batch_size
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
    is_saved = of_group is not None  # a state of the group that is trained

    def save_if_due(run: EpochRun) -> None:
        nonlocal is_saved

        def state() -> dict[str, Any]:
            return {"sizes": sizes, "finished": finished, "group": run.state()}

        if checkpoint is not None and checkpoint.save_if_due(state):
            is_saved = True

    def trained(replicas: range) -> Tables | str:
        """The tables of a group, or what was said when memory was used up."""
        nonlocal of_group
        try:
            run = EpochRun(make_stack(replicas), plan.sampler(data.n, replicas), data, plan)
            if of_group is not None:
                run.restore(of_group)
                of_group = None
            run.train(save_if_due)
            return run.tables()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return one_line(error)

    while len(finished) < len(sizes):
        done, size = sum(sizes[: len(finished)]), sizes[len(finished)]
        before = _random_states(data.device)
        result = trained(range(done, done + size))
        if not isinstance(result, str):
            finished.append(result)
            is_saved = False
            continue
        sizes = sizes[: len(finished)] + _halved(
            size, n_replicas - done, f"b = {b}: {result}", is_saved
        )
        log.warning(
            "b = %d: %d replicas at once do not fit the memory (%s); going on with %d",
            b,
            size,
            result,
            sizes[len(finished)],
        )
        give_memory_back(data.device.type)
        _set_random_states(before, data.device)
    groups = [
        BlockTables(tables["statistics"], tables["divergence"], noise=tables["noise"])
        for tables in finished
    ]
    block = pooled(groups, sizes)
    block.log_divergence(n_replicas, b)
    rows = pd.concat([tables["metrics"] for tables in finished])
    metrics = rows.sort_values(["split", "epoch", "replica"], ignore_index=True)
    return replace(block, metrics=metrics)


def _halved(size: int, n_left: int, said: str, is_saved: bool) -> list[int]:
    """Groups for the ``n_left`` replicas of which ``size`` at once were too many.

    Raises ConfigError, which begins with what was ``said``, if there can be none.
    """
    if is_saved:
        raise ConfigError(
            f"{said}; a state of these {size} replicas is saved, so that they stay together: free "
            "memory and run again, or remove the state to start anew with fewer at once"
        )
    smaller = group_sizes(n_left, max(2, (size + 1) // 2))
    if max(smaller) >= size:
        raise ConfigError(f"{said}; {size} replicas do not fit the memory, and fewer cannot be")
    return smaller


def _random_states(device: torch.device) -> list[Tensor]:
    """States of torch's own generators, from which random layers may draw."""
    on_device = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return [torch.random.get_rng_state(), *on_device]


def _set_random_states(states: list[Tensor], device: torch.device) -> None:
    torch.random.set_rng_state(states[0])
    for state in states[1:]:
        torch.cuda.set_rng_state(state, device)
