"""Exact values beside estimates in a figure, or why there are none."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline_lib.artifacts.files import read_table
from pipeline_lib.artifacts.schemas import SCHEMAS


def read_theory(paths: Sequence[str], expected: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """The ``theory`` artefact at the one of ``paths``; without rows if there is none.

    It must have been made with what is ``expected``, as of `artifacts.files.refuse_others`.
    """
    if not paths:
        empty: pd.DataFrame = SCHEMAS["theory"].empty_table().to_pandas()
        return empty
    if isinstance(paths, str):
        paths = [paths]
    (path,) = paths
    return read_table(Path(path), "theory", expected=expected)


def with_reason(note: str, uncovered: str | None) -> str:
    """The note of a figure, with the reason why it has no exact values, if it has none."""
    return f"{note}\nno exact values: {uncovered}" if uncovered else note
