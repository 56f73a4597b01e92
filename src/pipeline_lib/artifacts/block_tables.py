"""The tables that one training block leaves behind."""

import logging
from dataclasses import dataclass, field

import pandas as pd

from pipeline_lib.artifacts.schemas import SCHEMAS

log = logging.getLogger(__name__)


def no_noise() -> pd.DataFrame:
    """The artefact ``noise`` without rows, of the types that a checkpoint gives back."""
    empty: pd.DataFrame = SCHEMAS["noise"].empty_table().to_pandas().astype({"tensor": object})
    return empty


@dataclass(frozen=True)
class BlockTables:
    """Rows of the artefacts ``statistics`` and ``divergence``, and in epochs of ``metrics``.

    ``noise`` has rows where the runs tell the two parts of the gradient noise scale.
    """

    statistics: pd.DataFrame
    divergence: pd.DataFrame
    metrics: pd.DataFrame | None = None
    noise: pd.DataFrame = field(default_factory=no_noise)

    @classmethod
    def without_rows(cls) -> "BlockTables":
        """The tables of a block that has no estimate."""
        statistics, divergence = (
            SCHEMAS[kind].empty_table().to_pandas() for kind in ("statistics", "divergence")
        )
        return cls(statistics, divergence)

    def log_divergence(self, n_replicas: int, batch_size: int) -> None:
        """Warn in the log if any of the block's ``n_replicas`` diverged."""
        if len(self.divergence):
            log.warning(
                "b = %d: %d of %d replicas diverged, the first at step %d; "
                "there is no estimate from that step on",
                batch_size,
                len(self.divergence),
                n_replicas,
                self.divergence["step"].min(),
            )
