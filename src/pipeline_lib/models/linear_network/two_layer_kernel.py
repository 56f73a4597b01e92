"""One step of R two-layer networks on CPU, all its statistics included, in one compiled pass.

A replica's weights, residual and gradients fit the second-level cache together, so each replica is
taken through all its products and its update while they are there; a batched product over all
replicas would read each of them from memory again. What remains are the moments over replicas,
which read every gradient once more. BLAS is called from compiled code, so nothing is spent between
the products, and several groups of replicas can run side by side.

`models.linear_network.two_layer` is the same model through torch, for GPUs, and the reference that
the tests compare with.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

# numba's np.dot calls the BLAS of scipy, which it would load at the first product. Loaded here, its
# threads can be limited (`models.linear_network.block`): sums are rounded as they are cut up.
import scipy.linalg.cython_blas  # noqa: F401
from numba import njit
from numpy.typing import NDArray

from pipeline_lib.sampling.gaussian import GaussianBatch, Inputs
from pipeline_lib.training.replica_moments import add_moments

# Rows of the arrays over gradients: g_1, g_2 and the population gradients of W1 and W2.
G1, G2, FULL1, FULL2 = range(4)


@dataclass(frozen=True)
class StepNumbers:
    """What a step leaves of R replicas, float64; rows are G1, G2, FULL1, FULL2."""

    sq_norms: NDArray[np.float64]  # (4, R)
    sq_norm_of_mean: NDArray[np.float64]  # (4,)
    sq_deviations: NDArray[np.float64]  # (4, R), from the mean over replicas
    residual: NDArray[np.float64]  # (R,): |𝒲|^2
    first_layer: NDArray[np.float64]  # (R,): |W1|^2
    along: NDArray[np.float64]  # (2, R): <G, g - G> of both matrices, G the population gradient


@dataclass(eq=False)
class TwoLayerKernel:
    """R networks with the weights ``w1`` (R, p1, p) and ``w2`` (R, p2, p1), updated in place.

    ``teacher`` is (p2, p); one float type for all, C-contiguous.
    """

    w1: NDArray[Any]
    w2: NDArray[Any]
    teacher: NDArray[Any]
    _of_first: NDArray[Any] = field(init=False)  # (R, 2, p1, p): g_1 and W2ᵀ𝒲
    _of_second: NDArray[Any] = field(init=False)  # (R, 2, p2, p1): g_2 and 𝒲W1ᵀ

    def __post_init__(self) -> None:
        n_replicas, *first = self.w1.shape
        self._of_first = np.empty((n_replicas, 2, *first), self.w1.dtype)
        self._of_second = np.empty((n_replicas, 2, *self.w2.shape[1:]), self.w2.dtype)

    def step(self, batch: GaussianBatch, learning_rate: float) -> StepNumbers:
        """Both gradients at the present weights, their moments, and ``w <- w - alpha g``."""
        n_replicas = len(self.w1)
        numbers = StepNumbers(
            *(np.zeros(shape) for shape in ((4, n_replicas), 4, (4, n_replicas))),
            *(np.zeros(shape) for shape in (n_replicas, n_replicas, (2, n_replicas))),
        )
        given = batch.x if isinstance(batch, Inputs) else batch.s
        _step(
            isinstance(batch, Inputs),
            self.w1,
            self.w2,
            self.teacher,
            given.contiguous().numpy(),
            self.w1.dtype.type(learning_rate),
            self._of_first,
            self._of_second,
            numbers.residual,
            numbers.first_layer,
            numbers.along,
        )
        for rows, pair in (((G1, FULL1), self._of_first), ((G2, FULL2), self._of_second)):
            vectors = pair.reshape(n_replicas, -1)
            half = vectors.shape[1] // 2
            for begin, row in zip((0, half), rows, strict=True):
                numbers.sq_norm_of_mean[row] = add_moments(
                    vectors,
                    begin,
                    begin + half,
                    numbers.sq_norms[row],
                    numbers.sq_deviations[row],
                )
        return numbers


@njit(nogil=True, cache=True)
def _step(
    through_inputs: bool,
    w1: Any,
    w2: Any,
    teacher: Any,
    given: Any,  # X (R, b, p), or S = XᵀX/b (R, p, p)
    learning_rate: Any,
    of_first: Any,
    of_second: Any,
    residual_sq: Any,
    first_layer_sq: Any,
    along: Any,
) -> None:
    """Fill ``g_1 = W2ᵀ𝒲S``, ``g_2 = 𝒲SW1ᵀ``, W2ᵀ𝒲, 𝒲W1ᵀ, |𝒲|^2, |W1|^2, ``along``; then update."""
    p2, p = teacher.shape
    hidden, b = w1.shape[1], given.shape[1]
    both = np.empty((2, p2, p), w1.dtype)  # 𝒲S and 𝒲
    error, residual = both[0], both[1]
    joint = both.reshape((2 * p2, p))
    scaled = np.empty((b, p), w1.dtype)
    back, forward = np.empty((hidden, b), w1.dtype), np.empty((hidden, b), w1.dtype)
    out = np.empty((p2, b), w1.dtype)
    root = w1.dtype.type(1 / np.sqrt(b))
    for r in range(w1.shape[0]):
        g1, first = of_first[r, 0], of_first[r, 1]
        g2, second = of_second[r, 0], of_second[r, 1]
        np.dot(w2[r], w1[r], residual)
        residual -= teacher
        np.dot(w2[r].T, residual, first)
        residual_sq[r] = _square(residual.ravel())
        first_layer_sq[r] = _square(w1[r].ravel())
        if through_inputs:
            # S has rank b: the sums over examples are outer products of activations.
            _scale(given[r].ravel(), root, scaled.ravel())
            np.dot(first, scaled.T, back)
            np.dot(residual, scaled.T, out)
            np.dot(w1[r], scaled.T, forward)
            np.dot(residual, w1[r].T, second)
            np.dot(back, scaled, g1)
            np.dot(out, forward.T, g2)
        else:
            np.dot(residual, given[r], error)
            np.dot(first, given[r], g1)
            # g_2 and 𝒲W1ᵀ in one product, which is faster than two.
            np.dot(joint, w1[r].T, of_second[r].reshape((2 * p2, hidden)))
        along[0, r] = _along(g1.ravel(), first.ravel())
        along[1, r] = _along(g2.ravel(), second.ravel())
        _update(w1[r].ravel(), g1.ravel(), learning_rate)
        _update(w2[r].ravel(), g2.ravel(), learning_rate)


# Each loop below runs along one contiguous row, which is what lets the compiler vectorise it.


@njit(nogil=True, cache=True)
def _scale(row: Any, factor: Any, out: Any) -> None:
    for j in range(row.shape[0]):
        out[j] = factor * row[j]


@njit(nogil=True, cache=True)
def _update(weights: Any, gradient: Any, learning_rate: Any) -> None:
    for j in range(weights.shape[0]):
        weights[j] -= learning_rate * gradient[j]


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def _along(gradient: Any, full: Any) -> float:
    total = 0.0
    for start in range(0, full.shape[0], 512):
        part = full.dtype.type(0)
        for j in range(start, min(start + 512, full.shape[0])):
            part += full[j] * (gradient[j] - full[j])
        total += part
    return total


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def _square(row: Any) -> float:
    total = 0.0
    for start in range(0, row.shape[0], 512):  # short sums in the elements' own precision
        part = row.dtype.type(0)
        for j in range(start, min(start + 512, row.shape[0])):
            part += row[j] * row[j]
        total += part
    return total
