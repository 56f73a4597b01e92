"""Tables that describe themselves: read whole by other tools, dictionary, data package, origin."""

import json
import logging
import math
import re
import subprocess
import sys
from pathlib import Path

import duckdb
import frictionless
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import yaml

from pipeline_lib.artifacts.__main__ import main
from pipeline_lib.artifacts.block_files import set_apart
from pipeline_lib.artifacts.datapackage import data_package, table_schema
from pipeline_lib.artifacts.dictionary import data_dictionary
from pipeline_lib.artifacts.files import read_table, write_table
from pipeline_lib.artifacts.record import record
from pipeline_lib.artifacts.schemas import (
    SCHEMAS,
    file_schema,
    key_of,
    lead_of,
    order_of,
    references_of,
)
from pipeline_lib.errors import ArtifactError

MADE_WITH = {
    "experiment": "mine",
    "scale": "smoke",
    "config": "ab" * 8,
    "confidence_level": 0.95,
}
BLOCK = "{experiment}/init_{init}/b_{b}/seed_{seed}.parquet"


def metrics(value):
    return pd.DataFrame(
        {
            "replica": [0, 0, 1, 1],
            "epoch": [0, 1, 0, 1],
            "split": "training",
            "loss": value,
            "error": [0.5, np.nan, 0.25, 0.125],
        }
    )


def statistics(value):
    frame = pd.DataFrame({"step": [0, 1], "quantity": "full_gradient", "tensor": "all"})
    frame = frame.assign(epoch=pd.array([None, None], "Int32"), estimator="sample")
    frame = frame.assign(n_replicas=3, dof=2, n_diverged=0)
    return frame.reindex(columns=SCHEMAS["statistics"].names, fill_value=value)


def efficiency(steps=(1, 2)):
    frame = pd.DataFrame({"init": 0, "b": 4, "step": steps, "tensor": "all"})
    return frame.assign(std_error_sample=2.0, std_error_rao_blackwell=1.0, runs_worth=4.0)


def variance(steps=(0, 1, 2)):
    rows = pd.DataFrame({"init": 0, "b": 4, "step": steps, "quantity": "stochastic_gradient"})
    rows = rows.assign(
        tensor="all", estimator="sample", epoch=pd.array([None] * len(steps), "Int32")
    )
    rows = rows.assign(n_runs=3, dof=2, reliable=True, n_diverged=0)
    return rows.reindex(columns=SCHEMAS["variance"].names, fill_value=0.5)


@pytest.fixture
def results(tmp_path) -> Path:
    """A folder of a scale with blocks of two experiments, of several (init, b, seed)."""
    folder = tmp_path / "results" / "smoke"
    places = [("admission", 0, 4, 0), ("admission", 0, 16, 1), ("mnist", 1, 4, 0)]
    for value, place in enumerate(places):
        made = dict(zip(("experiment", "init", "b", "seed"), place, strict=True))
        for kind, rows in (("statistics", statistics), ("metrics", metrics)):
            path = folder / "runs" / kind / BLOCK.format(**made)
            write_table(path, rows(float(value)), kind, made)
    return folder


def with_pandas(path):
    return pd.read_parquet(path)


def with_polars(path):
    return pl.read_parquet(path).to_pandas()


def with_duckdb(path):
    return duckdb.sql(f"SELECT * FROM read_parquet('{path}/**/*.parquet')").df()


def with_pyarrow(path):
    return ds.dataset(path).to_table().to_pandas()


@pytest.mark.parametrize("partitioning", [False, True])
def test_duckdb_and_pyarrow_find_no_columns_in_the_paths(results, partitioning):
    path = results / "runs" / "metrics"
    names = file_schema("metrics").names
    found = duckdb.sql(
        f"SELECT * FROM read_parquet('{path}/**/*.parquet', hive_partitioning={partitioning})"
    )
    assert found.columns == names
    assert ds.dataset(path, partitioning="hive" if partitioning else None).schema.names == names


@pytest.mark.parametrize("read", [with_pandas, with_polars, with_duckdb, with_pyarrow])
@pytest.mark.parametrize(("kind", "rows"), [("statistics", 2), ("metrics", 4)])
def test_a_folder_is_one_table_with_its_keys_as_integers_once(results, read, kind, rows):
    table = read(results / "runs" / kind)
    assert list(table.columns) == file_schema(kind).names
    assert len(table) == 3 * rows
    for name in ("init", "b", "seed"):
        assert str(table[name].dtype).lower() == "int32"
    places = table[["experiment", "init", "b", "seed"]].drop_duplicates()
    assert sorted(map(tuple, places.astype({"experiment": str}).to_numpy().tolist())) == [
        ("admission", 0, 4, 0),
        ("admission", 0, 16, 1),
        ("mnist", 1, 4, 0),
    ]
    assert not table.duplicated(key_of(kind)).any()


@pytest.mark.parametrize("kind", sorted(SCHEMAS))
def test_every_column_is_described_and_keys_are_columns(kind):
    schema = file_schema(kind)
    for field in schema:
        assert field.metadata[b"description"], field.name
    assert {*key_of(kind), *order_of(kind)} <= set(schema.names)
    assert key_of(kind)[: len(lead_of(kind))] == lead_of(kind)
    assert not set(lead_of(kind)) & set(SCHEMAS[kind].names)
    for other, columns in references_of(kind).items():
        assert set(columns) <= set(schema.names) & set(file_schema(other).names)


def test_no_two_tables_share_a_path():
    paths = [SCHEMAS[kind].metadata[b"path"] for kind in SCHEMAS]
    assert len(set(paths)) == len(paths)


def test_words_units_and_formulas_are_in_the_file(tmp_path):
    path = tmp_path / "v.parquet"
    write_table(path, variance(), "variance", MADE_WITH)
    field = pq.read_schema(path).field("variance")
    assert field.metadata[b"formula"] == b"var(M | F_0) = E|M|^2 - |E M|^2 (Section 3)"
    assert b"unit" in field.metadata


def test_rows_are_in_the_declared_order(tmp_path):
    path = tmp_path / "m.parquet"
    write_table(path, metrics(1.0).iloc[::-1], "metrics")
    back = read_table(path, "metrics")
    assert back[["replica", "epoch"]].to_numpy().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


def test_the_dictionary_is_the_tracked_page(repository):
    assert (repository / "results/README.md").read_text() == data_dictionary(), (
        "run python -m pipeline_lib.artifacts --dictionary > results/README.md"
    )
    tracked = subprocess.run(
        ["git", "-C", repository, "check-ignore", "results/README.md"], capture_output=True
    )
    assert tracked.returncode == 1  # it is not ignored


def test_the_dictionary_has_a_row_for_every_column():
    sections = {part.split("\n")[0]: part for part in data_dictionary().split("\n## ")[1:]}
    assert set(sections) == set(SCHEMAS)
    for kind, section in sections.items():
        rows = [line for line in section.splitlines() if line.startswith("| `")]
        assert [row.split("`")[1] for row in rows] == file_schema(kind).names
        assert {line.replace("\\|", "").count("|") for line in rows} == {6}


@pytest.mark.parametrize(
    ("name", "value"),
    [("experiment", "other"), ("scale", "quick"), ("config", "cd"), ("confidence_level", 0.9)],
)
def test_a_table_made_with_something_else_is_refused_in_a_line(tmp_path, name, value):
    path = tmp_path / "v.parquet"
    write_table(path, variance(), "variance", MADE_WITH | {name: value})
    told = (
        rf"v\.parquet: made with {name} '?{value}'?, .*'?{MADE_WITH[name]}'?; remove the file and"
    )
    with pytest.raises(ArtifactError, match=told):
        read_table(path, "variance", expected=MADE_WITH)
    write_table(path, variance(), "variance", MADE_WITH)
    assert len(read_table(path, "variance", expected=MADE_WITH)) == 3


def test_a_table_without_intervals_is_of_any_level(tmp_path):
    path = tmp_path / "e.parquet"
    write_table(path, efficiency(), "efficiency", MADE_WITH | {"confidence_level": 0.5})
    assert len(read_table(path, "efficiency", expected=MADE_WITH)) == 2


def test_another_schema_version_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "e.parquet"
    monkeypatch.setattr("pipeline_lib.artifacts.files.SCHEMA_VERSION", 1)
    write_table(path, efficiency(), "efficiency", MADE_WITH)
    monkeypatch.undo()
    with pytest.raises(ArtifactError, match=r"e\.parquet: of schema version 1, this code reads 2"):
        read_table(path, "efficiency")


def test_blocks_that_are_not_configured_are_set_apart(results, caplog):
    folder = results / "runs/statistics"
    before = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.parquet")}
    with caplog.at_level(logging.WARNING):
        moved = set_apart(results, "admission", {(0, 4, 0)})
    gone = Path("admission/init_0/b_16/seed_1.parquet")
    assert moved == [results / "stale" / kind / gone for kind in ("statistics", "metrics")]
    assert moved[0].read_bytes() == before.pop(gone)
    after = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.parquet")}
    assert after == before
    assert [one.message for one in caplog.records] == [
        "admission: 2 files of blocks that the configuration does not name were moved from "
        f"{results}/runs to {results}/stale; move them back to use them again"
    ]
    caplog.clear()
    assert set_apart(results, "admission", {(0, 4, 0)}) == []
    assert not caplog.records


def test_nothing_that_was_set_apart_is_written_over(results):
    first = set_apart(results, "mnist", set())[0]
    again = results / "runs/statistics/mnist/init_1/b_4/seed_0.parquet"
    write_table(again, statistics(7.0), "statistics")
    second = set_apart(results, "mnist", set())[0]
    assert (first.name, second.name) == ("seed_0.parquet", "seed_0.1.parquet")
    assert read_table(second, "statistics")["contribution_mean"].tolist() == [7.0, 7.0]
    assert read_table(first, "statistics")["contribution_mean"].tolist() == [2.0, 2.0]


def rows_of(frame):
    """Rows as plain Python values, missing ones as None."""
    plain = frame.astype(object)
    return [
        {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in row.items()
        }
        for row in plain.where(plain.notna(), None).to_dict("records")
    ]


def validated(package):
    """The report of Frictionless on the package with the rows of its parquet files."""
    resources = []
    for one in package["resources"]:
        rows = rows_of(pd.read_parquet(package["folder"] / "/".join(one["path"].split("/")[:-1])))
        schema = frictionless.Schema.from_descriptor(one["schema"])
        resources.append(frictionless.Resource(name=one["name"], data=rows, schema=schema))
    return frictionless.Package(resources=resources).validate()


def test_the_data_package_holds_for_the_tables(results):
    write_table(results / "variance/mine.parquet", variance(), "variance", MADE_WITH)
    write_table(results / "efficiency/mine.parquet", efficiency(), "efficiency", MADE_WITH)
    described = data_package(results)
    assert json.loads(json.dumps(described)) == described
    frictionless.Package.validate_descriptor(described)
    assert {one["name"] for one in described["resources"]} == {
        "statistics", "metrics", "variance", "efficiency",
    }  # fmt: skip
    for one in described["resources"]:
        files = [one["path"]] if isinstance(one["path"], str) else one["path"]
        assert all((results / file).is_file() for file in files)
    chosen = [one for one in described["resources"] if one["name"] in ("variance", "efficiency")]
    package = {"resources": chosen, "folder": results}
    report = validated(package)
    assert report.valid, report.flatten(["type", "note"])
    # a row of efficiency whose variance is not there, and a key that is there twice
    write_table(results / "efficiency/mine.parquet", efficiency((2, 9)), "efficiency", MADE_WITH)
    assert {kind for (kind,) in validated(package).flatten(["type"])} == {"foreign-key"}
    write_table(results / "efficiency/mine.parquet", efficiency((2, 2)), "efficiency", MADE_WITH)
    assert {kind for (kind,) in validated(package).flatten(["type"])} == {"primary-key"}


@pytest.mark.parametrize("kind", sorted(SCHEMAS))
def test_every_table_schema_is_one_of_frictionless(kind):
    described = table_schema(kind, list(SCHEMAS))
    schema = frictionless.Schema.from_descriptor(described)
    assert schema.field_names == file_schema(kind).names
    assert schema.primary_key == key_of(kind)


def test_how_a_table_was_made_is_printed(tmp_path, capsys):
    path = tmp_path / "v.parquet"
    write_table(path, variance(), "variance", MADE_WITH)
    main([str(path)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(path)
    assert {"  table: variance", "  rows: 3", "  experiment: mine", "  scale: smoke"} <= set(lines)
    with pytest.raises(SystemExit):
        main([str(tmp_path / "gone.parquet")])
    assert capsys.readouterr().err.startswith("error: ")
    command = [sys.executable, "-m", "pipeline_lib.artifacts", path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.splitlines() == lines


def test_config_yaml_says_what_was_made_with_what(tmp_path):
    path = tmp_path / "variance/mine.parquet"
    made = MADE_WITH | {"backend": "cpu", "data_sha256": "00", "source": "a file", "n_rows": 5}
    write_table(path, variance(), "variance", made)
    text = record({"seed": 3, "experiments": {"mine": {"runs": 2}}}, "abc-dirty", [path])
    read = yaml.safe_load(text)
    assert read["configuration"] == {"seed": 3, "experiments": {"mine": {"runs": 2}}}
    assert read["made_with"]["commit"] == "abc-dirty"
    assert read["made_with"]["packages"]["pyarrow"]
    assert read["made_with"]["experiments"] == {
        "mine": {
            name: made[name] for name in ("config", "backend", "source", "data_sha256", "n_rows")
        }
    }


def test_rules_write_tables_where_their_schemas_say(repository):
    text = "".join(path.read_text() for path in (repository / "workflow/rules").glob("*.smk"))
    found = {
        path.replace("{{", "{").replace("}}", "}").replace("wildcards.", "")
        for path in re.findall(r'f"\{RESULTS\}/([^"]+\.parquet)"', text)
    }
    stated = [
        re.sub(r"\\\{\w+\\\}", r"[\\w{}]*", re.escape(SCHEMAS[kind].metadata[b"path"].decode()))
        for kind in SCHEMAS
    ]
    astray = {path for path in found if not any(re.fullmatch(each, path) for each in stated)}
    # Verdicts are tables of claims; the others are put together in code.
    assert astray == {
        "verdicts/{experiment}.parquet",
        "runs/{table}/{{experiment}}/init_{{init}}/b_{{b}}/seed_{{seed}}.parquet",
        "{table}.parquet",
    }
