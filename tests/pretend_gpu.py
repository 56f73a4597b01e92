"""A GPU that computes on the CPU: every operation checks which device tensors are said to be on.

Inside `pretend_gpu` the device ``cuda:0`` exists. Tensors are those of the CPU, with their numbers,
and the memory of each is said to be of one device or the other. An operation on both raises as
torch does, and so does numpy on the GPU's. What makes the host wait for the device raises
`WaitError` within a step, but where a block may wait.

What torch calls itself goes by the claims of what it was called with: operations within
`torch.autograd.grad` of a tensor on the GPU make tensors there. So do modules of `transformers`.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any, ClassVar
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline_lib.models.linear_regression.replicas import LinearReplicas
from pipeline_lib.sampling.gaussian import GaussianSampler
from pipeline_lib.sampling.subsets import ExampleDraws
from pipeline_lib.training import epoch_record, epoch_run, loop, resumable
from pipeline_lib.training.update import Update

DEVICE = "cuda:0"
CPU, CUDA = torch.device("cpu"), torch.device(DEVICE)
ATEN = torch.ops.aten

# A step is made of these.
STEPS: list[tuple[Any, str]] = [
    (epoch_run.EpochRun, "_make_step"),
    (loop, "step_moments"),
    (loop, "_conditional"),
    (loop, "_along"),
    (Update, "clip"),
    (Update, "step"),
    (ExampleDraws, "__call__"),
    (GaussianSampler, "__call__"),
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


class Claims:
    """Which memory is the GPU's, and whether the host may wait for it now."""

    on_gpu: ClassVar[dict[int, Any]] = {}  # by address; kept, so that no address is used again
    may_wait: ClassVar[int] = 0  # how deep in functions that may
    in_step: ClassVar[int] = 0
    within: ClassVar[list[torch.device]] = [CPU]  # of the functions of torch that are running

    @classmethod
    def of(cls, tensor: Tensor) -> torch.device:
        while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
            tensor = torch._C._functorch.get_unwrapped(tensor)
        return CUDA if tensor.untyped_storage()._cdata in cls.on_gpu else CPU

    @classmethod
    def claim(cls, tensor: Tensor, device: torch.device) -> None:
        storage = tensor.untyped_storage()
        if device.type == "cuda":
            cls.on_gpu[storage._cdata] = storage
        else:
            cls.on_gpu.pop(storage._cdata, None)

    @classmethod
    def wait(cls, what: object) -> None:
        if cls.in_step and not cls.may_wait:
            raise WaitError(f"{what} between two steps")


def tensors_of(*trees: Any) -> list[Tensor]:
    """The tensors among arguments, in their order."""
    found: list[Tensor] = []
    for one in trees:
        if isinstance(one, Tensor):
            found.append(one)
        elif isinstance(one, list | tuple):
            found += tensors_of(*one)
        elif isinstance(one, dict):
            found += tensors_of(*one.values())
    return found


def common(tensors: list[Tensor], what: object) -> torch.device | None:
    """The device of all tensors, of which single numbers may be on the CPU."""
    found = {Claims.of(one) for one in tensors if one.ndim or Claims.of(one) != CPU}
    if len(found) > 1:
        raise RuntimeError(f"Expected all tensors to be on the same device ({what})")
    return found.pop() if found else CPU if tensors else None


class Operations(TorchDispatchMode):
    """Checks what is computed, and claims what comes out."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        inputs = tensors_of(args, kwargs)
        if func is ATEN.copy_.default:
            here, there = Claims.of(args[0]), Claims.of(args[1])
            if here != there and not (len(args) > 2 and args[2]):
                Claims.wait(f"a copy from {there.type} to {here.type}")
            return func(*args, **kwargs)
        device = common(inputs, func)
        if device is None:
            device = Claims.within[-1]
        if device == CUDA and self.waits(func, args):
            Claims.wait(func)
        known = {one.untyped_storage()._cdata for one in inputs}
        out = func(*args, **kwargs)
        for one in tensors_of(out):
            if one.untyped_storage()._cdata not in known:
                Claims.claim(one, device)
        return out

    @staticmethod
    def waits(func: Any, args: Any) -> bool:
        """Whether the host needs numbers, or how many there are, to go on."""
        if func in (ATEN.index.Tensor, ATEN.index_put_.default):
            chosen = [one for one in args[1] if one is not None]
            return any(one.dtype in (torch.bool, torch.uint8) for one in chosen)
        return func in (
            ATEN._local_scalar_dense.default,
            ATEN.nonzero.default,
            ATEN.masked_select.default,
            ATEN.equal.default,
            ATEN.repeat_interleave.Tensor,
        )


class Functions(TorchFunctionMode):
    """Answers what is asked of a tensor's device, and takes ``cuda:0`` where one is named."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        owner = getattr(func, "__self__", None)
        if name == "__get__" and owner is Tensor.device:
            return Claims.of(args[0])
        if name == "__get__" and owner is Tensor.is_cuda:
            return Claims.of(args[0]) == CUDA
        if name in ("numpy", "__array__", "pin_memory") and Claims.of(args[0]) == CUDA:
            raise TypeError(f"can't {name} a {DEVICE} device type tensor")
        if name == "tolist" and Claims.of(args[0]) == CUDA:
            Claims.wait(name)
        if name == "pin_memory":
            return args[0]
        if name in ("to", "cpu", "cuda") and isinstance(args[0], Tensor):
            return self.moved(name, *args, **kwargs)
        tensors = tensors_of(args, kwargs)
        device = next((Claims.of(one) for one in tensors if one.ndim), None)
        if device is None:
            device = Claims.of(tensors[0]) if tensors else CPU
        if kwargs.get("device") is not None:
            device = torch.device(kwargs["device"])
            kwargs["device"] = CPU
        device = CUDA if device.type == "cuda" else CPU
        generator = kwargs.get("generator")
        if generator is not None and generator.device != device:
            raise RuntimeError(f"Expected a {device.type} device type for generator ({name})")
        Claims.within.append(device)
        try:
            if name in ("as_tensor", "tensor", "asarray"):
                return self.made(func, args, kwargs)
            return func(*args, **kwargs)
        finally:
            Claims.within.pop()

    @staticmethod
    def made(func: Any, args: Any, kwargs: Any) -> Tensor:
        """A tensor of given numbers: a copy of what is in the host's memory, for the GPU."""
        target = Claims.within[-1]
        made: Tensor = func(*args, **kwargs)
        before = Claims.of(made)
        if before != target:
            Claims.wait(f"a copy from {before.type} to {target.type}")
            made = made.clone()
        Claims.claim(made, target)
        return made

    @staticmethod
    def moved(name: str, tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """What `Tensor.to`, `cpu` and `cuda` give."""
        before = target = Claims.of(tensor)
        rest, non_blocking = [], kwargs.pop("non_blocking", False)
        device = kwargs.pop("device", {"to": None, "cpu": CPU, "cuda": CUDA}[name])
        for one in args:
            if isinstance(one, str | torch.device):
                device = one
            elif isinstance(one, Tensor):
                device, kwargs["dtype"] = Claims.of(one), one.dtype
            elif isinstance(one, bool):
                non_blocking = one
            else:
                rest.append(one)
        if device is not None:
            target = CUDA if torch.device(device).type == "cuda" else CPU
        Claims.within.append(before)
        try:
            if rest or kwargs.get("dtype") is not None:
                tensor = torch.Tensor.to(tensor, *rest, **kwargs)
            if target == before:
                return tensor
            if not non_blocking or target == CPU:
                Claims.wait(f"a copy from {before.type} to {target.type}")
            copied = tensor.clone()
        finally:
            Claims.within.pop()
        Claims.claim(copied, target)
        return copied


class Generator(torch.Generator):
    """A generator of the CPU that says that it is on the device it was made for."""

    def __new__(cls, device: Any = "cpu") -> "Generator":
        made: Generator = super().__new__(cls)
        return made

    def __init__(self, device: Any = "cpu") -> None:
        self.of = torch.device(device)

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return CUDA if self.of.type == "cuda" else CPU


class Threads(ThreadPoolExecutor):
    """Threads that have the pretended GPU, too."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        def inside() -> Any:
            with Operations(), Functions():
                return function(*args, **kwargs)

        return super().submit(inside)


def counted(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """``function``; while it runs, the number ``name`` of `Claims` is one higher."""

    @wraps(function)
    def inside(*args: Any, **kwargs: Any) -> Any:
        setattr(Claims, name, getattr(Claims, name) + 1)
        try:
            return function(*args, **kwargs)
        finally:
            setattr(Claims, name, getattr(Claims, name) - 1)

    return inside


@contextmanager
def pretend_gpu() -> Iterator[None]:
    """Inside, ``cuda:0`` is a device whose tensors the CPU computes."""
    with ExitStack() as stack:

        def patch(target: Any, name: str, new: Any) -> None:
            stack.enter_context(mock.patch.object(target, name, new))

        patch(torch, "Generator", Generator)
        # The GPU draws from the generator of the CPU.
        get, put = torch.random.get_rng_state, torch.random.set_rng_state
        for home in (torch.cuda, torch.cuda.random):
            patch(home, "get_rng_state", lambda *device: get())
            patch(home, "set_rng_state", lambda state, *device: put(state))
        patch(torch.cuda, "mem_get_info", lambda device=None: (60 * 2**30, 80 * 2**30))
        patch(torch.cuda, "_lazy_init", lambda: None)
        patch(torch.backends.cudnn, "is_acceptable", lambda tensor: False)
        patch(resumable, "ThreadPoolExecutor", Threads)
        for names, number in ((STEPS, "in_step"), (MAY_WAIT, "may_wait")):
            for home, name in names:
                patch(home, name, counted(getattr(home, name), number))
        patch(Claims, "on_gpu", {})
        stack.enter_context(Operations())
        stack.enter_context(Functions())
        yield
