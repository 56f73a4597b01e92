"""The checks of `gpu_check.py` that are right or wrong: each yields a line for what it looked at.

The first line of a check's docstring is its name. Each takes a device and raises AssertionError.
"""

import itertools
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import torch
from gpu_cases import cases, mlp_weights, plan_of, regression_problem, step_plan

from pipeline_lib.artifacts.block_tables import BlockTables
from pipeline_lib.artifacts.checkpoint import Checkpoint, StoppedError
from pipeline_lib.estimation.inference import holm, p_value
from pipeline_lib.models.linear_regression.block import torch_run
from pipeline_lib.models.linear_regression.design import RegressionDesign
from pipeline_lib.models.perceptron.replicas import MlpReplicas
from pipeline_lib.study.block import Hardware
from pipeline_lib.theory.linear_regression import exact_moments
from pipeline_lib.training import loop
from pipeline_lib.training.epoch_plan import EpochData
from pipeline_lib.training.epoch_run import EpochRun
from pipeline_lib.training.epochs import epoch_block
from pipeline_lib.training.precision import tf32_if
from pipeline_lib.training.report import gather_record
from pipeline_lib.training.resumable import train_run

CHECKOUT = Path(__file__).resolve().parent.parent
TABLES = ("statistics", "divergence", "metrics")


class Skipped(Exception):  # noqa: N818
    """A check that cannot be made here; the message says why."""


def needs_gpu(device: str) -> None:
    if device == "cpu":
        raise Skipped("needs a GPU")


def machine(device: str) -> Iterator[str]:
    """What this machine has."""
    cuda = torch.version.cuda
    yield f"Python {platform.python_version()}, torch {torch.__version__}, CUDA {cuda}"
    yield f"processors: {os.cpu_count()}, threads of torch: {torch.get_num_threads()}"
    if device != "cpu":
        card = torch.cuda.get_device_properties(device)
        memory = card.total_memory / 2**30
        yield f"{card.name}, capability {card.major}.{card.minor}, {memory:.0f} GiB"
        yield f"driver, MIG: {driver()}; cuDNN {torch.backends.cudnn.version()}"


def driver() -> str:
    """Its version and whether the card is cut into slices, as far as they are known."""
    query = "driver_version,mig.mode.current"
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "not known, there is no nvidia-smi"
    return done.stdout.strip() or done.stderr.strip()


def marked_tests(device: str) -> Iterator[str]:
    """The tests that need a GPU."""
    needs_gpu(device)
    tests = sorted((CHECKOUT / "tests").rglob("test_*.py"))
    files = [str(path) for path in tests if "mark.gpu" in path.read_text()]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", *files]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    said = done.stdout.strip().splitlines() or done.stderr.strip().splitlines()
    assert done.returncode == 0, said[-1]
    yield said[-1]


def steps_without_waiting(device: str) -> Iterator[str]:
    """Steps between two records do not wait for the device."""
    needs_gpu(device)
    for case in cases():
        if case.network is None:
            continue
        network = case.network(device)
        plan = replace(network.plan, epochs=1, recorded=[], evaluated_epochs={})
        replicas, calls = range(plan.n_replicas), itertools.count(1)
        sampler = plan.sampler(network.data.n, replicas)
        run = EpochRun(network.make_stack(replicas), sampler, network.data, plan)

        def meanwhile(run: EpochRun, last: int = sampler.steps_per_epoch - 1) -> None:
            call = next(calls)  # noqa: B023
            if call == 2:  # torch has chosen its ways by now
                torch.cuda.set_sync_debug_mode("error")
            if call == last:  # before the numbers of the epoch are fetched
                torch.cuda.set_sync_debug_mode("default")

        try:
            run.train(meanwhile)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        yield case.name


def linear_steps_without_waiting(device: str) -> Iterator[str]:
    """Nor do those of linear regression and linear networks."""
    needs_gpu(device)

    def gather(steps: Any, reports: Any) -> Any:
        """Waits itself, and lets nobody wait from the first record to the second."""
        torch.cuda.set_sync_debug_mode("default")
        record = gather_record(steps, reports)
        if steps[0] == 0:  # torch has chosen its ways by now
            torch.cuda.set_sync_debug_mode("error")
        return record

    for case in cases():
        if case.network is not None:
            continue
        try:
            with mock.patch.object(loop, "gather_record", gather):
                case.whole(Hardware(device), None)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        yield case.name


def distance(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """The largest distance of two tensors of one name, against the norm of the second."""
    assert set(one) == set(other)
    found = []
    for name, expected in other.items():
        a, b = one[name].cpu().double(), expected.cpu().double()
        if float(b.norm()) > 0:
            found.append(float((a - b).norm() / b.norm()))
    return max(found)


def gradients(device: str) -> Iterator[str]:
    """Gradients are those of the CPU in float64."""
    for case in cases():
        exact = case.gradients("cpu", "float64")
        found = {
            "float64": distance(case.gradients(device, "float64"), exact),
            "float32": distance(case.gradients(device, "float32"), exact),
        }
        assert found["float64"] < 1e-12, (case.name, found)
        assert found["float32"] < 2e-6, (case.name, found)
        if device != "cpu":
            with tf32_if(True):
                found["TF32"] = distance(case.gradients(device, "float32"), exact)
            assert found["TF32"] < 3e-3, (case.name, found)
        yield f"{case.name}: " + ", ".join(f"{name} {value:.1g}" for name, value in found.items())


def assert_same(one: BlockTables, other: BlockTables, name: str) -> None:
    for table in TABLES:
        a, b = getattr(one, table), getattr(other, table)
        assert (a is None) == (b is None), (name, table)
        assert a is None or a.equals(b), f"{name}: {table} differ"


def equal_runs(device: str) -> Iterator[str]:
    """Equal runs are equal bit for bit."""
    for case in cases():
        first, second = (case.whole(Hardware(device), None) for _ in range(2))
        assert_same(first, second, case.name)
        yield case.name


class StopsOnce(Checkpoint):
    """Saves at the call of this number, and stops there as after a signal."""

    def __init__(self, path: Path, call: int) -> None:
        super().__init__(path, {"code": "gpu check"})
        self._left = call

    def save_if_due(self, state: Callable[[], Any]) -> None:
        self._left -= 1
        if self._left == 0:
            self.save(state())
            raise StoppedError("stopped")


def resumed_runs(device: str) -> Iterator[str]:
    """Runs that are stopped and go on are equal bit for bit to those that are not."""
    for case in cases():
        expected = case.whole(Hardware(device), None)
        stops = 0
        for call in (1, 2, 5, 11):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "state.zip"
                try:
                    with StopsOnce(path, call) as checkpoint:
                        case.whole(Hardware(device), checkpoint)
                    continue  # it had ended
                except StoppedError:
                    stops += 1
                with Checkpoint(path, {"code": "gpu check"}) as checkpoint:
                    assert_same(case.whole(Hardware(device), checkpoint), expected, case.name)
        yield f"{case.name}: stopped {stops} times"


def groups(device: str) -> Iterator[str]:
    """Replicas trained in groups take the paths that they take all at once."""
    for case in cases():
        network = None if case.network is None else case.network(device)
        if network is None or not network.draws_alone:
            continue
        losses = []
        for size in (2, network.plan.n_replicas):
            block = epoch_block(network.make_stack, network.data, network.plan, size)
            losses.append(block.metrics["loss"].to_numpy())
        np.testing.assert_allclose(losses[0], losses[1], rtol=1e-9)
        yield case.name


def exact_values(device: str) -> Iterator[str]:
    """Regression through torch has the exact variances."""
    x, y, w = regression_problem()
    replicas, steps, p_values = 2000, 6, []
    for b in (1, 4, 20):
        plan = step_plan(b, steps, replicas)
        table = train_run(torch_run(RegressionDesign.of(x, y), w, plan, device), plan).statistics
        truth = exact_moments(x, y, w, plan.learning_rates, [b]).stochastic_gradient[:, 0]
        rows = table.query("quantity == 'stochastic_gradient' and estimator == 'sample'")
        moments = (rows[f"contribution_{name}"].to_numpy() for name in ("mean", "m2", "m3"))
        if b == len(y):  # nothing is random
            assert np.allclose(next(moments), 0), "the whole gradient varies"
            continue
        p_values.append(p_value(replicas, *moments, truth))
    smallest = float(holm(np.concatenate(p_values)).min())
    assert smallest > 1e-3, f"smallest adjusted p-value {smallest:.2g}"
    yield f"smallest adjusted p-value {smallest:.2g} of {sum(map(len, p_values))}"


def used_up_memory(device: str) -> Iterator[str]:
    """A group that does not fit the memory is halved."""
    needs_gpu(device)
    layers, n, replicas = (784, 1024, 512, 10), 256, 64
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((n, 784)).astype(np.float32), rng.integers(10, size=n)
    data = EpochData.on(device, x, y, {})
    given = mlp_weights(layers, "float32")
    weights = {name: torch.as_tensor(weight).to(device) for name, weight in given.items()}
    plan = plan_of(n, 64, 1, replicas, evaluated_epochs={}, recorded=[0])
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(500 * 2**20 / total)
    try:
        block = epoch_block(lambda r: MlpReplicas(weights, len(r)), data, plan)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    n_groups = replicas - int(block.statistics["dof"].max())
    assert n_groups > 1, "all replicas fitted"
    yield f"{replicas} replicas, {n_groups} groups"


def evaluations_in_tf32(device: str) -> Iterator[str]:
    """Losses in TF32 differ from those in float32 by less than their standard errors."""
    needs_gpu(device)
    for case in cases():
        if case.network is None:
            continue
        losses: list[pd.Series] = []
        for allowed in (False, True):
            network = case.network(device)
            plan = replace(network.plan, tf32_in_evaluations=allowed)
            metrics = epoch_block(network.make_stack, network.data, plan).metrics
            last = metrics[(metrics["split"] == "training") & (metrics["epoch"] == plan.epochs)]
            losses.append(last["loss"])
        change = float(np.abs(losses[1].mean() - losses[0].mean()))
        error = float(losses[0].std() / len(losses[0]) ** 0.5)
        assert change < error, (case.name, change, error)
        yield f"{case.name}: the mean loss changes by {change:.1g}, its error is {error:.1g}"


checks = [
    machine,
    gradients,
    equal_runs,
    resumed_runs,
    groups,
    exact_values,
    steps_without_waiting,
    linear_steps_without_waiting,
    evaluations_in_tf32,
    used_up_memory,
    marked_tests,
]
