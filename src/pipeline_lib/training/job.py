"""One training job: from the files that a block reads to those that it leaves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline_lib.artifacts.checkpoint import block_checkpoint
from pipeline_lib.artifacts.files import write_table
from pipeline_lib.artifacts.weights import read_weights
from pipeline_lib.study.block import Block
from pipeline_lib.training.device import device_name
from pipeline_lib.training.precision import set_precision


@dataclass(frozen=True)
class BlockFiles:
    """Where a block reads and writes.

    ``sources`` are those of `pipeline_lib.study.model.Model.sources`, ``tables`` the artefacts to
    write by kind and ``own`` the files of the user's own that the results depend on.
    """

    weights: Path
    sources: Mapping[str, Path]
    tables: Mapping[str, Path]
    checkpoint: Path
    own: Sequence[Path] = ()


def train_to_files(block: Block, files: BlockFiles, code: str, checkpoint_every_s: float) -> None:
    """Train ``block``, or go on from its checkpoint, and write its tables.

    ``code`` is a digest of the code that decides the results; a checkpoint of other code, data,
    weights, configuration or backend is refused. The checkpoint is removed once the tables are
    written.

    Raises ArtifactError if a file is not what it should be, StoppedError after a requested stop.
    """
    model, hardware = block.experiment.model, block.hardware
    data = model.load(block.experiment, files.sources)
    backend = model.backend(block.experiment, hardware.device)
    provenance = {
        "source": data.source,
        "data_sha256": data.sha256,
        "n_rows": data.n_rows,
        **data.notes,
        **block.key,
        "experiment": block.experiment.name,
        "config": block.digest,
        "backend": backend,
    }
    if hardware.device != "cpu":
        set_precision(hardware.allow_tf32)
    depends_on = {
        "block": block.key,
        "configuration": [block.digest, hardware.allow_tf32, hardware.tf32_in_evaluations],
        "backend": backend,
        "data": data.sha256,
        "code": code,
    }
    if hardware.device != "cpu":  # cards of one kind round alike
        name = device_name(hardware.device)
        depends_on[f"GPU: {name}"] = name
    contents = {
        "data": files.sources.values(),
        "weights": [files.weights],
        "code": files.own,
    }
    with block_checkpoint(files.checkpoint, depends_on, contents, checkpoint_every_s) as checkpoint:
        tables = model.train(block, read_weights(files.weights), data, checkpoint)
        # The statistics come last: where they are, the others are too.
        for kind, path in sorted(files.tables.items()):
            write_table(path, getattr(tables, kind), kind, provenance)
