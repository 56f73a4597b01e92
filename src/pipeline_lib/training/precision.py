"""How float32 products are rounded on a CUDA device, and that equal runs are equal there."""

from collections.abc import Iterator
from contextlib import contextmanager


def set_precision(allow_tf32: bool = False) -> None:
    """Whether float32 products on a CUDA device may round their factors to TF32 (10 bits).

    Off, they are IEEE float32: a variance of gradients should not hold the rounding of products.
    That holds for products of matrices, convolutions and recurrent layers. Convolutions take one
    algorithm, which adds in one order, so that equal runs are equal bit for bit.

    Torch has an old and a new switch for each and refuses to read one that contradicts the other:
    the old ones are set first, which the new ones then say once more.
    """
    import torch

    backends = torch.backends
    backends.cuda.matmul.allow_tf32 = allow_tf32
    backends.cudnn.allow_tf32 = allow_tf32
    precision = "tf32" if allow_tf32 else "ieee"
    backends.cuda.matmul.fp32_precision = precision
    backends.cudnn.conv.fp32_precision = precision  # type: ignore[attr-defined]
    backends.cudnn.rnn.fp32_precision = precision  # type: ignore[attr-defined]
    backends.cudnn.deterministic = True
    backends.cudnn.benchmark = False  # it would choose by the clock


@contextmanager
def tf32_if(allowed: bool) -> Iterator[None]:
    """Inside products may round to TF32, if it is ``allowed`` here or was before."""
    import torch

    before = torch.backends.cuda.matmul.fp32_precision == "tf32"
    if before or not allowed:
        yield
        return
    set_precision(True)
    try:
        yield
    finally:
        set_precision(False)
