"""One training block in epochs: R replicas that shuffle the same labelled examples.

A block that does not fit the device is trained group after group and pooled. Orders belong to
replicas (`pipeline_lib.sampling.epochs`), so a replica's path does not depend on its group.
"""

import math
import time
from collections.abc import Callable, Mapping

from torch import Tensor

from pipeline_lib.artifacts.block_tables import BlockTables
from pipeline_lib.artifacts.checkpoint import Checkpoint
from pipeline_lib.estimation.statistics import STOCHASTIC
from pipeline_lib.sampling.epochs import EpochSampler
from pipeline_lib.training.epoch_plan import EpochData, EpochPlan
from pipeline_lib.training.epoch_run import EpochRun
from pipeline_lib.training.gradient_records import all_moments
from pipeline_lib.training.groups import train_groups
from pipeline_lib.training.labelled import (
    ChosenBatch,
    LabelledBatch,
    LabelledStack,
    OwnUpdate,
)

# So many steps between recorded ones are handed to the stack at once, but no more than the last of
# them say can be made in so many seconds: a stop waits for them, and Slurm kills after 30.
_STEPS_AT_ONCE = 64
_SECONDS_AT_ONCE = 5.0


def epoch_block(
    make_stack: Callable[[int], LabelledStack],
    data: EpochData,
    plan: EpochPlan,
    group_size: int | None = None,
    checkpoint: Checkpoint | None = None,
) -> BlockTables:
    """Train the runs of ``plan`` by SGD in epochs and summarise the recorded steps.

    Args:
        make_stack: makes that many replicas, where ``data`` is, all with the same initial weights.
        group_size: replicas trained at once, all of them if None. Apart from rounding, only the
            degrees of freedom depend on it: each group costs one.
        checkpoint: where to save the state and to go on from, opened and closed by the caller. A
            resumed block keeps the groups that it was started with.

    Returns:
        Rows of ``statistics``, ``divergence`` and ``metrics``. A replica has diverged at the first
        recorded step at which its gradient or a weight is not finite, or, after the last of them,
        at the step after training. Its metrics are missing once its loss is not finite.

    Raises ValueError if a recorded step, an evaluated epoch or a learning rate does not exist, or
    if a recorded step has a short mini-batch; ArtifactError if the checkpoint is of another run;
    StoppedError after a requested stop.
    """

    def make_run(sampler: EpochSampler) -> EpochRun:
        return _SgdRun(make_stack(len(sampler.replicas)), sampler, data, plan)

    return train_groups(make_run, data, plan, group_size, checkpoint)


class _SgdRun(EpochRun):
    """A group under SGD, or under the update of a stack that has its own.

    Steps that are not recorded are put off and handed to the stack many at once.
    """

    stack: LabelledStack

    def __init__(
        self, stack: LabelledStack, sampler: EpochSampler, data: EpochData, plan: EpochPlan
    ) -> None:
        super().__init__(stack, sampler, data, plan)
        self._batches_ahead: list[LabelledBatch] = []
        self._rates_ahead: list[float] = []
        self._at_once = 1  # until it is known how long a step takes

    def make_step(
        self, step: int, batch: ChosenBatch, learning_rate: float, is_recorded: bool
    ) -> None:
        if not is_recorded:
            self._batches_ahead.append(batch)
            self._rates_ahead.append(learning_rate)
            if len(self._batches_ahead) >= self._at_once:
                self.finish_steps()
            return
        self.finish_steps()
        gradients = self.stack.gradients(batch)
        self.record(step, all_moments(STOCHASTIC, gradients, per_tensor=True))
        self._update(gradients, learning_rate)

    def finish_steps(self) -> None:
        if self._batches_ahead:
            start = time.monotonic()
            self.stack.descend_through(self._batches_ahead, self._rates_ahead)
            spent = max(time.monotonic() - start, 1e-9)
            in_time = math.ceil(len(self._batches_ahead) * _SECONDS_AT_ONCE / spent)
            self._at_once = min(_STEPS_AT_ONCE, in_time)
            self._batches_ahead, self._rates_ahead = [], []

    def _update(self, gradients: Mapping[str, Tensor], learning_rate: float) -> None:
        if isinstance(self.stack, OwnUpdate):
            self.stack.update(gradients, learning_rate)
            return
        for name, gradient in gradients.items():
            self.stack.parameters[name].sub_(gradient, alpha=learning_rate)
