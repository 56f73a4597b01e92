"""Examples as trees: a tensor, or nested dicts, tuples and lists of tensors with one length.

So are inputs with several parts kept, such as the token numbers and the mask of a transformer.
Every function also takes numpy arrays in place of tensors where it says so.
"""

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils import _pytree

Tree: TypeAlias = Any
"""A tensor or array (n, ...), or nested dicts, tuples and lists of them."""


def leaves(tree: Tree) -> list[Any]:
    """The tensors or arrays of a tree."""
    return _pytree.tree_leaves(tree)


def mapped(function: Callable[[Any], Any], tree: Tree) -> Tree:
    """The tree of what ``function`` makes of each tensor or array."""
    return _pytree.tree_map(function, tree)


def n_rows(tree: Tree) -> int:
    """The examples of a tree, of tensors or arrays."""
    return len(leaves(tree)[0])


def device_of(tree: Tree) -> torch.device:
    """Where the tensors of a tree are."""
    device: torch.device = leaves(tree)[0].device
    return device


def on_device(tree: Tree, device: torch.device | str | None) -> Tree:
    """Tensors of the tensors or arrays of a tree on ``device``; on CPU their memory is shared."""
    return mapped(lambda part: torch.as_tensor(part, device=device), tree)


def from_host(array: NDArray[Any], device: torch.device) -> Tensor:
    """A tensor of ``array``. It shares memory on CPU; a copy to a GPU is not waited for."""
    tensor = torch.from_numpy(array)
    if device.type == "cpu":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


def rows(tree: Tree, chosen: Any) -> Tree:
    """Part of the rows of each tensor or array; ``chosen`` is a slice or an index."""
    return mapped(lambda part: part[chosen], tree)


def gathered(tree: Tree, indices: Tensor) -> Tree:
    """Copies of the rows that ``indices`` (R, b) names: tensors (R, b, ...)."""

    def gather(examples: Tensor) -> Tensor:
        flat = examples.index_select(0, indices.flatten())
        return flat.view(*indices.shape, *examples.shape[1:])

    return mapped(gather, tree)


def copied(tree: Tree) -> Tree:
    """A tree of copies, for who may write into them."""
    return mapped(torch.clone, tree)


def joined(parts: list[Tree], dim: int = 0) -> Tree:
    """One tree of trees of one form, concatenated along ``dim``."""
    flat = [leaves(part) for part in parts]
    whole = [torch.cat(tensors, dim=dim) for tensors in zip(*flat, strict=True)]
    return _pytree.tree_unflatten(whole, _pytree.tree_structure(parts[0]))


def chunks(tree: Tree, size: int) -> Iterator[Tree]:
    """Copies of so many consecutive rows at a time."""
    for start in range(0, n_rows(tree), size):
        yield copied(rows(tree, slice(start, start + size)))


def shapes(tree: Tree) -> str:
    """Shapes and types of a tree of tensors, for messages."""
    if isinstance(tree, Tensor):
        return f"{tuple(tree.shape)} {str(tree.dtype).removeprefix('torch.')}"
    if isinstance(tree, dict):
        return "{" + ", ".join(f"{name}: {shapes(part)}" for name, part in tree.items()) + "}"
    if isinstance(tree, tuple | list):
        return "(" + ", ".join(shapes(part) for part in tree) + ")"
    return f"type {type(tree).__name__}"
