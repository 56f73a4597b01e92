"""The gradient noise scale B_simple(t) = tr Sigma(w_t) / |grad L(w_t)|^2 with its interval.

McCandlish et al., "An empirical model of large-batch training" (arXiv 1812.06162, Section 2). Here
it is a ratio of means over runs given the initial weights, E tr Sigma(w_t) / E |grad L(w_t)|^2.
From n independent runs with means x̄, ȳ of the two parts and s_xx, s_xy, s_yy the estimated
variances and covariance of these means, Fieller's interval (1954) holds the ratios theta with

    (x̄ − theta ȳ)² ≤ q² (s_xx − 2 theta s_xy + theta² s_yy),

q the quantile of Student's t at n − 1, since no mean over runs enters x or y. It is exact for
jointly Gaussian parts at any n. The set is bounded where ȳ² > q² s_yy; where it is not, the runs
cannot tell the squared gradient from 0, and there is no interval.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special  # scipy.stats takes a second to import

from pipeline_lib.artifacts.schemas import SCHEMAS
from pipeline_lib.errors import ArtifactError
from pipeline_lib.estimation.certain import Certain
from pipeline_lib.estimation.judged import ROUNDING
from pipeline_lib.estimation.noise_moments import NoiseMoments, merged_noise, noise_moments_of
from pipeline_lib.estimation.reliability import Estimate, precise, reliability

Floats = NDArray[np.float64]


def noise_scale(trace: ArrayLike, sq_gradient: ArrayLike) -> Floats:
    """The ratio; nan where the squared gradient is not positive, as an estimate may be."""
    x, y = np.asarray(trace, np.float64), np.asarray(sq_gradient, np.float64)
    positive = (y > 0) & np.isfinite(x + y)
    with np.errstate(over="ignore"):
        return np.where(positive, x / np.where(positive, y, 1.0), np.nan)


def ratio_interval(moments: NoiseMoments, level: float = 0.95) -> tuple[Floats, Floats]:
    """Both ends of Fieller's interval, the lower one cut at 0; nan where it is not bounded.

    Raises ValueError unless ``level`` lies between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie strictly between 0 and 1, got {level!r}")
    n = np.asarray(moments.n_replicas, np.float64)
    ratio = noise_scale(moments.trace, moments.sq_gradient)
    usable = (n > 1) & (ratio > 0)
    x, y, pairs = (
        np.where(usable, part, 1.0) for part in (moments.trace, moments.sq_gradient, n * (n - 1))
    )
    with np.errstate(over="ignore", invalid="ignore"):
        of_x, of_xy, of_y = (
            sums / first / second / pairs
            for sums, first, second in (
                (moments.trace_m2, x, x),
                (moments.product_m2, x, y),
                (moments.sq_gradient_m2, y, y),
            )
        )
        # With theta = (1 + d) x̄/ȳ: (1 - g) d² - 2 h d - q² v <= 0, in which nothing large cancels.
        square = np.asarray(special.stdtrit(np.maximum(n - 1, 1), (1 + level) / 2)) ** 2
        g, h = square * of_y, square * (of_y - of_xy)
        spread = square * np.maximum(of_x - 2 * of_xy + of_y, 0.0)
        bounded = usable & (g < 1)
        slope = np.where(bounded, 1 - g, 1.0)
        root = np.sqrt(h**2 + slope * spread)
        low, high = ratio * (1 + (h - root) / slope), ratio * (1 + (h + root) / slope)
    known = bounded & np.isfinite(high)
    # Examples whose gradients are all alike have no noise, in every run.
    silent = (n > 1) & (ratio == 0) & (np.asarray(moments.trace_m2) == 0)
    low = np.where(silent, 0.0, np.where(known, np.maximum(low, 0.0), np.nan))
    return low, np.where(silent, 0.0, np.where(known, high, np.nan))


def noise_scale_table(
    blocks: Mapping[tuple[int, int], Sequence[pd.DataFrame]],
    level: float,
    certain: Callable[[int], Certain] = lambda b: Certain(),
) -> pd.DataFrame:
    """Rows of the ``noise_scale`` artefact from ``noise`` of blocks by (init, b).

    An estimate is reliable if both parts are by the rules of `reliability`, and if it has an
    interval. Parts that are equal in all runs have no error only where ``certain``, of each batch
    size, says that no run could have differed; elsewhere there is no interval.

    Raises ArtifactError if no block holds an estimate.
    """
    parts = [
        _estimated(init, b, merged_noise(frames), level, certain(b))
        for (init, b), frames in sorted(blocks.items())
        if not frames[0].empty
    ]
    if not parts:
        raise ArtifactError("no block holds an estimate of the gradient noise scale")
    return pd.concat(parts, ignore_index=True)


def _estimated(
    init: int, b: int, merged: pd.DataFrame, level: float, certain: Certain
) -> pd.DataFrame:
    moments = noise_moments_of(merged)
    n = moments.n_replicas
    low, high = ratio_interval(moments, level)
    alike = np.ones(len(merged), np.bool_)
    for mean, m2 in (
        (moments.trace, moments.trace_m2),
        (moments.sq_gradient, moments.sq_gradient_m2),
    ):
        alike &= np.sqrt(m2 / n) <= ROUNDING * np.abs(mean)
    known = certain.whole_batches | (merged["step"] < certain.shared_steps).to_numpy()
    low, high = (np.where(alike & ~known, np.nan, end) for end in (low, high))
    reliable = np.isfinite(high)
    for mean, m2, largest in (
        (moments.trace, moments.trace_m2, moments.trace_max),
        (moments.sq_gradient, moments.sq_gradient_m2, moments.sq_gradient_max),
    ):
        error = np.sqrt(m2 / (n * np.maximum(n - 1, 1)))
        # One mean is taken, that over all runs: the error has n - 1 degrees of freedom, and
        # `Estimate` counts one more.
        reliable &= reliability(n, mean, largest)[1] & precise(Estimate(mean, error, n))
    table = merged.assign(
        init=init,
        b=b,
        noise_scale=noise_scale(moments.trace, moments.sq_gradient),
        ci_low=low,
        ci_high=high,
        n_runs=pd.array(n, dtype="Int32"),
        exact=False,
        reliable=reliable,
    )
    return pd.DataFrame(table[SCHEMAS["noise_scale"].names])
