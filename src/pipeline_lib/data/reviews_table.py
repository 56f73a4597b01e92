"""The ``reviews`` artefact: texts, labels and token rows of both splits, and what they are."""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline_lib.artifacts.files import read_table
from pipeline_lib.data.review_split import NEGATIVE, POSITIVE, split
from pipeline_lib.data.tokens import (
    LENGTH,
    attention_mask,
    encode,
    length_statistics,
    train_vocabulary,
    vocabulary_size,
)
from pipeline_lib.data.yelp import Reviews
from pipeline_lib.errors import ArtifactError

SPLITS = ("training", "validation")


class Prepared(NamedTuple):
    """frame: a ``reviews`` table; model: the bytes of the vocabulary; origin: plain values for
    JSON, which say what data it is, what was left out, class balance, vocabulary and lengths."""

    frame: pd.DataFrame
    model: bytes
    origin: dict[str, Any]


class Tokens(NamedTuple):
    """One split: input_ids and attention_mask (n, length) int32, labels (n,) int8."""

    input_ids: NDArray[np.int32]
    attention_mask: NDArray[np.int32]
    labels: NDArray[np.int8]


def prepare(
    reviews: Reviews,
    n_train: int,
    n_validation: int,
    vocabulary: int,
    generator: np.random.Generator,
    *,
    length: int = LENGTH,
) -> Prepared:
    """Split `reviews`, train a vocabulary on the training texts alone, encode both splits.

    vocabulary: number of pieces asked for; length: tokens a row. The rows of the training set come
    first, each set in the order of the corpus. Raises ConfigError as `split`, `train_vocabulary`
    and `encode` do.
    """
    chosen = split(reviews.labels, n_train, n_validation, generator)
    model = train_vocabulary([reviews.texts[index] for index in chosen.train], vocabulary)
    frames: list[pd.DataFrame] = []
    sets: dict[str, Any] = {}
    for name, indices in zip(SPLITS, (chosen.train, chosen.validation), strict=True):
        texts = [reviews.texts[index] for index in indices]
        labels = reviews.labels[indices]
        encoded = encode(model, texts, length)
        columns = {
            "split": name,
            "label": labels,
            "text": texts,
            "n_tokens": encoded.n_tokens,
            "input_ids": list(encoded.input_ids),
        }
        frames.append(pd.DataFrame(columns))
        sets[name] = {
            "n_reviews": len(texts),
            "n_negative": int(np.sum(labels == NEGATIVE)),
            "n_positive": int(np.sum(labels == POSITIVE)),
            "tokens": length_statistics(encoded.n_tokens, length),
        }
    origin = {
        "name": reviews.name,
        "source": reviews.source,
        "data_sha256": reviews.sha256,
        "is_stand_in": reviews.is_stand_in,
        "note": reviews.note,
        "split_note": chosen.note,
        "labels": {"negative": NEGATIVE, "positive": POSITIVE},
        "n_labelled": reviews.n_labelled,
        "n_empty": reviews.n_empty,
        "n_duplicates": reviews.n_duplicates,
        "n_contradictory": reviews.n_contradictory,
        "vocabulary_asked": vocabulary,
        "vocabulary": vocabulary_size(model),
        "vocabulary_sha256": hashlib.sha256(model).hexdigest(),
        "length": length,
        "sets": sets,
    }
    return Prepared(pd.concat(frames, ignore_index=True), model, origin)


def read_tokens(path: Path, name: str) -> Tokens:
    """The split `name`, one of SPLITS, of the ``reviews`` artefact at ``path``.

    Raises ArtifactError as `read_table` does, or if there is no such split.
    """
    frame = read_table(path, "reviews", ["split", "label", "input_ids"])
    rows = frame[frame["split"] == name]
    if rows.empty:
        raise ArtifactError(f"{path}: no rows of split '{name}'; allowed: {', '.join(SPLITS)}")
    input_ids = np.stack(rows["input_ids"].to_list()).astype(np.int32, copy=False)
    labels = rows["label"].to_numpy(dtype=np.int8)
    return Tokens(input_ids, attention_mask(input_ids), labels)
