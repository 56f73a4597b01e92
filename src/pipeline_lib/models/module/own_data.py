"""A data set of the user's own: made from arrays, frames, sparse matrices, tensors or a Dataset."""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils import _pytree
from torch.utils.data import Dataset

from pipeline_lib.errors import ConfigError
from pipeline_lib.models.module.own_code import called, seeded
from pipeline_lib.seeding import seed_sequence
from pipeline_lib.training.labelled import Examples
from pipeline_lib.training.memory import free_memory
from pipeline_lib.training.trees import Tree, leaves, mapped

SPLITS = ("training", "validation")
_PAIR = (
    "((x, y) for training, (x, y) for validation), arrays or tensors with equal lengths, "
    "or two torch data sets"
)


@dataclass(frozen=True)
class OwnData:
    """Examples by split, ``training`` and ``validation``.

    ``names`` are those of labels that were given as text, in the order of their numbers.
    """

    sets: Mapping[str, Examples]
    names: tuple[str, ...] = ()

    @property
    def n(self) -> int:
        """Training examples."""
        return len(leaves(self.sets["training"][1])[0])

    def digest(self) -> str:
        """SHA-256 of all examples: two data sets that agree in it are the same."""
        total = hashlib.sha256()
        for split in SPLITS:
            for part in self.sets[split]:
                flat, form = _pytree.tree_flatten(part)
                total.update(f"{split} {form}".encode())
                for array in flat:
                    total.update(f"{array.dtype} {array.shape}".encode())
                    total.update(np.ascontiguousarray(array).data)
        return total.hexdigest()


def load_data(
    make_dataset: Callable[..., Any], arguments: Mapping[str, Any], dtype: str
) -> OwnData:
    """Call ``make_dataset`` and take its examples as arrays of their own memory.

    Inputs may be dicts, tuples and lists of arrays. Numbers with a fraction become ``dtype``, whole
    ones int64, but 8-bit inputs without a sign stay so, as images are numbers only once a
    mini-batch is made. Labels that are text become numbers in the order of the alphabet.

    If ``make_dataset`` is a class of torch data sets, it is made twice, with the arguments under
    ``training`` and ``validation``. The global generators of torch, NumPy and Python are seeded
    before the call, the same for all experiments. Raises ConfigError if it fails, returns something
    else or does not fit the free memory, before it is copied there: a memory map, a sparse matrix
    or a torch data set may stand for far more than was read of it.
    """
    with seeded(seed_sequence(0, "dataset")):
        made = called("dataset", lambda: _made(make_dataset, arguments))
    try:
        _refuse_too_large(sum(_bytes_of(part, dtype) for part in made))
        (train_x, train_y), (valid_x, valid_y) = map(_pair, made)
        names = _names([train_y, valid_y])
        xs = [_arrays(part, dtype, is_target=False) for part in (train_x, valid_x)]
        ys = [_arrays(_numbered(part, names), dtype, is_target=True) for part in (train_y, valid_y)]
    except ConfigError:
        raise
    except Exception as error:
        told = " ".join(str(error).split())
        raise ConfigError(
            f"dataset: {type(error).__name__}: {told}; it is to return {_PAIR}"
        ) from error
    for split, x, y in zip(SPLITS, xs, ys, strict=True):
        lengths = {len(part) if part.ndim else 0 for part in leaves(x) + leaves(y)}
        if len(lengths) != 1 or 0 in lengths:
            raise ConfigError(
                f"dataset: {split} has x of shape {_shapes(x)} and y of shape {_shapes(y)}; "
                f"it is to return {_PAIR}"
            )
    return OwnData(dict(zip(SPLITS, zip(xs, ys, strict=True), strict=True)), names)


def _made(make_dataset: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    if not (isinstance(make_dataset, type) and issubclass(make_dataset, Dataset)):
        made = make_dataset(**arguments)
        # Read twice: for its size, and for its examples.
        return tuple(made) if isinstance(made, Iterator) else made
    if set(arguments) != set(SPLITS):
        raise ConfigError(
            f"dataset: {make_dataset.__name__} is a class of data sets, of which two are made; "
            "arguments.dataset is to have the keys training and validation, with the arguments of "
            "each"
        )
    return tuple(make_dataset(**arguments[split]) for split in SPLITS)


def _pair(made: Any) -> tuple[Any, Any]:
    """x and y of a pair, or of the items of a torch data set."""
    if not isinstance(made, Dataset):
        x, y = made
        return x, y
    n = _length(made)
    first, form = _pytree.tree_flatten(mapped(_item, tuple(made[0])))
    arrays = [np.empty((n, *part.shape), part.dtype) for part in first]
    for i in range(n):
        flat, other = _pytree.tree_flatten(mapped(_item, tuple(made[i])))
        if other != form or any(a.shape != b.shape for a, b in zip(flat, first, strict=True)):
            raise ValueError(f"its items are not all of one form: item {i} is not as the first")
        for k, part in enumerate(flat):
            common = np.result_type(arrays[k], part)
            if common != arrays[k].dtype:
                arrays[k] = arrays[k].astype(common)
            arrays[k][i] = part
    x, y = _pytree.tree_unflatten(arrays, form)
    return x, y


def _length(made: Any) -> int:
    if not hasattr(made, "__len__"):
        raise TypeError("the data set has no length")
    if len(made) == 0:
        raise ValueError("the data set is empty")
    return len(made)


def _bytes_of(part: Any, dtype: str) -> int:
    """The memory that taking the examples of a split needs, as far as it is known beforehand."""
    if isinstance(part, Dataset):
        n = _length(part)
        first = leaves(mapped(_item, tuple(part[0])))
        # As they are read, and as they are kept.
        return 2 * n * sum(int(one.nbytes) for one in first)
    return sum(
        math.prod(each.shape) * _itemsize(str(getattr(each, "dtype", dtype)), dtype, k == 1)
        for k, tree in enumerate(part)
        for each in _pytree.tree_leaves(_plain(tree), is_leaf=_is_part)
        if hasattr(each, "shape")
    )


def _itemsize(found: str, dtype: str, is_target: bool) -> int:
    """Bytes of a number of type ``found`` as it is kept."""
    if ("uint8" in found or "bool" in found) and not is_target:
        return 1
    if "int" in found or "bool" in found:
        return 8
    return np.dtype(dtype).itemsize * (2 if "complex" in found else 1)


def _item(value: Any) -> Any:
    """One part of an item as an array; pictures of PIL have the shape (channels, rows, columns)."""
    if isinstance(value, Tensor):
        return value.detach().cpu().numpy()
    array = np.asarray(value)
    if hasattr(value, "getbands"):
        return array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0)
    return array


def _is_part(value: Any) -> bool:
    """Whether a node of x or y is an array, and no tree of arrays: lists of numbers are arrays."""
    if isinstance(value, list | tuple):
        return not any(hasattr(part, "shape") or isinstance(part, dict) for part in value)
    return not isinstance(value, Mapping)


def _arrays(tree: Any, dtype: str, is_target: bool) -> Tree:
    return _pytree.tree_map(
        lambda part: _array(part, dtype, is_target), _plain(tree), is_leaf=_is_part
    )


def _plain(tree: Any) -> Any:
    return dict(tree) if isinstance(tree, Mapping) else tree


def _array(values: Any, dtype: str, is_target: bool) -> NDArray[np.generic]:
    """An array with memory of its own."""
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    elif hasattr(values, "toarray"):  # a sparse matrix of SciPy
        values = values.toarray()
    elif hasattr(values, "select_dtypes"):  # a frame of pandas
        other = values.select_dtypes(exclude=["number", "bool"]).columns.tolist()
        if other:
            raise TypeError(f"columns {other} of a frame hold no numbers")
        values = values.to_numpy()
    array = np.asarray(values)
    kind, wanted = array.dtype.kind, array.dtype
    if kind == "f":
        wanted = np.dtype(dtype)
    elif kind == "c":
        wanted = np.dtype("complex64" if dtype == "float32" else "complex128")
    elif (kind in "iu" and (is_target or wanted != np.uint8)) or (kind == "b" and is_target):
        wanted = np.dtype(np.int64)
    elif kind not in "iub":
        raise TypeError(f"numbers are of type {array.dtype}")
    return np.array(array, dtype=wanted, order="C")


def _refuse_too_large(n_bytes: int) -> None:
    free = free_memory()
    if n_bytes > 0.8 * free:
        raise ConfigError(
            f"dataset: its examples take {n_bytes >> 20} MiB of memory, {free >> 20} MiB are free; "
            "allowed is what fits into 80% of it: fewer examples, or 8-bit ones"
        )


def _names(targets: Iterable[Any]) -> tuple[str, ...]:
    """The labels of targets that are text, sorted; none if they are numbers."""
    arrays = [np.asarray(part) for part in targets if not isinstance(part, Tensor | Mapping)]
    text = [array for array in arrays if array.dtype.kind in "UO" and _is_text(array)]
    return tuple(sorted({str(label) for array in text for label in array.ravel()}))


def _is_text(array: NDArray[np.generic]) -> bool:
    return array.size > 0 and all(isinstance(value, str) for value in array.ravel())


def _numbered(targets: Any, names: tuple[str, ...]) -> Any:
    if not names:
        return targets
    array = np.asarray(targets)
    if not _is_text(array):
        raise TypeError("some labels are text and some are not")
    return np.searchsorted(np.array(names), array.astype(str))


def _shapes(tree: Tree) -> str:
    return ", ".join(str(tuple(part.shape)) for part in leaves(tree))


def as_tensors(examples: Examples) -> Examples:
    """The same memory as tensors."""
    x, y = (mapped(torch.from_numpy, part) for part in examples)
    return x, y
