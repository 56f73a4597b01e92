"""What a group of replicas leaves behind of its way through the epochs."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline_lib.artifacts.schemas import SCHEMAS
from pipeline_lib.estimation.statistics import Summary, Tables
from pipeline_lib.training.gradient_records import finite_replicas
from pipeline_lib.training.report import Report, gather_record

# Numbers of this many recorded steps stay on the device before it is waited for.
_STEPS_PER_RECORD = 64


class EpochRecord:
    """The recorded steps, losses and errors of ``replicas``, their numbers within the block."""

    def __init__(self, replicas: range, steps_per_epoch: int) -> None:
        self._replicas = replicas
        self._summary = Summary(len(replicas), steps_per_epoch)
        self._has_summary = False
        self._metrics: list[pd.DataFrame] = []
        # Of recorded steps that are not in the summary yet.
        self._steps: list[int] = []
        self._reports: list[Report] = []
        self._finite: list[Tensor] = []

    def add(self, step: int, report: Report, parameters: Mapping[str, Tensor]) -> None:
        """Note the numbers of the gradients at ``step``; to be called before its update.

        A gradient can be finite though a weight is not, behind units that are switched off: both
        count.
        """
        self._steps.append(step)
        self._reports.append(report)
        self._finite.append(finite_replicas(parameters))
        if len(self._steps) == _STEPS_PER_RECORD:
            self._close()

    def add_metrics(
        self, split: str, epoch: int, loss: NDArray[np.float64], error: NDArray[np.float64]
    ) -> None:
        """Add rows of ``metrics`` from loss and share of wrong labels by replica, (R,).

        Both are missing where the loss is not finite.
        """
        lost = ~np.isfinite(loss)
        frame = pd.DataFrame(
            {
                "replica": np.asarray(self._replicas, dtype=np.int32),
                "epoch": np.int32(epoch),
                "split": split,
                "loss": np.where(lost, np.nan, loss),
                "error": np.where(lost, np.nan, error),
            }
        )
        self._metrics.append(frame)

    def tables(self) -> Tables:
        """Those of `Summary`, whose replicas count from 0, and ``metrics``."""
        self._close()
        return self._summary.tables() | {"metrics": self._all_metrics()}

    def state(self) -> dict[str, Any]:
        """What `restore` takes."""
        self._close()
        summary = self._summary.state() if self._has_summary else None
        return {"summary": summary, "metrics": self._all_metrics()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        if state["summary"] is not None:
            self._summary.restore(state["summary"])
            self._has_summary = True
        self._metrics = [state["metrics"]] if len(state["metrics"]) else []

    def _close(self) -> None:
        """Fetch the numbers of the last recorded steps from the device and summarise them."""
        if not self._steps:
            return
        record = gather_record(np.array(self._steps), self._reports)
        weights = torch.stack(self._finite).cpu().numpy()
        # Overflow is a finding here, recorded as divergence, not an accident.
        with np.errstate(over="ignore", invalid="ignore"):
            self._summary.add(dataclasses.replace(record, finite=record.finite & weights))
        self._has_summary = True
        self._steps, self._reports, self._finite = [], [], []

    def _all_metrics(self) -> pd.DataFrame:
        """The rows so far, one table from here on."""
        if not self._metrics:
            empty: pd.DataFrame = SCHEMAS["metrics"].empty_table().to_pandas()
            return empty
        self._metrics = [pd.concat(self._metrics, ignore_index=True)]
        return self._metrics[0]
