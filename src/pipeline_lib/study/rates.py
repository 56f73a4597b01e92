"""Speeds of a GPU that were measured, in place of those that the cost model assumes."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline_lib.artifacts.files import write_text
from pipeline_lib.errors import ConfigError
from pipeline_lib.study.cost import Speed

RATES = Path("gpu_rates.json")
"""Where they are, from the folder where the study is run. `make gpu-check` writes it on a GPU."""

_NAMES = ("operations_per_second", "seconds_per_step")


def gpu_speed(kind: str, assumed: Speed, path: Path | None = None) -> Speed:
    """The speed of a GPU for a ``kind`` of model: that of the file ``path``, else ``assumed``.

    ``path`` is `RATES` if None. Raises ConfigError if the file is not as `write_rates` makes it.
    """
    path = RATES if path is None else path
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return assumed
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no UTF-8"
        raise ConfigError(
            f"{path}: cannot be read ({reason}); allowed is what "
            "`make gpu-check` writes, or no such file"
        ) from None
    try:
        speeds = json.loads(text)["speeds"]
        given = speeds.get(kind)
        if given is None:
            return assumed
        operations, seconds = (float(given[name]) for name in _NAMES)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        raise ConfigError(
            f"{path}: no rates; allowed is what `make gpu-check` writes, or no such file"
        ) from None
    if not (0 < operations < math.inf and 0 <= seconds < math.inf):
        raise ConfigError(
            f"{path}: speeds.{kind}: {operations:g} operations a second and {seconds:g} seconds a "
            "step; allowed are a number above 0 and one of at least 0"
        )
    return Speed(operations, seconds, assumed.pays_for_each)


def write_rates(measured: Mapping[str, list[Speed]], card: str, path: Path | None = None) -> None:
    """Write the slower of each kind's ``measured`` speeds, with the name of the ``card``."""
    speeds: dict[str, dict[str, Any]] = {
        kind: {
            "operations_per_second": min(one.operations_per_second for one in of_kind),
            "seconds_per_step": max(one.seconds_per_step for one in of_kind),
        }
        for kind, of_kind in measured.items()
    }
    text = json.dumps({"card": card, "speeds": speeds}, indent=2)
    write_text(RATES if path is None else path, f"{text}\n")
