"""The device that a block is trained on, and the precision of its products."""

import os

from pipeline_lib.errors import ConfigError


def resolve_device(device: str) -> str:
    """``auto`` becomes ``cuda`` where torch can use a CUDA device, else ``cpu``.

    Torch is asked only where a driver is loaded: importing it would cost every CPU job a second.
    Raises ConfigError if ``cuda`` is asked for and there is none.
    """
    if device == "cpu":
        return device
    usable = os.path.exists("/dev/nvidiactl") and _cuda_is_available()
    if device == "cuda" and not usable:
        raise ConfigError(
            "config: compute.device: 'cuda', but no CUDA device can be used here; "
            "allowed here: auto, cpu"
        )
    return "cuda" if usable else "cpu"


def _cuda_is_available() -> bool:
    import torch

    return torch.cuda.is_available()


def set_precision(allow_tf32: bool = False) -> None:
    """Whether float32 products on a CUDA device may round their factors to TF32 (10 bits).

    Off, they are IEEE float32: a variance of gradients should not hold the rounding of products.
    """
    import torch

    precision = "tf32" if allow_tf32 else "ieee"
    torch.backends.cuda.matmul.fp32_precision = precision
    torch.backends.cudnn.conv.fp32_precision = precision  # type: ignore[attr-defined]
    torch.backends.cudnn.rnn.fp32_precision = precision  # type: ignore[attr-defined]
