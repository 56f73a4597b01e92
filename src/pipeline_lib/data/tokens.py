"""Texts as rows of integers: a SentencePiece vocabulary of the study's own, and the layout of rows.

The paper's 35,493,122 parameters imply a vocabulary of 31,246 pieces, not the 32,000 of the public
model: it is trained here as the public one was (unigram model, character coverage 0.99995), on the
training texts alone.

A row is `pad ... pad, pieces, <sep>, <cls>`. The paper's network puts the classification token last
and classifies by the hidden state of the LAST position, whatever the mask: padded on the right it
would classify a pad. So pads come first. Their id is 0 (the paper: "we pad the sequences ... with
zeros"), which is not that of the public model.
"""

import io
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import sentencepiece
from numpy.typing import NDArray

from pipeline_lib.errors import ConfigError, DataError

PAD_ID, UNKNOWN_ID, CLS_ID, SEP_ID = range(4)
N_SPECIAL = 2
"""Tokens that every row has besides the pieces of its text: <sep> and <cls>."""

LENGTH = 128


class Encoded(NamedTuple):
    """input_ids (n, length) int32; attention_mask (n, length) int32, 1 at tokens, 0 at pads;
    n_tokens (n,) int32, pieces of each whole text, without <sep> and <cls>."""

    input_ids: NDArray[np.int32]
    attention_mask: NDArray[np.int32]
    n_tokens: NDArray[np.int32]


def train_vocabulary(texts: Sequence[str], size: int) -> bytes:
    """A SentencePiece model of `size` pieces, special ones included; the bytes of its file.

    If the texts do not support so many, the model has the most that they do: ask `vocabulary_size`.
    The same texts in the same order give the same bytes. Every text is used, however long (the
    library's default leaves out those over 4,192 bytes), in one thread and without sampling.
    Raises ConfigError if `size` cannot hold the special pieces and the characters of the texts,
    DataError if there are no texts.
    """
    lines = [_one_line(text) for text in texts]
    longest = max((len(line.encode()) for line in lines), default=0)
    if not longest:
        raise DataError(f"vocabulary: {len(texts)} texts with no characters, nothing to train on")
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            model_type="unigram",
            vocab_size=size,
            hard_vocab_limit=False,
            character_coverage=0.99995,
            seed_sentencepiece_size=1_000_000,
            max_sentence_length=max(longest + 1, 10),  # the least that it accepts
            input_sentence_size=0,
            shuffle_input_sentence=False,
            num_threads=1,
            pad_id=PAD_ID,
            unk_id=UNKNOWN_ID,
            bos_id=-1,
            eos_id=-1,
            control_symbols=["<cls>", "<sep>"],
            minloglevel=2,
        )
    except (RuntimeError, ValueError) as error:
        needed = re.search(r"required_chars\. \d+ vs (\d+)", str(error))
        reason = f"expected at least {needed[1]}" if needed else " ".join(str(error).split())
        raise ConfigError(f"vocabulary: {size} pieces: {reason}") from error
    return model.getvalue()


def vocabulary_size(model: bytes) -> int:
    """Number of pieces of `model`, special ones included: one more than the largest id."""
    return int(_processor(model).get_piece_size())


def encode(model: bytes, texts: Sequence[str], length: int = LENGTH) -> Encoded:
    """n texts as rows of `length` tokens: pads, the first length - 2 pieces, <sep>, <cls>.

    `model` is that of `train_vocabulary`. A text that contains the letters "<cls>" or "<pad>" does
    not contain those tokens. Raises ConfigError if `length` leaves no room for a piece.
    """
    if length <= N_SPECIAL:
        raise ConfigError(f"length: {length} tokens, expected at least {N_SPECIAL + 1}")
    processor = _processor(model)
    rows = [processor.encode(_one_line(text)) for text in texts]
    input_ids = np.full((len(rows), length), PAD_ID, np.int32)
    for row, pieces in zip(input_ids, rows, strict=True):
        tokens = [*pieces[: length - N_SPECIAL], SEP_ID, CLS_ID]
        row[length - len(tokens) :] = tokens
    n_tokens = np.array([len(pieces) for pieces in rows], np.int32)
    return Encoded(input_ids, attention_mask(input_ids), n_tokens)


def attention_mask(input_ids: NDArray[np.int32]) -> NDArray[np.int32]:
    """1 where `input_ids`, of any shape, has a token, 0 where it has a pad (no text yields one)."""
    mask: NDArray[np.int32] = (input_ids != PAD_ID).astype(np.int32)
    return mask


def length_statistics(n_tokens: NDArray[np.int32], length: int) -> dict[str, float]:
    """Pieces a text before truncation: mean, median, 95% quantile, most; and `share_truncated`,
    the share of the texts of which a row of `length` tokens does not hold all pieces.

    n_tokens: (n,), as of `encode`, n at least 1.
    """
    return {
        "mean": float(n_tokens.mean()),
        "median": float(np.median(n_tokens)),
        "q95": float(np.quantile(n_tokens, 0.95)),
        "max": float(n_tokens.max()),
        "share_truncated": float(np.mean(n_tokens > length - N_SPECIAL)),
    }


def _one_line(text: str) -> str:
    # The trainer reads lines; pieces do not tell one kind of whitespace from another anyway.
    return " ".join(text.split())


def _processor(model: bytes) -> sentencepiece.SentencePieceProcessor:
    if not model:  # the library would take it, as a model still to be loaded
        raise DataError("not a SentencePiece model: 0 bytes")
    try:
        processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    except RuntimeError as error:
        raise DataError(f"not a SentencePiece model: {len(model)} bytes") from error
    return processor
