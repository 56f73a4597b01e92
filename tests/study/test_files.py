"""Configuration files that cannot be read, each told in one line, and the lines of keys."""

import re
from pathlib import Path

import pytest

from pipeline_lib.errors import ConfigError
from pipeline_lib.study.files import located, main, read_config

BAD = {
    "anchor": ("a: &a\n  b: 1\nc: &c\n  d: *c\n", ", line 3: the anchor of c is used"),
    "anchor in a list": ("a: &a [1, *a]\n", ", line 1: the anchor of a is used within itself"),
    "merged anchor": ("a: &a\n  <<: *a\n", ", line 1: the anchor of a is used within itself"),
    "not UTF-8": (b"a: 1\n# caf\xe9\n", ", line 2: byte 0xe9 is not UTF-8"),
    "flow": ("a: {b: 1\nc: 2\n", ", line 2: no YAML: while parsing a flow mapping"),
    "tab": ("a:\n\tb: 1\n", ", line 2: no YAML: "),
    "control character": ("a: \x07\n", ": no YAML: "),
    "two documents": ("a: 1\n---\nb: 2\n", ", line 2: no YAML: "),
    "duplicate": ("a:\n  b: 1\n  b: 2\n", ", line 3: the key a.b stands on line 2 already"),
    "duplicate in a list": ("a: [{b: 1, b: 2}]\n", ", line 1: the key a.b stands on line 1"),
    "list": ("- 1\n", ": [1] has no keys"),
    "unknown tag": ("a: !python/object 1\n", ", line 1: no YAML: could not determine"),
    "unhashable key": ("? [a]\n: 1\n? {b: 1}\n: 2\n", "no YAML: "),
}  # fmt: skip


def message_of(path: Path) -> str:
    with pytest.raises(ConfigError) as error:
        read_config(path)
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message.removeprefix(str(path))


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_told_in_one_line_with_its_place(tmp_path, name):
    content, expected = BAD[name]
    path = tmp_path / "mine.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert expected in message_of(path)


def test_a_missing_file_and_a_folder_are_told(tmp_path):
    assert message_of(tmp_path / "none.yaml") == ": No such file or directory; expected a YAML file"
    assert message_of(tmp_path) == ": Is a directory; expected a YAML file"


def test_json_is_read_and_its_faults_are_told(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text('{"a": {"b": 1e-5}}')
    assert read_config(path).values == {"a": {"b": 1e-5}}
    path.write_text('{"a": 1, "a": 2}')
    assert "the key 'a' stands twice" in message_of(path)
    path.write_text('{\n"a": 1,\n}')
    assert ", line 3: no JSON" in message_of(path)


def test_an_empty_file_changes_nothing(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("# nothing yet\n")
    assert read_config(path).values == {}


def test_a_message_names_file_and_line_of_the_key_that_decides(tmp_path):
    first, second = tmp_path / "config.yaml", tmp_path / "mine.yaml"
    first.write_text("base: &base\n  runs: 1\none: {<<: *base, epochs: 2}\n")
    second.write_text("one:\n  epochs: 3\n")
    files = [read_config(first), read_config(second)]
    assert files[0].values["one"] == {"runs": 1, "epochs": 2}
    assert located("config: one.epochs: 3 is odd", files) == (
        f"config: one.epochs ({second}, line 2): 3 is odd"
    )
    # A merged key stands where it is written.
    assert f"one.runs ({first}, line 2): " in located("config: one.runs: 1: no", files)
    # A missing key: where it should be.
    assert f"one.more ({second}, line 1): " in located("config: one.more: missing", files)
    assert located("config: other: missing", files) == "config: other: missing"
    # The command line wins over every file.
    assert located("config: one.epochs: 3", files, {"one": {"epochs": 3}}).startswith(
        "config: one.epochs (--config): 3"
    )
    assert located("DATA_DIR is no folder", files) == "DATA_DIR is no folder"


def test_the_values_are_those_that_yaml_reads(repository):
    import yaml

    path = repository / "config.yaml"
    found = read_config(path)
    assert found.values == yaml.safe_load(path.read_text())
    for key, line in found.lines.items():
        written = path.read_text().splitlines()[line - 1]
        assert re.search(rf"\b{re.escape(key[-1])}:", written), key


def test_files_are_checked_from_the_command_line(tmp_path, capsys):
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("a: 1\n")
    bad.write_text("a: 1\na: 2\n")
    assert main([str(good)]) == 0
    assert main([str(good), str(bad)]) == 1
    assert capsys.readouterr().err == (
        f"error: {bad}, line 2: the key a stands on line 1 already; keep one\n"
    )
