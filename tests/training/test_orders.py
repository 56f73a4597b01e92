"""Orders that are drawn ahead are those that are drawn when they are asked for."""

import threading
from typing import Any

import numpy as np
import pytest
import torch
from gpu_cases import cases

from pipeline_lib.sampling.epochs import EpochSampler, Integers
from pipeline_lib.sampling.names import FINITE, Sampling
from pipeline_lib.seeding import seed_sequence
from pipeline_lib.training import epoch_run
from pipeline_lib.training.epoch_run import EpochRun
from pipeline_lib.training.orders import Orders

CPU = torch.device("cpu")


def sampler_of(sampling: Sampling) -> EpochSampler:
    return EpochSampler(20, 3, 4, seed_sequence(1, "orders"), sampling=sampling)


@pytest.mark.parametrize("sampling", FINITE)
@pytest.mark.parametrize("visited", [[0, 1, 2, 3], [2, 3], [0, 3, 1, 2]])
def test_orders_are_those_of_the_sampler(sampling: Sampling, visited: list[int]) -> None:
    sampler = sampler_of(sampling)
    for ahead in (False, True):
        orders = Orders(sampler, 4, CPU, ahead)
        for epoch in visited:
            for _ in range(2):
                assert np.array_equal(orders.on_device(epoch), sampler.order(epoch))
                assert np.array_equal(orders.on_host(epoch), sampler.order(epoch))


class Watched(EpochSampler):
    """Notes which orders are drawn, and where; that of epoch 2 fails."""

    def order(self, epoch: int) -> Integers:
        self.drawn.append((epoch, threading.current_thread() is threading.main_thread()))
        if epoch == 2:
            raise MemoryError("no room for an order")
        return super().order(epoch)

    def __init__(self) -> None:
        super().__init__(20, 3, 4, seed_sequence(1, "orders"))
        self.drawn: list[tuple[int, bool]] = []


def test_the_next_order_is_drawn_in_a_thread_and_its_error_told_when_it_is_needed() -> None:
    sampler = Watched()
    orders = Orders(sampler, 4, CPU, ahead=True)
    orders.on_device(0)
    orders.on_device(1)
    with pytest.raises(MemoryError, match="no room"):
        orders.on_device(2)
    assert sampler.drawn == [(0, True), (1, False), (2, False)]


def test_nothing_is_drawn_beyond_the_last_epoch_nor_ahead_on_a_cpu() -> None:
    sampler = Watched()
    Orders(sampler, 1, CPU, ahead=True).on_device(0)
    Orders(sampler, 9, CPU).on_device(1)
    assert sampler.drawn == [(0, True), (1, True)]


@pytest.mark.parametrize("stop", range(1, 24, 5))
def test_a_run_goes_on_from_any_step_with_orders_drawn_ahead(
    stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = next(case for case in cases() if case.name == "perceptron")
    assert case.network is not None
    network = case.network("cpu")
    plan, data = network.plan, network.data

    def started() -> EpochRun:
        everyone = range(plan.n_replicas)
        return EpochRun(network.make_stack(everyone), plan.sampler(data.n, everyone), data, plan)

    whole = started()
    whole.train(lambda run: None)

    def drawn_ahead(*arguments: Any) -> Orders:
        return Orders(*arguments, ahead=True)

    class Stop(Exception):  # noqa: N818
        pass

    states: list[dict[str, Any]] = []

    def leave(run: EpochRun) -> None:
        if run._next_step == stop:
            state = run.state()
            state["parameters"] = {name: p.clone() for name, p in state["parameters"].items()}
            states.append(state)
            raise Stop

    monkeypatch.setattr(epoch_run, "Orders", drawn_ahead)
    with pytest.raises(Stop):
        started().train(leave)
    again = started()
    again.restore(states[0])
    again.train(lambda run: None)
    for name, parameter in whole._stack.parameters.items():
        assert torch.equal(parameter, again._stack.parameters[name])
    for table, frame in whole.tables().items():
        assert frame.equals(again.tables()[table]), table
