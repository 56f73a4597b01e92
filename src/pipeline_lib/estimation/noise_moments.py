"""Moments over runs of the two parts of the gradient noise scale, as sums that merge.

Each run tells x_r, an unbiased estimate given F_t of tr Sigma(w_t), the variance of one example's
gradient, and y_r, one of |grad L(w_t)|^2. Runs are independent and no mean over runs enters a
contribution, so that blocks and groups merge by the update of Chan, Golub and LeVeque with nothing
lost. `pipeline_lib.estimation.noise_scale` takes their ratio.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import reduce

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline_lib.artifacts.schemas import SCHEMAS

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class NoiseMoments:
    """Of R runs; each field has the shape of the estimates (...) and is a column of ``noise``."""

    n_replicas: NDArray[np.int64]
    trace: Floats  # mean of x
    sq_gradient: Floats  # mean of y
    trace_m2: Floats  # sum of (x - mean)^2
    sq_gradient_m2: Floats  # sum of (y - mean)^2
    product_m2: Floats  # sum of (x - mean) (y - mean)
    trace_max: Floats  # largest x
    sq_gradient_max: Floats  # largest y

    def columns(self) -> dict[str, Floats | NDArray[np.int64]]:
        """The fields by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def summarise_noise(trace: Floats, sq_gradient: Floats) -> NoiseMoments:
    """Moments over the last axis of x and y (..., R); deviations are taken from means known."""
    x, y = trace.mean(axis=-1), sq_gradient.mean(axis=-1)
    from_x, from_y = trace - x[..., None], sq_gradient - y[..., None]
    return NoiseMoments(
        np.full(x.shape, trace.shape[-1]),
        x,
        y,
        (from_x * from_x).sum(axis=-1),
        (from_y * from_y).sum(axis=-1),
        (from_x * from_y).sum(axis=-1),
        trace.max(axis=-1),
        sq_gradient.max(axis=-1),
    )


def merge_noise(parts: Sequence[NoiseMoments]) -> NoiseMoments:
    """The moments of all runs together; ValueError if there is no part."""
    if not parts:
        raise ValueError("no runs to merge")
    # A run about to diverge may overflow; its moments are then not finite, as they should be.
    with np.errstate(over="ignore", invalid="ignore"):
        return reduce(_merge, parts)


def noise_rows(
    steps: NDArray[np.int64],
    parts: Mapping[str, tuple[Floats, Floats]],
    n_diverged: NDArray[np.int64],
    epochs: NDArray[np.int64] | None = None,
) -> pd.DataFrame:
    """Rows of the ``noise`` artefact from x and y (T, R) by tensor.

    ``n_diverged`` (T,) and ``epochs`` (T,) are those of `statistics.statistics_rows`; here too a
    step at which any replica has diverged has missing numbers.
    """
    epoch = pd.array([pd.NA] * len(steps) if epochs is None else epochs, dtype="Int32")
    lost = n_diverged > 0
    frames = []
    for tensor, (trace, sq_gradient) in parts.items():
        numbers = summarise_noise(trace, sq_gradient).columns()
        n_replicas = numbers.pop("n_replicas")
        frame = pd.DataFrame(
            {
                "step": steps,
                "epoch": epoch,
                "tensor": tensor,
                "n_replicas": n_replicas,
                "n_diverged": n_diverged,
                **{name: np.where(lost, np.nan, values) for name, values in numbers.items()},
            }
        )
        frames.append(frame)
    return pd.DataFrame(pd.concat(frames, ignore_index=True)[SCHEMAS["noise"].names])


def noise_moments_of(frame: pd.DataFrame) -> NoiseMoments:
    """The moments that rows of the ``noise`` artefact hold, one entry a row."""
    return NoiseMoments(
        **{field.name: frame[field.name].to_numpy() for field in fields(NoiseMoments)}
    )


def merged_noise(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Rows of the ``noise`` artefact of all runs, from those of parts of them, row by row."""
    moments = merge_noise([noise_moments_of(frame) for frame in frames])
    n_diverged = np.sum([frame["n_diverged"] for frame in frames], axis=0)
    return frames[0].assign(**moments.columns(), n_diverged=n_diverged)


def _merge(a: NoiseMoments, b: NoiseMoments) -> NoiseMoments:
    n = a.n_replicas + b.n_replicas
    from_x, from_y = b.trace - a.trace, b.sq_gradient - a.sq_gradient
    share = b.n_replicas / n
    product = a.n_replicas * share
    return NoiseMoments(
        n,
        a.trace + from_x * share,
        a.sq_gradient + from_y * share,
        a.trace_m2 + b.trace_m2 + from_x**2 * product,
        a.sq_gradient_m2 + b.sq_gradient_m2 + from_y**2 * product,
        a.product_m2 + b.product_m2 + from_x * from_y * product,
        np.maximum(a.trace_max, b.trace_max),
        np.maximum(a.sq_gradient_max, b.sq_gradient_max),
    )
