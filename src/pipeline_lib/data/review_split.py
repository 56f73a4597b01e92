"""Labelled texts: which of them to keep, and balanced training and validation sets of the rest."""

import hashlib
import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.errors import ConfigError

logger = logging.getLogger(__name__)

NEGATIVE, POSITIVE = 0, 1


class Distinct(NamedTuple):
    """Ascending indices (n,) of the texts to keep, and how many were removed for each reason."""

    kept: NDArray[np.int64]
    n_empty: int
    n_duplicates: int
    n_contradictory: int


class Split(NamedTuple):
    """Ascending, disjoint indices (n_train,) and (n_validation,); note: "" if the size is as asked
    for, else one line that says what it is instead."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    note: str


def distinct(texts: Sequence[str], labels: NDArray[np.int8]) -> Distinct:
    """Which of n texts to keep so that no two are alike, whatever their whitespace and case.

    Of texts that are alike the first is kept, if they have the same label; if not, none is, since
    the text does not tell its label. Texts of whitespace only are removed. Done before a split, so
    that no validation text is a training text too. texts: n strings; labels: (n,).
    """
    keys = [hashlib.sha256(_normalised(text).encode()).digest() for text in texts]
    empty = hashlib.sha256(b"").digest()
    first: dict[bytes, int] = {}
    mixed: set[bytes] = set()
    for index, key in enumerate(keys):
        if labels[first.setdefault(key, index)] != labels[index]:
            mixed.add(key)
    mixed.discard(empty)
    kept = [index for key, index in first.items() if key != empty and key not in mixed]
    n_empty = keys.count(empty)
    n_contradictory = sum(key in mixed for key in keys)
    n_duplicates = len(keys) - len(kept) - n_empty - n_contradictory
    return Distinct(np.array(kept, np.int64), n_empty, n_duplicates, n_contradictory)


def _normalised(text: str) -> str:
    return " ".join(text.split()).casefold()


def split(
    labels: NDArray[np.int8], n_train: int, n_validation: int, generator: np.random.Generator
) -> Split:
    """Disjoint random training and validation sets, each with equal numbers of both labels.

    labels: (n,), as of `Reviews`. If one label has too few, the largest sets in the same proportion
    n_train : n_validation are taken (rounded down to whole reviews a label), and the note says so.
    With a generator in the same state, a larger n_train extends the training set and leaves the
    validation set as it is. Raises ConfigError if a size is not an even number of 2 or more, or if
    not even one review a label is left for each set.
    """
    for name, size in (("n_train", n_train), ("n_validation", n_validation)):
        if size < 2 or size % 2:
            raise ConfigError(f"{name}: {size}, expected an even number of at least 2")
    members = [
        generator.permutation(np.flatnonzero(labels == label)) for label in (NEGATIVE, POSITIVE)
    ]
    smallest = min(len(group) for group in members)
    train_each, validation_each = n_train // 2, n_validation // 2
    note = ""
    if smallest < train_each + validation_each:
        validation_each = smallest * n_validation // (n_train + n_validation)
        train_each = validation_each * n_train // n_validation
        if not train_each or not validation_each:
            raise ConfigError(
                f"n_train, n_validation: {n_train} and {n_validation} reviews asked for, but the "
                f"rarer label has {smallest}: no balanced split in this proportion exists"
            )
        note = (
            f"{2 * train_each} training and {2 * validation_each} validation reviews in place of "
            f"{n_train} and {n_validation}: the rarer label has {smallest}"
        )
        logger.warning("%s", note)
    total = train_each + validation_each
    train = np.concatenate([group[validation_each:total] for group in members])
    validation = np.concatenate([group[:validation_each] for group in members])
    return Split(np.sort(train), np.sort(validation), note)
