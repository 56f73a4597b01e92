"""One training block in epochs with clipped gradients and AdamW: Appendix B.4 of the paper.

Mini-batches, groups of replicas and the three tables are those of `training.sgd_epochs`.
What is new: gradients are summarised before and after clipping, and the losses of the mini-batches
themselves are averaged over each epoch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch

from pipeline_lib.artifacts.block_tables import BlockTables
from pipeline_lib.artifacts.checkpoint import Checkpoint
from pipeline_lib.estimation.statistics import STOCHASTIC
from pipeline_lib.sampling.epochs import EpochSampler
from pipeline_lib.study.settings import Optimizer
from pipeline_lib.training.dropout_stack import SteppedStack
from pipeline_lib.training.epoch_plan import EpochData, EpochPlan
from pipeline_lib.training.epoch_run import EpochRun
from pipeline_lib.training.gradient_records import all_moments
from pipeline_lib.training.groups import train_groups
from pipeline_lib.training.labelled import ChosenBatch
from pipeline_lib.training.loop import Moments
from pipeline_lib.training.optim import AdamW, clip_per_tensor

CLIPPED = "clipped_gradient"
BATCHES = "train_batches"
"""The split of metrics rows that average over an epoch's mini-batches, each before its update."""


@dataclass(frozen=True)
class AdamSettings:
    """`training.optim.AdamW`'s coefficients; ``max_norm`` is that of each clipped tensor."""

    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    max_norm: float = 1.0

    @classmethod
    def of(cls, optimizer: Optimizer) -> Self:
        """Those of the configuration."""
        assert optimizer.clip_norm is not None
        decay, epsilon = optimizer.weight_decay, optimizer.epsilon
        return cls(decay, eps=epsilon, max_norm=optimizer.clip_norm)


def adam_block(
    make_stack: Callable[[range], SteppedStack],
    data: EpochData,
    plan: EpochPlan,
    settings: AdamSettings,
    group_size: int | None = None,
    checkpoint: Checkpoint | None = None,
) -> BlockTables:
    """Train the runs of ``plan`` by AdamW in epochs and summarise the recorded steps.

    Args:
        make_stack: makes the replicas of these numbers within the block, where ``data`` is, all
            with the same initial weights.

    The other arguments, the tables and the errors are those of
    `training.sgd_epochs.epoch_block`. ``statistics`` has two quantities, the stochastic
    gradient of the mean loss and the same after clipping. ``metrics`` has, besides the evaluation
    sets, the split ``train_batches``: loss and error of the epoch's mini-batches, with dropout and
    before their updates, a mean over examples; its epoch counts from 1.
    """

    def make_run(sampler: EpochSampler) -> EpochRun:
        return _AdamRun(make_stack(sampler.replicas), sampler, data, plan, settings)

    return train_groups(make_run, data, plan, group_size, checkpoint)


class _AdamRun(EpochRun):
    """A group under AdamW, its gradients clipped."""

    stack: SteppedStack

    def __init__(
        self,
        stack: SteppedStack,
        sampler: EpochSampler,
        data: EpochData,
        plan: EpochPlan,
        settings: AdamSettings,
    ) -> None:
        super().__init__(stack, sampler, data, plan)
        self._max_norm = settings.max_norm
        self._adam = AdamW(stack.parameters, settings.betas, settings.eps, settings.weight_decay)
        # Sums of this epoch's mini-batches so far: loss times examples, and wrong labels, (2, R).
        self._sums = torch.zeros(2, len(sampler.replicas), dtype=torch.float64, device=data.device)

    def make_step(
        self, step: int, batch: ChosenBatch, learning_rate: float, is_recorded: bool
    ) -> None:
        gradients, loss, wrong = self.stack.gradients_at(step, batch)
        self._sums += torch.stack([loss * batch.size, wrong])
        moments: Moments = {}
        if is_recorded:
            moments |= all_moments(STOCHASTIC, gradients, per_tensor=False)
        clip_per_tensor(gradients, self._max_norm)
        if is_recorded:
            self.record(step, moments | all_moments(CLIPPED, gradients, per_tensor=False))
        self._adam.step(gradients, learning_rate)

    def end_epoch(self, epoch: int) -> None:
        loss, error = (self._sums / self.sampler.batch_sizes_of_epoch.sum()).cpu().numpy()
        self.add_metrics(BATCHES, epoch, loss, error)
        self._sums.zero_()

    def state(self) -> dict[str, Any]:
        return super().state() | {"adam": self._adam.state(), "sums": self._sums}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self._adam.restore(state["adam"])
        self._sums.copy_(state["sums"])
