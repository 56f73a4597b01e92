"""Unbiased estimates of var(g_t | F_0) over replicas, as sums that merge.

``var(M) = E|M|^2 - |E M|^2`` (Section 3 of the paper) over runs that share their initial weights.
Every estimate here is the mean over runs of a *contribution* ``y_r``, negative only where told:

- ``sample``: ``y_r = R/(R-1) |M_r - mean M|^2``; the mean is the unbiased sample variance.
- ``rao_blackwell``: ``y_r = var(g_r | F_t) + R/(R-1) |grad L_r - mean grad L|^2``, by the law of
  total variance; the same expectation for the stochastic gradient, with the mini-batch's own noise
  integrated out. Where random examples stand for all, their own variance ``e_r`` given F_t is taken
  off the first term, and off the contributions of the full gradient, which can then be negative.
  Of linear networks the first term is less what `control_variates` explain; that too can be
  negative, of a single run.

Only the first three central moments and the largest contribution are kept: enough for standard
errors, skewness-corrected intervals and the reliability flag. Deviations from the mean of a group
depend on each other, conditional variances of different runs do not, so the first two moments of
the latter are kept too (see `inference`). Deviations are always taken from a
mean computed first (two passes), never as ``E[y^2] - E[y]^2``, which cancels.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Contributions:
    """Moments of the contributions of R runs; each field has the shape of the estimates (...)."""

    n_replicas: NDArray[np.int64]
    dof: NDArray[np.int64]  # n_replicas less one for each block whose own mean was subtracted
    mean: Floats  # the estimate itself
    m2: Floats  # sum of (y - mean)^2
    m3: Floats  # sum of (y - mean)^3
    max: Floats  # largest y
    conditional_mean: Floats  # of the conditional variances in y; 0 of the sample estimator
    conditional_m2: Floats  # their sum of squares about it


@dataclass(frozen=True)
class VectorMoments:
    """What R vectors M_r have in common, and how far each lies from the mean."""

    mean_sq_norm: Floats  # (...): (1/R) sum |M_r|^2
    sq_norm_of_mean: Floats  # (...): |mean M|^2
    sq_deviations: Floats  # (..., R): |M_r - mean M|^2


def vector_moments(vectors: Floats) -> VectorMoments:
    """Squared deviations of ``vectors`` (..., R, p) from their mean over R, in two passes.

    The mean is taken relative to the first replica, so replicas that agree deviate by exactly 0.
    """
    first = vectors[..., :1, :]
    deviations = vectors - first
    offset = deviations.mean(axis=-2, keepdims=True)
    deviations -= offset
    mean = first + offset
    return VectorMoments(
        mean_sq_norm=np.einsum("...rp,...rp->...", vectors, vectors) / vectors.shape[-2],
        sq_norm_of_mean=np.einsum("...p,...p->...", mean[..., 0, :], mean[..., 0, :]),
        sq_deviations=np.einsum("...rp,...rp->...r", deviations, deviations),
    )


def summarise(contributions: Floats, conditional: Floats | None = None) -> Contributions:
    """Central moments over the last axis of ``contributions`` (..., R).

    ``conditional``, of the same shape, is the part of them that is independent between runs.
    """
    mean = contributions.mean(axis=-1)
    deviations = contributions - mean[..., None]
    squares = deviations * deviations
    return Contributions(
        n_replicas=np.full(mean.shape, contributions.shape[-1]),
        dof=np.full(mean.shape, contributions.shape[-1] - 1),
        mean=mean,
        m2=squares.sum(axis=-1),
        m3=np.einsum("...r,...r->...", squares, deviations),
        max=contributions.max(axis=-1),
        conditional_mean=np.zeros_like(mean) if conditional is None else conditional.mean(axis=-1),
        conditional_m2=np.zeros_like(mean)
        if conditional is None
        else conditional.var(axis=-1) * conditional.shape[-1],
    )


def sample_contributions(sq_deviations: Floats) -> Floats:
    """Contributions (..., R) of the ``sample`` estimator; ValueError unless R >= 2."""
    n_replicas = sq_deviations.shape[-1]
    if n_replicas < 2:
        raise ValueError(f"a variance over replicas needs at least 2, got {n_replicas}")
    return np.asarray(sq_deviations * (n_replicas / (n_replicas - 1)))


def rao_blackwell_contributions(conditional: Floats, full_sq_deviations: Floats) -> Floats:
    """Contributions (..., R) of the ``rao_blackwell`` estimator of the stochastic gradient.

    ``conditional`` is var(g_t | F_t) of each run, (..., R); ``full_sq_deviations`` are the squared
    deviations of each run's full gradient, (..., R).
    """
    return conditional + sample_contributions(full_sq_deviations)


def pool(blocks: list[Contributions]) -> Contributions:
    """Pool blocks of replicas, weighting each block's variance by its degrees of freedom.

    A block's own mean gradient stands for E M, so no gradient needs to be kept; one degree of
    freedom is lost per block. A run of block k has the weight ``dof_k / R_k`` in the estimate and,
    relative to the pooled ``sum dof_k / sum R_k``, in the sums m2 and m3. With it E m2 =
    n (dof - 1) var(estimate) for Gaussian vectors, whatever the sizes of the blocks. Moments merge
    by the parallel update of Chan, Golub and LeVeque, extended to the third moment by Pebay (2008).
    Raises ValueError if there is no block.
    """
    if not blocks:
        raise ValueError("no block to pool")
    merged = _weighted(blocks[0], blocks[0].dof / blocks[0].n_replicas)
    for block in blocks[1:]:
        merged = _merge(merged, _weighted(block, block.dof / block.n_replicas))
    return _weighted(merged, merged.n_replicas / merged.dof)


def _weighted(block: Contributions, weight: Floats) -> Contributions:
    """The block with its sums over runs times ``weight``."""
    return replace(
        block,
        m2=weight * block.m2,
        m3=weight * block.m3,
        conditional_m2=weight * block.conditional_m2,
    )


def _merge(a: Contributions, b: Contributions) -> Contributions:
    """Both blocks, whose runs have the weights dof / n_replicas: together, dof."""
    dof = a.dof + b.dof
    delta = b.mean - a.mean
    conditional_delta = b.conditional_mean - a.conditional_mean
    share_a, share_b = a.dof / dof, b.dof / dof
    product = a.dof * share_b
    return Contributions(
        n_replicas=a.n_replicas + b.n_replicas,
        dof=dof,
        mean=a.mean + delta * share_b,
        m2=a.m2 + b.m2 + delta**2 * product,
        m3=a.m3
        + b.m3
        + delta**3 * product * (share_a - share_b)
        + 3 * delta * (share_a * b.m2 - share_b * a.m2),
        max=np.maximum(a.max, b.max),
        conditional_mean=a.conditional_mean + conditional_delta * share_b,
        conditional_m2=a.conditional_m2 + b.conditional_m2 + conditional_delta**2 * product,
    )
