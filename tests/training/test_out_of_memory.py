"""Memory that is used up: told as that, and met with smaller groups."""

import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pipeline_lib.artifacts.block_tables import BlockTables
from pipeline_lib.artifacts.checkpoint import Checkpoint
from pipeline_lib.errors import ConfigError
from pipeline_lib.models.module.block import can_vectorise
from pipeline_lib.models.perceptron.replicas import MlpReplicas
from pipeline_lib.seeding import seed_sequence
from pipeline_lib.study.optimizers import Adam
from pipeline_lib.training.epoch_plan import EpochData, EpochPlan
from pipeline_lib.training.epochs import epoch_block
from pipeline_lib.training.labelled import LabelledBatch
from pipeline_lib.training.memory import is_out_of_memory, moment_bytes
from pipeline_lib.training.module_stack import ModuleReplicas

N, BATCH, EPOCHS, REPLICAS = 12, 3, 3, 7
USED_UP = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
TABLES = ("statistics", "divergence", "metrics")
MakeStack = Callable[[range], Any]


def data() -> EpochData:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((N, 4)).astype(np.float32), rng.integers(3, size=N)
    return EpochData.on("cpu", x, y, {"training": (x, y)})


def plan(**changes: Any) -> EpochPlan:
    given: dict[str, Any] = {
        "learning_rates": lambda step: 0.1,
        "batch_size": BATCH,
        "epochs": EPOCHS,
        "n_replicas": REPLICAS,
        "stream": seed_sequence(1, "orders"),
        "recorded": [0, 5],
        "evaluated_epochs": {"training": [0, EPOCHS]},
        "optimizer": Adam("adam"),  # one call of `gradients` a step
    }
    return EpochPlan(**given | changes)


class Limited:
    """Raises once more than ``most`` replicas have made ``steps`` steps."""

    def __init__(self, replicas: range, most: int, steps: int) -> None:
        self.replicas, self.most, self.left = replicas, most, steps

    def check(self) -> None:
        if len(self.replicas) > self.most:
            if self.left == 0:
                raise USED_UP
            self.left -= 1


def perceptrons(most: int = REPLICAS, steps: int = 4, from_replica: int = 0) -> MakeStack:
    generator = torch.Generator().manual_seed(0)
    shapes = {"W1": (5, 4), "b1": (5,), "W2": (3, 5), "b2": (3,)}
    weights = {n: 0.4 * torch.randn(*s, generator=generator) for n, s in shapes.items()}

    class Stack(MlpReplicas):
        def __init__(self, replicas: range) -> None:
            limit = most if replicas.start >= from_replica else REPLICAS
            self.limit = Limited(replicas, limit, steps)
            super().__init__(weights, len(replicas))

        def gradients(self, batch: LabelledBatch) -> dict[str, Tensor]:
            self.limit.check()
            return super().gradients(batch)

    return Stack


def with_dropout(most: int = REPLICAS, steps: int = 4) -> MakeStack:
    """Its random layers draw from torch's own generator, which a failed attempt has used."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 5), nn.Dropout(0.5), nn.Linear(5, 3))

    class Stack(ModuleReplicas):
        def __init__(self, replicas: range) -> None:
            self.limit = Limited(replicas, most, steps)
            super().__init__(module, cross_entropy, len(replicas), vectorised=False)

        def gradients(self, batch: LabelledBatch) -> dict[str, Tensor]:
            self.limit.check()
            return super().gradients(batch)

    return Stack


def assert_equal(one: BlockTables, two: BlockTables) -> None:
    for name in TABLES:
        pd.testing.assert_frame_equal(getattr(one, name), getattr(two, name), check_exact=True)


@pytest.mark.parametrize("kind", [perceptrons, with_dropout])
@pytest.mark.parametrize(("most", "group"), [(4, 4), (3, 2)])
def test_a_group_that_does_not_fit_is_halved(
    kind: Callable[..., MakeStack], most: int, group: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Seven replicas become groups of 4 and 3 and, if that is too many, of 3, 2 and 2."""
    torch.manual_seed(1)
    expected = epoch_block(kind(), data(), plan(), group)
    torch.manual_seed(1)
    assert_equal(epoch_block(kind(most), data(), plan()), expected)
    assert "b = 3: 7 replicas at once do not fit the memory (OutOfMemoryError: CUDA" in caplog.text


def test_groups_that_are_done_stay_as_they_are() -> None:
    make = perceptrons(most=2, from_replica=4)
    tables = epoch_block(make, data(), plan(n_replicas=8), 4)
    assert set(tables.statistics["n_replicas"]) == {8}
    assert set(tables.statistics["dof"]) == {8 - 3}  # groups of 4, 2 and 2
    whole = epoch_block(perceptrons(), data(), plan(n_replicas=8), 4)
    pd.testing.assert_frame_equal(tables.metrics, whole.metrics, rtol=1e-5)


def test_a_group_of_which_a_state_is_saved_stays_together(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match=r"^b = 3: OutOfMemoryError: .* a state of these 7 repl"),
        Checkpoint(tmp_path / "state.zip", {"code": "a"}, every_s=0) as checkpoint,
    ):
        epoch_block(perceptrons(most=4), data(), plan(), checkpoint=checkpoint)
    assert (tmp_path / "state.zip").exists()
    with (  # a resumed group, too
        pytest.raises(ConfigError, match="a state of these 7 replicas is saved") as refused,
        Checkpoint(tmp_path / "state.zip", {"code": "a"}) as checkpoint,
    ):
        epoch_block(perceptrons(most=4, steps=0), data(), plan(), checkpoint=checkpoint)
    assert "\n" not in str(refused.value)


def test_a_state_of_an_earlier_group_does_not_keep_a_later_one_together(tmp_path: Path) -> None:
    """What is saved before a group's first step holds none of it."""
    path = tmp_path / "state.zip"
    make = perceptrons(most=2, steps=0, from_replica=4)
    expected = epoch_block(make, data(), plan(n_replicas=8), 4)

    class Late(Checkpoint):
        """Saves in the first group alone."""

        def save_if_due(self, state: Callable[[], Any]) -> bool:
            return not path.exists() and super().save_if_due(state)

    with Late(path, {"code": "a"}, every_s=0) as checkpoint:
        tables = epoch_block(make, data(), plan(n_replicas=8), 4, checkpoint)
    assert_equal(tables, expected)


def test_a_state_that_could_not_be_written_keeps_no_group_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = epoch_block(perceptrons(most=4), data(), plan(), 4)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("pipeline_lib.artifacts.checkpoint.write_whole", full)
    with Checkpoint(tmp_path / "state.zip", {"code": "a"}, every_s=0) as checkpoint:
        tables = epoch_block(perceptrons(most=4), data(), plan(), checkpoint=checkpoint)
    assert_equal(tables, expected)


@pytest.mark.parametrize("n_replicas", [2, 3, 7])
def test_replicas_that_cannot_be_fewer_are_refused(n_replicas: int) -> None:
    """Groups have two replicas, and one of them three where the number is odd."""
    with pytest.raises(ConfigError, match=r"do not fit the memory, and fewer cannot be") as refused:
        epoch_block(perceptrons(most=1), data(), plan(n_replicas=n_replicas))
    assert str(refused.value).startswith("b = 3: OutOfMemoryError: CUDA out of memory")
    assert "\n" not in str(refused.value)


def test_other_errors_are_not_met_with_smaller_groups() -> None:
    def make(replicas: range) -> Any:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal memory access"):
        epoch_block(make, data(), plan())


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (USED_UP, True),
        (MemoryError(), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), True),
        (torch.AcceleratorError("CUDA error: out of memory", 2), True),
        (torch.AcceleratorError("CUDA error: device-side assert triggered", 710), False),
        (RuntimeError("vmap: randomness"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_errors_of_memory(error: BaseException, expected: bool) -> None:
    assert is_out_of_memory(error) == expected


def test_torch_says_on_cpu_that_memory_is_used_up() -> None:
    with pytest.raises(RuntimeError) as refused:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(refused.value)


def failing(error: Exception) -> nn.Module:
    """A module that fails where torch.func takes several replicas at once."""

    class Failing(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            if torch._C._functorch.is_functorch_wrapped_tensor(self.weight):
                raise error
            return super().forward(x)

    return Failing(4, 3)


def test_used_up_memory_is_not_told_as_a_module_that_cannot_be_vectorised(
    caplog: pytest.LogCaptureFixture,
) -> None:
    x, y = torch.ones(6, 4), torch.zeros(6, dtype=torch.int64)
    with caplog.at_level(logging.WARNING):
        assert not can_vectorise(failing(USED_UP), cross_entropy, (x, y))
    assert "two at once do not fit the memory: OutOfMemoryError" in caplog.text
    assert "torch.func" not in caplog.text
    caplog.clear()
    assert not can_vectorise(failing(RuntimeError("no batching rule")), cross_entropy, (x, y))
    assert "torch.func says RuntimeError: no batching rule" in caplog.text


def test_an_error_of_the_device_is_not_told_as_one_of_the_module() -> None:
    error = torch.AcceleratorError("CUDA error: device-side assert triggered", 710)
    with pytest.raises(torch.AcceleratorError):
        can_vectorise(failing(error), cross_entropy, (torch.ones(6, 4), torch.zeros(6).long()))


def test_moments_on_a_gpu_take_a_float64_copy_of_some_columns() -> None:
    assert moment_bytes(1000, 4, "cpu") == 0
    assert moment_bytes(1000, 4, "cuda") == 12 * 1000
    assert moment_bytes(2**30, 4, "cuda") == 12 * 2**26
    assert moment_bytes(2**30, 8, "cuda") == 16 * 2**26
