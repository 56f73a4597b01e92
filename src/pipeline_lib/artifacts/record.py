"""How the results of a scale were made: configuration, code, packages, hardware and data."""

import platform
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from pipeline_lib.artifacts.files import read_provenance

_PACKAGES = (
    "snakemake", "numpy", "scipy", "numba", "python-flint", "torch", "transformers", "pandas",
    "pyarrow", "matplotlib",
)  # fmt: skip
_SAID_OF_EXPERIMENT = ("config", "backend", "source", "data_sha256", "n_rows")


def record(configuration: Mapping[str, Any], commit: str, tables: Iterable[Path]) -> str:
    """The content of ``config.yaml`` under results/{scale}/, as YAML.

    Args:
        configuration: as applied, as plain values.
        commit: of the code.
        tables: those of ``variance``, whose metadata say what the blocks of each experiment were
            made with: digest of the configuration, what they ran on, and which data.

    Raises ArtifactError if a table is absent or not whole.
    """
    experiments = {}
    for path in tables:
        said = read_provenance(path)
        experiments[said["experiment"]] = {name: said.get(name) for name in _SAID_OF_EXPERIMENT}
    made = {
        "commit": commit,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "experiments": experiments,
    }
    text: str = yaml.safe_dump(
        {"made_with": made, "configuration": dict(configuration)},
        sort_keys=False,
        allow_unicode=True,
    )
    return f"# What these results were made with. Written by the study; not read by it.\n{text}"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
