"""From what each replica did at each step to the rows of a block's statistics artefact."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline_lib.artifacts.block_tables import no_noise
from pipeline_lib.artifacts.schemas import SCHEMAS
from pipeline_lib.estimation.noise_moments import noise_rows
from pipeline_lib.estimation.variance import (
    Contributions,
    VectorMoments,
    rao_blackwell_contributions,
    sample_contributions,
    summarise,
)

Floats = NDArray[np.float64]
STOCHASTIC, FULL, CLIPPED = "stochastic_gradient", "full_gradient", "clipped_gradient"
ALONG, SQUARE = "along", "square"  # what increments tell, see `control_variates`
Tables = dict[str, pd.DataFrame]  # artefacts of a block by kind
ALL = "all"  # the tensor name that stands for every parameter together


@dataclass(frozen=True)
class GradientRecord:
    """Recorded steps of R replicas: T consecutive recorded steps.

    ``moments`` has one entry for each (quantity, tensor), with squared deviations (T, R);
    ``finite`` (T, R) is false where a replica's gradient has overflowed; ``conditional`` is
    var(g_t | F_t) of each replica by tensor, (T, R), where a closed form exists, and
    ``conditional_mean`` how far its E[g_t | F_t] lies from the mean over replicas, squared, (T, R),
    where that is not the full gradient. F_t is all that came before step t.

    The full gradient may be that of random examples only, a draw given F_t as the mini-batch is.
    ``excess`` is then its own variance given F_t, (T, R): what its squared norm and its squared
    deviations have too much.

    ``trace`` and ``sq_gradient`` (T, R) are unbiased estimates given F_t of tr Sigma(w_t), the
    variance of one example's gradient, and of the squared norm of the full gradient.

    ``increments`` (T, R) have mean 0 given F_t, by what they tell and by tensor: see
    `control_variates`.
    """

    steps: NDArray[np.int64]
    moments: Mapping[tuple[str, str], VectorMoments]
    finite: NDArray[np.bool_]
    conditional: Mapping[str, Floats] = field(default_factory=dict)
    conditional_mean: Mapping[str, Floats] = field(default_factory=dict)
    excess: Mapping[str, Floats] = field(default_factory=dict)
    trace: Mapping[str, Floats] = field(default_factory=dict)
    sq_gradient: Mapping[str, Floats] = field(default_factory=dict)
    increments: Mapping[tuple[str, str], Floats] = field(default_factory=dict)


def statistics_rows(
    record: GradientRecord,
    n_diverged: NDArray[np.int64],
    epochs: NDArray[np.int64] | None = None,
) -> pd.DataFrame:
    """Rows of the ``statistics`` artefact; ``n_diverged`` (T,) counts the replicas lost so far.

    ``epochs`` (T,) are the epochs that the steps belong to, where training has epochs. A step at
    which any replica has diverged has no estimate: its numbers are missing rather than averaged
    over the survivors.
    """
    parts = []
    epoch = pd.array([pd.NA] * len(record.steps) if epochs is None else epochs, dtype="Int32")
    for (quantity, tensor), moments in record.moments.items():
        # By estimator: the part of the contributions that is independent between runs, if any, and
        # the squared deviations that make the rest.
        estimators: dict[str, tuple[Floats | None, Floats]] = {}
        excess = record.excess.get(tensor)
        independent = None if excess is None or quantity != FULL else -excess
        estimators["sample"] = independent, moments.sq_deviations
        conditional = record.conditional.get(tensor) if quantity == STOCHASTIC else None
        if conditional is not None:
            mean = record.conditional_mean.get(tensor)
            if mean is None:
                mean = record.moments[FULL, tensor].sq_deviations
            own = conditional if excess is None else conditional - excess
            estimators["rao_blackwell"] = own, mean
        for estimator, (of_runs, deviations) in estimators.items():
            estimate = estimate_columns(of_runs, deviations)
            if of_runs is None and conditional is not None:
                estimate["conditional_variance"] = conditional.mean(axis=-1)
            parts.append(
                pd.DataFrame(
                    {
                        "step": record.steps,
                        "epoch": epoch,
                        "quantity": quantity,
                        "tensor": tensor,
                        "estimator": estimator,
                        "n_replicas": deviations.shape[-1],
                        "dof": deviations.shape[-1] - 1,
                        "n_diverged": n_diverged,
                        "mean_sq_norm": moments.mean_sq_norm,
                        "sq_norm_of_mean": moments.sq_norm_of_mean,
                        "sum_sq_dev": moments.sq_deviations.sum(axis=-1),
                        **estimate,
                    }
                )
            )
    frame = pd.concat(parts, ignore_index=True)
    numbers = frame.columns[frame.columns.get_loc("mean_sq_norm") :]
    lost = (frame["n_diverged"] > 0).to_numpy()
    frame.loc[lost, numbers] = np.nan
    return pd.DataFrame(frame[SCHEMAS["statistics"].names])


def contributions_of(frame: pd.DataFrame) -> Contributions:
    """The contributions that rows of the ``statistics`` artefact hold, one entry a row."""
    plain = frame["conditional_m2"].isna().to_numpy()
    conditional = (
        np.where(plain, 0.0, frame[name]) for name in ("conditional_variance", "conditional_m2")
    )
    return Contributions(
        frame["n_replicas"].to_numpy(np.int64),
        frame["dof"].to_numpy(np.int64),
        *(frame[f"contribution_{name}"].to_numpy() for name in ("mean", "m2", "m3", "max")),
        *conditional,
    )


def estimate_columns(independent: Floats | None, sq_deviations: Floats) -> dict[str, Any]:
    """What rows of ``statistics`` hold of one estimate, from both parts of its contributions.

    Both are (T, R): the part that is independent between runs, if there is one, and the squared
    deviations of a gradient from its mean over runs.
    """
    if independent is None:
        summary = summarise(sample_contributions(sq_deviations))
    else:
        summary = summarise(rao_blackwell_contributions(independent, sq_deviations), independent)
    return {
        "conditional_variance": np.nan if independent is None else summary.conditional_mean,
        "conditional_m2": np.nan if independent is None else summary.conditional_m2,
        "contribution_mean": summary.mean,
        "contribution_m2": summary.m2,
        "contribution_m3": summary.m3,
        "contribution_max": summary.max,
    }


def _of_runs(record: GradientRecord) -> pd.DataFrame:
    """What `control_variates` needs of single runs: a row for each step and run, steps first."""
    columns = {f"{what} {tensor}": of for (what, tensor), of in record.increments.items()}
    for tensor in dict.fromkeys(tensor for _, tensor in record.increments):
        columns[f"conditional {tensor}"] = record.conditional[tensor]
        columns[f"deviation {tensor}"] = record.moments[FULL, tensor].sq_deviations
    return pd.DataFrame({name: of.ravel() for name, of in columns.items()})


class DivergenceTracker:
    """Which replica left the finite numbers, and at which step."""

    def __init__(self, n_replicas: int) -> None:
        self.first_step: NDArray[np.int64] = np.full(n_replicas, -1)

    def update(self, record: GradientRecord) -> NDArray[np.int64]:
        """Note the replicas that diverge in ``record``; how many are lost by each step, (T,)."""
        for t, replica in zip(*np.nonzero(~record.finite), strict=True):
            if self.first_step[replica] < 0:
                self.first_step[replica] = record.steps[t]
        lost = self.first_step[self.first_step >= 0]
        return np.asarray(np.sum(lost[None, :] <= record.steps[:, None], axis=1))

    def rows(self) -> pd.DataFrame:
        """Rows of the ``divergence`` artefact: replica and step of its first lost gradient."""
        replicas = np.nonzero(self.first_step >= 0)[0]
        return pd.DataFrame({"replica": replicas, "step": self.first_step[replicas]})


class Summary:
    """The tables of a training, from its records one after the other.

    Where training has epochs, ``steps_per_epoch`` tells which epoch a step belongs to.
    """

    def __init__(self, n_replicas: int, steps_per_epoch: int | None = None) -> None:
        self._tracker = DivergenceTracker(n_replicas)
        self._steps_per_epoch = steps_per_epoch
        self._parts: list[pd.DataFrame] = []  # none is changed once it is here
        self._noise: list[pd.DataFrame] = []  # likewise
        self._of_runs: list[pd.DataFrame] = []  # likewise

    def add(self, record: GradientRecord) -> None:
        """Summarise the steps of ``record``, which follow those before."""
        per_epoch = self._steps_per_epoch
        epochs = None if per_epoch is None else record.steps // per_epoch
        n_diverged = self._tracker.update(record)
        self._parts.append(statistics_rows(record, n_diverged, epochs))
        if record.trace:
            parts = {
                name: (trace, record.sq_gradient[name]) for name, trace in record.trace.items()
            }
            self._noise.append(noise_rows(record.steps, parts, n_diverged, epochs))
        if record.increments:
            self._of_runs.append(_of_runs(record))

    def tables(self) -> Tables:
        """The artefacts ``statistics``, ``divergence`` and ``noise``, empty where none is told.

        Where records have increments also ``of_runs``, which `control_variates.controlled_tables`
        takes.
        """
        # One order of rows, whatever number of steps a record holds: blocks merge row by row.
        order = ["quantity", "tensor", "estimator", "step"]
        statistics = pd.concat(self._parts).sort_values(order, ignore_index=True)
        noise = no_noise()
        if self._noise:
            noise = pd.concat(self._noise).sort_values(["tensor", "step"], ignore_index=True)
        tables = {"statistics": statistics, "divergence": self._tracker.rows(), "noise": noise}
        if self._of_runs:
            tables["of_runs"] = pd.concat(self._of_runs, ignore_index=True)
        return tables

    def copy(self) -> Self:
        """The same summary, to be left as it is while this one goes on; rows are shared."""
        other = type(self)(len(self._tracker.first_step), self._steps_per_epoch)
        other._parts = self._parts.copy()
        other._noise = self._noise.copy()
        other._of_runs = self._of_runs.copy()
        other._tracker.first_step = self._tracker.first_step.copy()
        return other

    def state(self) -> dict[str, Any]:
        """What `restore` needs, as a `artifacts.checkpoint.State`; after the first record."""
        self._parts = [pd.concat(self._parts, ignore_index=True)]
        self._noise = [pd.concat(self._noise, ignore_index=True)] if self._noise else []
        self._of_runs = [pd.concat(self._of_runs, ignore_index=True)] if self._of_runs else []
        return {
            "statistics": self._parts[0],
            "noise": self._noise[0] if self._noise else None,
            "of_runs": self._of_runs[0] if self._of_runs else None,
            "first_step": self._tracker.first_step,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self._parts = [state["statistics"]]
        self._noise = [] if state["noise"] is None else [state["noise"]]
        self._of_runs = [] if state["of_runs"] is None else [state["of_runs"]]
        self._tracker.first_step = state["first_step"].copy()
