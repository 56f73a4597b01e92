"""A GPU that is not there: devices of tensors and waits for the device are checked, nothing is
computed.

Inside `fake_gpu` tensors have a shape, a precision and a device, ``cuda:0`` or ``cpu``, and no
numbers. An operation on two devices raises, and so does what would make the host wait for the
device, but where a block may wait. Numbers that are fetched are ones.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any, ClassVar
from unittest import mock

import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline_lib.models.linear_regression.replicas import LinearReplicas
from pipeline_lib.sampling.subsets import ExampleDraws
from pipeline_lib.training import epoch_record, epoch_run, loop
from pipeline_lib.training.update import Update

DEVICE = "cuda:0"
ATEN = torch.ops.aten

# A step is made of these.
STEPS: list[tuple[Any, str]] = [
    (epoch_run.EpochRun, "_make_step"),
    (loop, "step_moments"),
    (loop, "_conditional"),
    (Update, "clip"),
    (Update, "step"),
    (ExampleDraws, "__call__"),
    (LinearReplicas, "gradients"),
    (LinearReplicas, "full_gradients"),
    (LinearReplicas, "conditional_variance"),
]
# Where a block may wait: numbers of many steps are fetched, and losses.
MAY_WAIT: list[tuple[Any, str]] = [
    (loop, "gather_record"),
    (epoch_record, "gather_record"),
    (epoch_record.EpochRecord, "_close"),
    (epoch_run.EpochRun, "_evaluate"),
    (epoch_run.EpochRun, "_add_batches"),
    (epoch_run.EpochRun, "tables"),
]


class WaitError(Exception):
    """The host would wait for the device between two steps."""


class Watch(TorchDispatchMode):
    """Answers what asks for numbers, and raises where nobody may."""

    may_wait: ClassVar[int] = 0  # how deep in functions that may
    in_step: ClassVar[int] = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        of = args[0].device.type if args and isinstance(args[0], Tensor) else "cpu"
        if func is ATEN._local_scalar_dense.default:
            self.wait(of == "cuda", func)
            return {torch.bool: True, torch.int64: 1}.get(args[0].dtype, 1.0)
        if func is ATEN._to_copy.default and "device" in kwargs:
            to = torch.device(kwargs["device"]).type
            waits = to != of and not kwargs.get("non_blocking", False)
            self.wait(waits, f"a copy from {of} to {to}")
        if func is ATEN.copy_.default and args[1].device.type != of:
            self.wait(not (len(args) > 2 and args[2]), f"a copy from {args[1].device.type} to {of}")
        if func in (ATEN.nonzero.default, ATEN.masked_select.default):
            self.wait(of == "cuda", func)
        return func(*args, **kwargs)

    def wait(self, waits: bool, what: object) -> None:
        if waits and self.in_step and not self.may_wait:
            raise WaitError(f"{what} between two steps")


def counted(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """``function``; while it runs, the number ``name`` of `Watch` is one higher."""

    @wraps(function)
    def inside(*args: Any, **kwargs: Any) -> Any:
        setattr(Watch, name, getattr(Watch, name) + 1)
        try:
            return function(*args, **kwargs)
        finally:
            setattr(Watch, name, getattr(Watch, name) - 1)

    return inside


def numpy_of(tensor: Tensor) -> Any:
    """Ones; as torch does, it refuses tensors of a GPU."""
    if tensor.device.type != "cpu":
        raise TypeError(f"can't convert {tensor.device} device type tensor to numpy")
    dtype = str(tensor.dtype).removeprefix("torch.")
    return np.ones(tuple(tensor.shape), dtype=dtype)


def pinned(tensor: Tensor) -> Tensor:
    if tensor.device.type != "cpu":
        raise RuntimeError(f"cannot pin a tensor of {tensor.device}")
    return tensor


class Generator(torch.Generator):
    """A generator that says that it is on the device it was made for."""

    def __new__(cls, device: Any = "cpu") -> "Generator":
        made: Generator = super().__new__(cls)
        return made

    def __init__(self, device: Any = "cpu") -> None:
        self.of = torch.device(device)

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return self.of

    def manual_seed(self, seed: int) -> "Generator":
        return self

    def get_state(self) -> Tensor:
        return torch.zeros(16, dtype=torch.uint8)

    def set_state(self, state: Tensor) -> "Generator":
        assert state.device.type == "cpu"
        return self


@contextmanager
def fake_gpu() -> Iterator[None]:
    """Inside, ``cuda:0`` is a device on which tensors have no numbers."""
    state = torch.zeros(16, dtype=torch.uint8)
    with ExitStack() as stack:

        def patch(target: Any, name: str, new: Any) -> None:
            stack.enter_context(mock.patch.object(target, name, new))

        patch(torch.Tensor, "numpy", numpy_of)
        patch(torch.Tensor, "pin_memory", pinned)
        patch(torch, "Generator", Generator)
        # States of real generators are no business of tensors without numbers.
        for home in (torch, torch.random, torch.cuda, torch.cuda.random):
            patch(home, "get_rng_state", lambda *device: state)
            patch(home, "set_rng_state", lambda state, *device: None)
        patch(torch.cuda, "mem_get_info", lambda device=None: (60 * 2**30, 80 * 2**30))
        for names, number in ((STEPS, "in_step"), (MAY_WAIT, "may_wait")):
            for home, name in names:
                patch(home, name, counted(getattr(home, name), number))
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        stack.enter_context(Watch())
        yield
