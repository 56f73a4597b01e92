"""Whole blocks of two kinds on a GPU that is not there: devices, and waits between steps.

What is planted shows that a fault would be seen.
"""

import inspect
import textwrap
from typing import Any

import pytest
from fake_gpu import DEVICE, WaitError, fake_gpu
from gpu_cases import Case, cases

from pipeline_lib.artifacts.block_tables import BlockTables
from pipeline_lib.models.linear_regression.replicas import LinearReplicas
from pipeline_lib.models.perceptron.replicas import MlpReplicas
from pipeline_lib.study.block import Hardware
from pipeline_lib.training import epoch_record, loop, report
from pipeline_lib.training.epoch_run import EpochRun

# Those that torch takes: XLNet and modules under torch.func crash now and then on such tensors.
NAMES = ("linear regression", "perceptron")
CASES = {case.name: case for case in cases() if case.name in NAMES}


def trained(case: Case) -> BlockTables:
    with fake_gpu():
        return case.whole(Hardware(DEVICE), None)


@pytest.mark.parametrize("name", CASES)
def test_a_whole_block_stays_on_its_device(name: str) -> None:
    tables = trained(CASES[name])
    assert len(tables.statistics) > 0


# Where a fault is planted, what is there, what is put in its place, and the kind that meets it.
FAULTS = [
    (EpochRun, "_batch", ".to(self._data.device, non_blocking=True)", "", "perceptron"),
    (EpochRun, "_batch", "non_blocking=True", "non_blocking=False", "perceptron"),
    (EpochRun, "tables", ".cpu()", "", "perceptron"),
    (report, "_gather", ".cpu()", "", "perceptron"),
    (report, "_gather", ".cpu()", "", "linear regression"),
    (epoch_record.EpochRecord, "_close", ".cpu()", "", "perceptron"),
    (MlpReplicas, "evaluate", "device=x.device", "device='cpu'", "perceptron"),
    (MlpReplicas, "_like_parameters", "torch.empty_like(p)", "torch.empty(p.shape)", "perceptron"),
    (LinearReplicas, "__init__", "device=device", "device='cpu'", "linear regression"),
]


def with_fault(home: Any, name: str, old: str, new: str) -> Any:
    """A function or method whose source has ``new`` in the place of ``old``."""
    given = inspect.unwrap(getattr(home, name))
    source = textwrap.dedent(inspect.getsource(given))
    assert source.count(old) >= 1, f"{home}.{name} has no {old!r}"
    place: dict[str, Any] = {}
    exec(source.replace(old, new), given.__globals__, place)
    return place[name]


@pytest.mark.parametrize(("home", "name", "old", "new", "kind"), FAULTS)
def test_a_planted_fault_is_seen(
    home: Any, name: str, old: str, new: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home, name, with_fault(home, name, old, new))
    with pytest.raises((WaitError, TypeError, RuntimeError, AssertionError)) as seen:
        trained(CASES[kind])
    said = str(seen.value)
    assert any(words in said for words in ("between two steps", "device", "numpy")), said


def test_nothing_is_left_of_the_fake_gpu() -> None:
    import torch

    trained(CASES["perceptron"])
    assert torch.ones(2).numpy().tolist() == [1, 1]
    assert torch.Generator().manual_seed(1).initial_seed() == 1
    assert epoch_record.gather_record is loop.gather_record
