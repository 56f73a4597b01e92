"""Torch's switches of precision: its old and its new ones, which must not contradict each other."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline_lib.models.perceptron.replicas import MlpReplicas
from pipeline_lib.seeding import seed_sequence
from pipeline_lib.training.epoch_plan import EpochData, EpochPlan
from pipeline_lib.training.epochs import epoch_block
from pipeline_lib.training.labelled import Evaluation, LabelledBatch
from pipeline_lib.training.precision import set_precision, tf32_if

BACKENDS: Any = torch.backends
NEW: list[Callable[[], str]] = [
    lambda: BACKENDS.cuda.matmul.fp32_precision,
    lambda: BACKENDS.cudnn.conv.fp32_precision,
    lambda: BACKENDS.cudnn.rnn.fp32_precision,
]
OLD: list[Callable[[], bool]] = [
    lambda: BACKENDS.cuda.matmul.allow_tf32,
    lambda: BACKENDS.cudnn.allow_tf32,
    lambda: torch.get_float32_matmul_precision() == "high",
]


@pytest.fixture(autouse=True)
def as_ieee() -> Iterator[None]:
    set_precision()
    yield
    set_precision()


def allows_tf32() -> bool:
    """What all switches say; reading one that contradicts another raises."""
    found = {read() == "tf32" for read in NEW} | {read() for read in OLD}
    assert len(found) == 1
    return found.pop()


@pytest.mark.parametrize("settings", list(itertools.product([True, False], repeat=3)))
def test_old_and_new_switches_agree_whatever_was_set_before(settings: tuple[bool, ...]) -> None:
    for allow in settings:
        set_precision(allow)
        assert allows_tf32() == allow


def test_torch_refuses_to_read_switches_that_contradict_each_other() -> None:
    """Otherwise the test above would show nothing."""
    BACKENDS.cuda.matmul.fp32_precision = "tf32"
    with pytest.raises(RuntimeError, match="mix of the legacy and new APIs"):
        allows_tf32()


def test_convolutions_take_one_algorithm() -> None:
    BACKENDS.cudnn.deterministic, BACKENDS.cudnn.benchmark = False, True
    set_precision()
    assert BACKENDS.cudnn.deterministic
    assert not BACKENDS.cudnn.benchmark


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("allowed", [True, False])
def test_inside_tf32_is_allowed_and_after_it_all_is_as_before(before: bool, allowed: bool) -> None:
    set_precision(before)
    with tf32_if(allowed):
        assert allows_tf32() == (before or allowed)
    assert allows_tf32() == before
    with pytest.raises(ZeroDivisionError), tf32_if(allowed):
        raise ZeroDivisionError
    assert allows_tf32() == before


class Watched(MlpReplicas):
    """Notes whether TF32 is allowed in its evaluations and gradients."""

    seen: ClassVar[set[tuple[str, bool]]]

    def __init__(self, n_replicas: int) -> None:
        super().__init__({"W1": torch.ones(2, 3), "b1": torch.ones(2)}, n_replicas)

    def gradients(self, batch: LabelledBatch) -> dict[str, Tensor]:
        self.seen.add(("gradient", allows_tf32()))
        return super().gradients(batch)

    def evaluate(self, *arguments: Any) -> Evaluation:
        self.seen.add(("evaluation", allows_tf32()))
        return super().evaluate(*arguments)


@pytest.mark.parametrize("allowed", [True, False])
def test_no_gradient_sees_the_precision_of_evaluations(allowed: bool) -> None:
    Watched.seen = set()
    x, y = np.ones((6, 3), dtype=np.float32), np.array([0, 1, 0, 1, 0, 1])
    plan = EpochPlan(
        lambda step: 0.1,
        2,
        2,
        2,
        seed_sequence(0, "orders"),
        range(6),
        {"training": [0, 1, 2]},
        tf32_in_evaluations=allowed,
    )
    data = EpochData.on("cpu", x, y, {"training": (x, y)})
    epoch_block(lambda replicas: Watched(len(replicas)), data, plan)
    assert Watched.seen == {("gradient", False), ("evaluation", allowed)}
