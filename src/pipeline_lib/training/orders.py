"""Which examples the replicas visit, epoch by epoch, where they are trained."""

from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from pipeline_lib.sampling.epochs import EpochSampler, Integers
from pipeline_lib.training.trees import from_host


class Orders:
    """The orders of ``epochs`` epochs, (R, n) each, that ``sampler`` draws.

    Args:
        device: where the mini-batches are gathered.
        ahead: draw the next epoch's order in a thread while this one is in use. If None, on a GPU:
            there the processor has little else to do. What is drawn depends on the epoch alone.
    """

    def __init__(
        self,
        sampler: EpochSampler,
        epochs: int,
        device: torch.device,
        ahead: bool | None = None,
    ) -> None:
        self._sampler = sampler
        self._epochs = epochs
        self._device = device
        is_ahead = device.type != "cpu" if ahead is None else ahead
        self._pool = ThreadPoolExecutor(1) if is_ahead else None
        self._now: tuple[int, Integers, Tensor] | None = None
        self._next: tuple[int, Future[Integers]] | None = None

    def on_device(self, epoch: int) -> Tensor:
        """The order of ``epoch`` on the device; what drawing it raised is raised here."""
        return self._of(epoch)[1]

    def on_host(self, epoch: int) -> Integers:
        """The same in the memory of the host, without waiting for the device."""
        return self._of(epoch)[0]

    def _of(self, epoch: int) -> tuple[Integers, Tensor]:
        if self._now is None or self._now[0] != epoch:
            self._now = None  # its memory is for the next
            order = self._drawn(epoch)
            self._now = epoch, order, from_host(order, self._device)
            if self._pool is not None and epoch + 1 < self._epochs:
                self._next = epoch + 1, self._pool.submit(self._sampler.order, epoch + 1)
        return self._now[1:]

    def _drawn(self, epoch: int) -> Integers:
        if self._next is not None and self._next[0] == epoch:
            drawn, self._next = self._next[1], None
            return drawn.result()
        return self._sampler.order(epoch)
