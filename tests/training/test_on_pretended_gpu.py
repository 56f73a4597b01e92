"""Whole blocks of every kind on a GPU that is pretended: devices, waits between steps, numbers.

What is planted shows that a fault would be seen.
"""

import inspect
import logging
import re
import textwrap
from dataclasses import replace
from itertools import pairwise
from typing import Any

import gpu_correctness
import pytest
import torch
from gpu_cases import Case, Network, cases
from gpu_correctness import linear_steps_without_waiting, steps_without_waiting
from torch.nn.functional import cross_entropy

from pipeline_lib.artifacts.block_tables import BlockTables
from pipeline_lib.models.linear_network.deep import DeepLinearReplicas
from pipeline_lib.models.linear_network.two_layer import TwoLayerReplicas
from pipeline_lib.models.linear_regression.replicas import LinearReplicas
from pipeline_lib.models.perceptron.replicas import MlpReplicas
from pipeline_lib.sampling.gaussian import GaussianSampler
from pipeline_lib.seeding import seed_sequence
from pipeline_lib.study.block import CPU, Hardware
from pipeline_lib.training import epoch_record, epoch_run, loop, orders, report
from pipeline_lib.training.dropout_stack import DropoutReplicas
from pipeline_lib.training.epoch_run import EpochRun
from pipeline_lib.training.epochs import epoch_block
from pipeline_lib.training.flat import FlatTensors, Layout
from pipeline_lib.training.module_stack import ModuleReplicas
from pipeline_lib.training.update import Update
from pretend_gpu import DEVICE, Claims, WaitError, pretend_gpu

CASES = {case.name: case for case in cases()}


def of_kind(*arguments: Any) -> Any:
    """Arguments of a test, the name of the kind first."""
    return pytest.param(*arguments, marks=[pytest.mark.slow] if arguments[0] == "xlnet" else [])


def trained(case: Case) -> BlockTables:
    with pretend_gpu():
        return case.whole(Hardware(DEVICE), None)


def averaged(name: str, device: str) -> BlockTables:
    """A block of a kind that is trained in epochs, its variances averaged over examples."""
    make = CASES[name].network
    assert make is not None
    network = make(device)
    once = {"epochs": 1, "n_replicas": 3, "recorded": [1], "evaluated_epochs": {}}
    plan = replace(network.plan, averaged=9, **once)
    return epoch_block(network.make_stack, network.data, plan)


def assert_same(one: BlockTables, other: BlockTables, rtol: float) -> None:
    """The statistics and losses of two blocks agree but for rounding."""
    assert len(one.statistics) > 0
    for table in ("statistics", "metrics"):
        a, b = getattr(one, table), getattr(other, table)
        assert (a is None) == (b is None)
        if a is None:  # a kind that is not trained in epochs
            continue
        assert len(a) == len(b)
        if len(a) == 0:  # nothing is evaluated
            continue
        assert list(a) == list(b)
        for column in a:
            if a[column].dtype.kind != "f":
                assert a[column].equals(b[column]), column
                continue
            found, expected = (torch.as_tensor(of[column].to_numpy().copy()) for of in (a, b))
            scale = float(expected.nan_to_num().abs().max())
            torch.testing.assert_close(
                found, expected, rtol=rtol, atol=1e-3 * rtol * scale, equal_nan=True
            )


@pytest.mark.slow
@pytest.mark.parametrize("name", [of_kind(name) for name in CASES])
def test_a_whole_block_is_that_of_the_cpu(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """There replicas of a perceptron take turns, here all are taken at once; both draw alike."""
    with caplog.at_level(logging.WARNING):
        found = trained(CASES[name])
    in_turn = "one after the other" in caplog.text
    assert in_turn == (name == "module, recurrent")
    assert_same(found, CASES[name].whole(CPU, None), rtol=2e-4)


@pytest.mark.parametrize("name", ["perceptron", "module, convolutions"])
def test_averaging_stays_on_its_device(name: str) -> None:
    with pretend_gpu():
        found = averaged(name, DEVICE)
    assert_same(found, averaged(name, "cpu"), rtol=1e-7)


def without_dropout(name: str, vectorised: bool) -> Network:
    """A network whose replicas are taken at once or in turn, on CPU, in float64."""
    network = CASES[name].network
    assert network is not None
    made = network("cpu")

    def stack(replicas: range) -> Any:
        of_plan = made.make_stack(replicas)
        module = of_plan._module
        for part in module.modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.0
        if isinstance(of_plan, DropoutReplicas):
            stream = seed_sequence(1, "dropout")
            return DropoutReplicas(module, cross_entropy, replicas, stream, "cpu", vectorised)
        return ModuleReplicas(module, cross_entropy, len(replicas), "cpu", vectorised)

    return replace(made, make_stack=stack)


@pytest.mark.parametrize(
    "name", [of_kind(name) for name in ("module, convolutions", "module, random layers", "xlnet")]
)
def test_replicas_at_once_make_the_block_of_replicas_in_turn(name: str) -> None:
    one, other = (
        epoch_block(network.make_stack, network.data, network.plan)
        for network in (without_dropout(name, vectorised) for vectorised in (True, False))
    )
    assert_same(one, other, rtol=1e-7)


PIECES = "pieces = self._pieces(gradients)"
# By the kind that meets it: where a fault is planted, what is there, and what is put in its place.
FAULTS: dict[str, list[tuple[Any, str, str, str]]] = {
    "perceptron": [
        (orders, "from_host", "tensor.pin_memory().to(device, non_blocking=True)", "tensor"),
        (orders, "from_host", "non_blocking=True", "non_blocking=False"),
        (EpochRun, "tables", ".cpu()", ""),
        (report, "_gather", ".cpu()", ""),
        (epoch_record.EpochRecord, "_close", ".cpu()", ""),
        (MlpReplicas, "evaluate", "device=x.device", "device='cpu'"),
        (MlpReplicas, "_like_parameters", "torch.empty_like(p)", "torch.empty(p.shape)"),
        (MlpReplicas, "_descend_part", "alpha=alpha", "alpha=alpha * float(delta.sum() > -1)"),
    ],
    "linear regression": [
        (report, "_gather", ".cpu()", ""),
        (LinearReplicas, "__init__", "device=device", "device='cpu'"),
        (Update, "step", PIECES, f"{PIECES}; float(pieces[0].sum())"),
    ],
    "linear network of 2 layers": [
        (report, "_gather", ".cpu()", ""),
        (GaussianSampler, "__init__", '"device": generator.device', '"device": "cpu"'),
        (loop, "step_moments", "gradient_moments(gradient)", "gradient_moments(gradient.cpu())"),
        (TwoLayerReplicas, "gradients", "parameters[W1]", "parameters[W1].cpu()"),
        (loop, "_along", "(gradients - full) * full", "(gradients - full).cpu() * full.cpu()"),
    ],
    "linear network of 3 layers": [
        (DeepLinearReplicas, "gradients", "batch.x.mT", "batch.x.mT.cpu()"),
        (Update, "step", PIECES, f"{PIECES}; pieces[0][0].tolist()"),
    ],
    "module, convolutions": [
        (ModuleReplicas, "__init__", "copy_of(module).to(device)", "copy_of(module)"),
        (Layout, "__init__", "n_blocks.to(device)", "n_blocks"),
        (Layout, "__init__", "owners.to(device)", "owners"),
        (FlatTensors, "zeros", "self.layout,", "Layout(self.layout.shapes, self.flat.device),"),
        (
            ModuleReplicas,
            "_kept",
            "kept.fill(gradients)",
            "kept.fill(gradients); bool(kept.flat.any())",
        ),
    ],
    "module, random layers": [
        (EpochRun, "tables", ".cpu()", ""),
        (Update, "step", PIECES, f"{PIECES}; pieces[0][pieces[0] > 0]"),
    ],
    "module, recurrent": [
        (ModuleReplicas, "_load", "p.copy_(", "p.copy_(own.cpu()); p.copy_("),
        (ModuleReplicas, "_in_turn", "device=device_of(y)", "device='cpu'"),
        (ModuleReplicas, "_keep", "kept = ", "next(iter(gradients.values())).numpy(); kept = "),
    ],
    "xlnet": [
        (
            DropoutReplicas,
            "_zero",
            "torch.zeros_like(self.parameters[name][0])",
            "torch.zeros(self.parameters[name][0].shape)",
        ),
        (DropoutReplicas, "gradients_at", "loss.detach()", "torch.tensor(loss.item())"),
        (EpochRun, "_gradients", "loss * batch.size", "loss * batch.size * bool(wrong.sum() > -1)"),
    ],
}


# What `pretend_gpu` says, and nothing that torch may say of its own.
SEEN = (
    r".* between two steps"
    r"|Expected all tensors to be on the same device \(.*\)"
    r"|Expected a (cpu|cuda) device type for generator \(.*\)"
    rf"|can't \w+ a {DEVICE} device type tensor"
)


def with_fault(home: Any, name: str, old: str, new: str) -> Any:
    """A function or method whose source has ``new`` in the place of ``old``."""
    given = inspect.unwrap(getattr(home, name))
    source = textwrap.dedent(inspect.getsource(given))
    assert old in source, f"{home}.{name} has no {old!r}"
    place: dict[str, Any] = {}
    exec(source.replace(old, new), given.__globals__, place)
    return place[name]


@pytest.mark.parametrize(
    ("kind", "home", "name", "old", "new"),
    [of_kind(kind, *fault) for kind, faults in FAULTS.items() for fault in faults],
)
def test_a_planted_fault_is_seen(
    kind: str, home: Any, name: str, old: str, new: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home, name, with_fault(home, name, old, new))
    with pytest.raises((WaitError, TypeError, RuntimeError)) as seen:
        trained(CASES[kind])
    said = str(seen.value)
    assert re.fullmatch(SEEN, said), said


def test_every_kind_has_its_faults() -> None:
    assert set(FAULTS) == set(CASES)


def test_indices_of_an_average_on_the_wrong_device_are_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def kept(array: Any, device: torch.device) -> torch.Tensor:
        return torch.from_numpy(array)

    monkeypatch.setattr(epoch_run, "from_host", kept)
    with pytest.raises(RuntimeError, match="same device"), pretend_gpu():
        averaged("perceptron", DEVICE)


def test_claims_are_those_of_torch() -> None:
    """What the checks rest upon."""
    with pretend_gpu():
        here, there = torch.arange(6.0), torch.arange(6.0, device=DEVICE)
        assert there.device.type == (there[1:3] * 2).device.type == there.view(2, 3).device.type
        assert there.device == torch.device(DEVICE)
        assert there.new_zeros(2).device == torch.zeros_like(there).device == there.device
        assert there.cpu().device == here.to("cpu").device == torch.device("cpu")
        assert here.to(there.device).tolist() == there.tolist() == [0, 1, 2, 3, 4, 5]
        assert (there * torch.tensor(2.0)).device == there.device  # single numbers may be anywhere
        for wrong in (
            lambda: here + there,
            lambda: there.add_(here),
            lambda: torch.cat([here, there]),
            lambda: here.numpy() + there.numpy(),
            lambda: there.normal_(generator=torch.Generator()),
            lambda: torch.nn.Linear(6, 2)(there),
        ):
            with pytest.raises((RuntimeError, TypeError), match=r"device|numpy"):
                wrong()
        leaf = there.clone().requires_grad_()
        (gradient,) = torch.autograd.grad((leaf**2).sum(), leaf)
        assert gradient.device == there.device
        assert gradient.tolist() == [0, 2, 4, 6, 8, 10]


@pytest.mark.slow
def test_the_checks_for_waits_of_a_real_gpu_look_at_every_kind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a real one the mode makes torch raise; here it is only told, and when is seen."""
    modes: list[str] = []
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    monkeypatch.setattr(gpu_correctness, "cases", lambda: [c for c in cases() if c.name != "xlnet"])
    seen = []
    for check in (steps_without_waiting, linear_steps_without_waiting):
        modes.clear()
        with pretend_gpu():
            seen += list(check(DEVICE))
        # One stretch a network; a group of linear ones has two records, that of regression three.
        assert modes.count("error") == (4 if check is steps_without_waiting else 1 + 2 + 2)
        assert modes[-1] == "default"
        assert "error" not in [one for one, after in pairwise(modes) if one == after]
    assert set(seen) == set(CASES) - {"xlnet"}


def test_nothing_is_left_of_the_pretended_gpu() -> None:
    trained(CASES["perceptron"])
    assert torch.ones(2).numpy().tolist() == [1, 1]
    assert torch.Generator().manual_seed(1).initial_seed() == 1
    assert epoch_record.gather_record is loop.gather_record
    assert not Claims.on_gpu
