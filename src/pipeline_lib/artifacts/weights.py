"""Initial weights as safetensors files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from pipeline_lib.artifacts.files import write_whole
from pipeline_lib.errors import ArtifactError


def write_weights(path: Path, weights: Mapping[str, NDArray[Any]]) -> None:
    """Write ``weights``, whole or not at all."""
    write_whole(path, lambda temporary: save_file(dict(weights), temporary))


def read_weights(path: Path) -> dict[str, NDArray[Any]]:
    """Read what `write_weights` wrote; ArtifactError if the file is absent or not whole."""
    try:
        weights: dict[str, NDArray[Any]] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ArtifactError(f"{path}: not a whole safetensors file ({error})") from error
    return weights
