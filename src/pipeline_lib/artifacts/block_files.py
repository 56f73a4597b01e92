"""The files that blocks leave under runs/: those that count, and those set apart."""

import logging
import re
from collections.abc import Container
from pathlib import Path
from typing import Any

from pipeline_lib.artifacts.files import read_provenance
from pipeline_lib.artifacts.tables.runs import RUNS

log = logging.getLogger(__name__)

_PLACE = re.compile(r"init_(\d+)/b_(\d+)/seed_(\d+)\.parquet")


def set_apart(
    results: Path, experiment: str, configured: Container[tuple[int, int, int]]
) -> list[Path]:
    """Move blocks of ``experiment`` that are not ``configured`` from runs/ to stale/.

    ``results`` is the folder of a scale, ``configured`` are the (init, b, seed) that count. Who
    reads a whole table under runs/ then reads what the configuration asks for. Nothing is deleted
    or written over, and the log says where the files are. Returns their new paths.
    """
    moved = []
    for kind in RUNS:
        folder = results / "runs" / kind / experiment
        for path in sorted(folder.glob("init_*/b_*/seed_*.parquet")):
            place = _PLACE.fullmatch(path.relative_to(folder).as_posix())
            if place is None or tuple(map(int, place.groups())) in configured:
                continue
            target = _free(results / "stale" / kind / experiment / path.relative_to(folder))
            target.parent.mkdir(parents=True, exist_ok=True)
            moved.append(path.rename(target))
    if moved:
        log.warning(
            "%s: %d files of blocks that the configuration does not name were moved from %s to %s; "
            "move them back to use them again",
            experiment,
            len(moved),
            results / "runs",
            results / "stale",
        )
    return moved


def shared_provenance(path: Path) -> dict[str, Any]:
    """What a block's file says that holds for all blocks of its experiment."""
    provenance = read_provenance(path)
    keys = ("source", "data_sha256", "n_rows", "backend", "loss", "labels")
    return {key: provenance[key] for key in keys if key in provenance}


def _free(path: Path) -> Path:
    """``path``, or with a number before its suffix if it is taken."""
    taken, number = path, 1
    while path.exists():
        path = taken.with_name(f"{taken.stem}.{number}{taken.suffix}")
        number += 1
    return path
