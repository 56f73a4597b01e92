"""Files of results: what is written comes back, and nothing broken is ever read as a result."""

import errno
import os

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline_lib.artifacts.files import (
    read_provenance,
    read_table,
    write_table,
    write_text,
    write_whole,
)
from pipeline_lib.artifacts.schemas import SCHEMAS, file_schema, order_of
from pipeline_lib.errors import ArtifactError

DIVERGENCE = pd.DataFrame({"replica": [0, 3], "step": [5, 2]})
PROVENANCE = {"data_sha256": "ab" * 32, "init": 0, "b": 4, "nested": {"x": [1.5, None]}}


def theory(variance, **columns):
    rows = len(variance)
    values = {
        "init": 0,
        "b": 4,
        "step": np.arange(rows),
        "quantity": "full_gradient",
        "tensor": "all",
        "variance": variance,
    }
    return pd.DataFrame(values | columns)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("kind", sorted(SCHEMAS))
def test_every_kind_round_trips(kind, tmp_path):
    schema = SCHEMAS[kind]
    columns = {}
    for i, field in enumerate(schema):
        if pa.types.is_dictionary(field.type) or pa.types.is_string(field.type):
            columns[field.name] = ["a", "β", f"c{i}"]
        elif pa.types.is_boolean(field.type):
            columns[field.name] = [True, False, True]
        elif pa.types.is_integer(field.type):
            bits = field.type.bit_width
            columns[field.name] = [i, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1]
        elif pa.types.is_list(field.type):
            columns[field.name] = [[i, -(2**31)], [], [2**31 - 1]]
        elif pa.types.is_fixed_size_binary(field.type):
            columns[field.name] = [bytes([k]) * field.type.byte_width for k in (0, i, 255)]
        else:
            columns[field.name] = [0.1 + i, -0.0, 5e-324]
    frame = pd.DataFrame(columns)
    if order_of(kind):  # files are written in the order that the schema declares
        columns = frame.sort_values(order_of(kind), ignore_index=True).to_dict("list")
    path = tmp_path / "new" / "folders" / f"{kind}.parquet"
    write_table(path, frame, kind, PROVENANCE)
    back = read_table(path, kind)
    assert list(back.columns) == schema.names
    for name in schema.names:
        values = back[name]
        if pa.types.is_list(schema.field(name).type):
            values = values.map(list)
        assert values.tolist() == columns[name]
        if pa.types.is_floating(schema.field(name).type):
            assert np.signbit(back[name]).tolist() == np.signbit(columns[name]).tolist()
    assert read_provenance(path) == PROVENANCE
    assert names_in(path.parent) == [path.name]
    empty = schema.empty_table().to_pandas()
    write_table(path, empty, kind)
    assert len(read_table(path, kind)) == 0
    assert read_provenance(path) == {}


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=20))
def test_floats_come_back_bit_by_bit(tmp_path, values):
    path = tmp_path / "theory.parquet"
    write_table(path, theory(np.array(values)), "theory")
    assert read_table(path, "theory")["variance"].to_numpy().tobytes() == (
        np.array(values, dtype=np.float64).tobytes()
    )


def test_missing_values_where_they_are_allowed(tmp_path):
    schema = SCHEMAS["variance"]
    row = {name: [1, 2] for name in schema.names}
    for name in ("quantity", "tensor", "estimator"):
        row[name] = ["x", "y"]
    row["reliable"] = [True, False]
    allowed = [field.name for field in schema if field.nullable]
    assert allowed == ["epoch", "variance", "std_error", "ci_low", "ci_high", "max_share"]
    for name in allowed:
        row[name] = [None, 7]
    write_table(tmp_path / "v.parquet", pd.DataFrame(row), "variance")
    back = read_table(tmp_path / "v.parquet", "variance")
    for name in schema.names:
        assert back[name].isna().tolist() == [name in allowed, False]


@pytest.mark.parametrize("missing", [np.nan, None, pd.NA])
def test_missing_values_are_refused_elsewhere(missing, tmp_path):
    path = tmp_path / "d.parquet"
    frame = DIVERGENCE.assign(step=pd.array([1, missing], dtype="Int32"))
    with pytest.raises(ArtifactError, match=r"d\.parquet.*step"):
        write_table(path, frame, "divergence")
    with pytest.raises(ArtifactError, match=r"d\.parquet.*variance"):
        write_table(path, theory([1.0, np.nan]), "theory")
    assert names_in(tmp_path) == []


def test_columns_that_may_hold_missing_values_are_another_schema(tmp_path):
    path = tmp_path / "d.parquet"
    nullable = pa.schema([field.with_nullable(True) for field in file_schema("divergence")])
    frame = DIVERGENCE.assign(experiment="x", init=0, b=4, seed=0)
    pq.write_table(pa.Table.from_pandas(frame, schema=nullable, preserve_index=False), path)
    with pytest.raises(ArtifactError, match=r"d\.parquet: not of the schema"):
        read_table(path, "divergence")


@pytest.mark.parametrize(
    "frame",
    [
        DIVERGENCE[["step", "replica"]],
        DIVERGENCE[["replica"]],
        DIVERGENCE.assign(extra=1),
        DIVERGENCE.rename(columns={"step": "steps"}),
        DIVERGENCE.assign(step=["a", "b"]),
        DIVERGENCE.assign(step=[1.5, 2.0]),
        DIVERGENCE.assign(step=[1, 2**31]),
        DIVERGENCE.assign(step=[1, 10**30]),
        DIVERGENCE.assign(step=pd.to_datetime(["2020-01-01", "2020-01-02"])),
        DIVERGENCE.assign(step=[[1], [2]]),
    ],
    ids=[
        "order", "absent", "extra", "renamed", "text", "fraction", "range", "huge", "date", "list",
    ],
)  # fmt: skip
def test_a_wrong_table_is_not_written(frame, tmp_path):
    path = tmp_path / "d.parquet"
    write_table(path, DIVERGENCE, "divergence")
    with pytest.raises(ArtifactError, match=r"d\.parquet"):
        write_table(path, frame, "divergence")
    assert read_table(path, "divergence").astype("int64").equals(DIVERGENCE)
    assert names_in(tmp_path) == ["d.parquet"]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"gone\.parquet: no such file"):
        read_table(tmp_path / "gone.parquet", "divergence")


def test_a_folder_is_not_a_table(tmp_path):
    with pytest.raises(ArtifactError, match=tmp_path.name):
        read_table(tmp_path, "divergence")


def test_another_schema_is_refused(tmp_path):
    path = tmp_path / "d.parquet"
    write_table(path, DIVERGENCE, "divergence")
    with pytest.raises(ArtifactError, match=r"d\.parquet: not of the schema 'theory'"):
        read_table(path, "theory")
    # The same names with wider integers, as another version might have written them.
    pq.write_table(pa.Table.from_pandas(DIVERGENCE, preserve_index=False), path)
    with pytest.raises(ArtifactError, match=r"d\.parquet: not of the schema 'divergence'"):
        read_table(path, "divergence")


def test_a_file_cut_short_anywhere_is_refused(tmp_path):
    whole, cut = tmp_path / "whole.parquet", tmp_path / "cut.parquet"
    write_table(whole, DIVERGENCE, "divergence", PROVENANCE)
    content = whole.read_bytes()
    for length in range(len(content)):
        cut.write_bytes(content[:length])
        with pytest.raises(ArtifactError, match=r"cut\.parquet: not a whole parquet file"):
            read_table(cut, "divergence")


def test_a_damaged_byte_never_changes_a_number(tmp_path):
    whole, damaged = tmp_path / "whole.parquet", tmp_path / "damaged.parquet"
    write_table(whole, DIVERGENCE, "divergence", PROVENANCE)
    content = whole.read_bytes()
    refused = 0
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 0xFF
        damaged.write_bytes(changed)
        try:
            back = read_table(damaged, "divergence")
        except ArtifactError:
            refused += 1
        else:
            assert back.astype("int64").equals(DIVERGENCE)
    assert refused > len(content) / 2


def test_only_some_columns(tmp_path):
    path = tmp_path / "t.parquet"
    write_table(path, theory([1.0, 2.0]), "theory")
    back = read_table(path, "theory", ["step", "variance"])
    assert back.to_dict("list") == {"step": [0, 1], "variance": [1.0, 2.0]}


def test_folders_named_key_value_add_no_columns(tmp_path):
    path = tmp_path / "experiment=x" / "init=0" / "b=4" / "seed=9" / "t.parquet"
    write_table(path, theory([1.0], b=7), "theory", {"b": 7})
    back = read_table(path, "theory")
    assert list(back.columns) == SCHEMAS["theory"].names
    assert back["b"].tolist() == [7]
    assert read_provenance(path) == {"b": 7}


def partly(error):
    def write(path):
        path.write_text("half a fi")
        raise error

    return write


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), RuntimeError("bug")],
    ids=["disk full", "interrupt", "bug"],
)
def test_a_failed_write_leaves_the_old_file_and_nothing_else(error, tmp_path):
    path = tmp_path / "result.txt"
    with pytest.raises(type(error)):
        write_whole(path, partly(error))
    assert names_in(tmp_path) == []
    write_text(path, "old\n")
    with pytest.raises(type(error)):
        write_whole(path, partly(error))
    assert path.read_text() == "old\n"
    assert names_in(tmp_path) == ["result.txt"]


def test_a_full_disk_while_parquet_is_written(tmp_path, monkeypatch):
    path = tmp_path / "d.parquet"
    write_table(path, DIVERGENCE, "divergence")

    def fail(table, where, **options):
        partly(OSError(errno.ENOSPC, "No space left on device"))(where)

    monkeypatch.setattr("pipeline_lib.artifacts.files.pq.write_table", fail)
    with pytest.raises(OSError, match="No space left"):
        write_table(path, DIVERGENCE.assign(step=7), "divergence")
    assert read_table(path, "divergence").astype("int64").equals(DIVERGENCE)
    assert names_in(tmp_path) == ["d.parquet"]


def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "result.txt"
    write_text(path, "old")
    seen = []

    def write(temporary):
        temporary.write_text("new")
        seen.extend([path.read_text(), temporary.parent])

    write_whole(path, write)
    assert seen == ["old", tmp_path]
    assert path.read_text() == "new"


def test_an_open_reader_keeps_the_file_it_opened(tmp_path):
    """The new file takes the name; it is not written over the old one's content."""
    path = tmp_path / "result.txt"
    write_text(path, "old")
    with path.open() as reader:
        write_text(path, "new")
        assert reader.read() == "old"
    assert path.read_text() == "new"


def test_text_is_utf8_with_its_line_ends(tmp_path):
    write_text(tmp_path / "a.txt", "∇L\nβ\n")
    assert (tmp_path / "a.txt").read_bytes() == "∇L\nβ\n".encode()


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o002, 0o664)])
def test_permissions_follow_the_umask(umask, mode, tmp_path):
    before = os.umask(umask)
    try:
        write_text(tmp_path / "a.txt", "x")
        assert os.umask(umask) == umask  # left as it was found
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == mode
