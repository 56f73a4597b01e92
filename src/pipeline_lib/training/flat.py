"""Named tensors of R replicas that lie in one buffer (R, P).

A transformer has hundreds of tensors. Operations on the buffer take a few calls where those on each
tensor would take thousands, which on a GPU is what small operations cost.
"""

from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Size, Tensor

from pipeline_lib.training.replica_moments import has_kernel

BLOCK = 64
"""Each tensor begins at a multiple of so many numbers and is followed by zeros up to the next.

So blocks belong to one tensor, and matrices begin where fast products need them to.
"""


class Layout:
    """Where tensors of these ``shapes`` lie in a buffer on ``device``.

    ``bounds`` are the first column of each and the one behind its last. What is behind a tensor in
    its last block belongs to nobody: ``is_used`` (P,) is False there.
    """

    def __init__(self, shapes: Mapping[str, Sequence[int]], device: torch.device) -> None:
        self.shapes = {name: Size(shape) for name, shape in shapes.items()}
        sizes = torch.tensor([shape.numel() for shape in self.shapes.values()])
        n_blocks = -(-sizes // BLOCK)
        starts = BLOCK * (n_blocks.cumsum(0) - n_blocks)
        self.width = BLOCK * int(n_blocks.sum())
        self.bounds = list(zip(starts.tolist(), (starts + sizes).tolist(), strict=True))
        self.gaps: list[int] = (BLOCK * n_blocks - sizes).tolist()
        owners = torch.arange(len(sizes)).repeat_interleave(n_blocks)
        place = torch.arange(self.width) - starts[owners].repeat_interleave(BLOCK)
        is_used = place < sizes[owners].repeat_interleave(BLOCK)
        self.n_blocks = n_blocks.to(device)
        """Blocks of each tensor."""
        self.owners = owners.to(device)
        """The number of the tensor that each block belongs to."""
        self.is_used = is_used.to(device)


class FlatTensors(dict[str, Tensor]):
    """Views (R, *shape) by name of ``flat`` (R, P), zeros at first.

    Args:
        like: has the precision, and is on the device of the layout.

    `fill` and `fill_replica` leave zeros between the tensors. An optimiser that divides by 0 makes
    them NaN.
    """

    def __init__(self, layout: Layout, n_replicas: int, like: Tensor) -> None:
        self.layout = layout
        self.flat = like.new_zeros(n_replicas, layout.width)
        views = {
            name: self.flat[:, begin:end].view(n_replicas, *shape)
            for (name, shape), (begin, end) in zip(
                layout.shapes.items(), layout.bounds, strict=True
            )
        }
        super().__init__(views)
        zero = like.new_zeros(n_replicas, 1)
        self._gaps = [zero.expand(-1, gap) for gap in layout.gaps]

    @classmethod
    def repeated(cls, tensors: Mapping[str, Tensor], n_replicas: int) -> Self:
        """``n_replicas`` copies of each tensor."""
        first = next(iter(tensors.values()))
        layout = Layout({name: one.shape for name, one in tensors.items()}, first.device)
        made = cls(layout, n_replicas, first)
        for name, tensor in tensors.items():
            made[name].copy_(tensor.expand_as(made[name]))
        return made

    def zeros(self) -> "FlatTensors":
        """Zeros of the same names, shapes and replicas."""
        return FlatTensors(self.layout, len(self.flat), self.flat)

    def fill(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over the numbers of ``tensors`` (R, *shape)."""
        n_replicas = len(self.flat)
        self._fill(self.flat, [tensors[name].reshape(n_replicas, -1) for name in self], self._gaps)

    def fill_replica(self, replica: int, tensors: Mapping[str, Tensor]) -> None:
        """Take over the numbers of one replica's ``tensors`` (*shape)."""
        gaps = [gap[replica] for gap in self._gaps]
        self._fill(self.flat[replica], [tensors[name].reshape(-1) for name in self], gaps)

    def sums_of_blocks(self, blocks: Tensor) -> Tensor:
        """Sums (K, S) for each of the S tensors over their blocks (K, P / `BLOCK`)."""
        lengths = self.layout.n_blocks.repeat(len(blocks))
        # Unsafe in that lengths are not checked: the host would have to wait for the device.
        sums = torch.segment_reduce(blocks.flatten(), "sum", lengths=lengths, unsafe=True)
        return sums.view(len(blocks), -1)

    def scale(self, factors: Tensor) -> None:
        """Multiply by ``factors``, (R, S) for each tensor or (R, 1) for all."""
        factors = factors.to(self.flat.dtype)
        if factors.shape[1] == 1:
            self.flat.mul_(factors)
        elif has_kernel(self.flat):  # on CPU some calls cost less than rows of 64 numbers
            for k, (begin, end) in enumerate(self.layout.bounds):
                self.flat[:, begin:end].mul_(factors[:, k : k + 1])
        else:
            of_blocks = factors.index_select(1, self.layout.owners)
            self.flat.view(len(self.flat), -1, BLOCK).mul_(of_blocks[:, :, None])

    @staticmethod
    def _fill(target: Tensor, tensors: Sequence[Tensor], gaps: Sequence[Tensor]) -> None:
        parts = [part for pair in zip(tensors, gaps, strict=True) for part in pair]
        torch.cat([part for part in parts if part.shape[-1]], dim=-1, out=target)


def can_be_flat(tensors: Mapping[str, Tensor]) -> bool:
    """Whether all tensors have one precision and one device."""
    return len({(one.dtype, one.device) for one in tensors.values()}) == 1
