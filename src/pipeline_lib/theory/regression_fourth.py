"""Fourth moments of SGD in linear regression, and the exact standard errors that follow.

The deviation delta_t = w_t − E w_t takes the step delta <- A delta − alpha nu, where the noise nu
of a mini-batch is linear in u = (delta, 1): nu_i = x_i (z_i·u) − G u for one sample, with
z_i = (x_i, r_i), r_i the residual at the mean and G u = H delta + ∇L(m). So the moments of u up to
the fourth close. They are kept as the tensor M = E u⊗u⊗u⊗u, (q, q, q, q) with q = p + 1. The last
index at every slot holds the lower moments. Means of b samples without replacement have

    E nu_B² = c₂ E nu_i²,   E nu_B³ = c₃ E nu_i³,   E nu_B⁴ = c₄ E nu_i⁴ + c₂₂ Σ (E nu_i²)(E nu_j²),

the last sum over the 3 pairings of the four slots (`mean_coefficients`). What comes of it are the
numbers that `standard_errors` needs. A step costs O(n q⁴) for each batch size.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import permutations
from math import perm

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline_lib.theory.linear_regression import Sampling
from pipeline_lib.theory.regression_moments import RegressionProblem
from pipeline_lib.theory.standard_errors import FourthMoments

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class MeanCoefficients:
    """c₂, c₃, c₄ and c₂₂ of the mean of b samples, from those of one sample (denominator n)."""

    second: Fraction
    third: Fraction
    fourth: Fraction
    pairs: Fraction


def mean_coefficients(batch_size: int, n: int, sampling: Sampling = "fresh") -> MeanCoefficients:
    """The coefficients for mini-batches of b of n samples, without or with replacement.

    Raises:
        ValueError: unless 1 <= b, and b <= n without replacement.
    """
    b = batch_size
    if sampling == "with_replacement":
        if b < 1:
            raise ValueError(f"batch size must be a whole number of at least 1, got {b}")
        return MeanCoefficients(
            Fraction(1, b), Fraction(1, b**2), Fraction(1, b**3), Fraction(b - 1, b**3)
        )
    if not 1 <= b <= n:
        raise ValueError(f"batch size must be a whole number in [1, {n}], got {b}")

    # The probability of k different samples, over that of a sum: (b)_k / (n)_k. Sums over
    # different indices become power sums by inclusion and exclusion; sums of centred terms vanish.
    def share(k: int, power: int) -> Fraction:
        # perm(n, k) is 0 where there are no k different samples, and so is perm(b, k)
        return Fraction(perm(b, k), b**power * perm(n, k)) if k <= n else Fraction(0)

    two = [share(k, 2) for k in range(5)]
    three = [share(k, 3) for k in range(5)]
    four = [share(k, 4) for k in range(5)]
    return MeanCoefficients(
        n * (two[1] - two[2]),
        n * (three[1] - 3 * three[2] + 2 * three[3]),
        n * (four[1] - 7 * four[2] + 12 * four[3] - 6 * four[4]),
        n**2 * (four[2] - 2 * four[3] + four[4]),
    )


def fourth_moments(
    problem: RegressionProblem,
    learning_rates: ArrayLike,
    batch_size: int,
    steps: Sequence[int],
    sampling: Sampling = "fresh",
) -> list[FourthMoments]:
    """The fourth moments of g_t and ∇L(w_t) at each of ``steps``, exact up to rounding.

    Args:
        learning_rates: (T,) with T >= max(steps).

    Raises:
        ValueError: a step that is negative or without learning rates, or a bad batch size.
    """
    rates = np.asarray(learning_rates, dtype=np.float64)
    last = max(steps, default=-1)
    if min(steps, default=0) < 0 or len(rates) < last:
        raise ValueError(f"steps must lie in [0, {len(rates)}], got {min(steps)} to {last}")
    coefficients = mean_coefficients(batch_size, problem.n, sampling)
    at = {}
    wanted = set(steps)
    states = _states(problem, rates[:last], coefficients)
    for step, (noise, moments) in enumerate(states):
        if step in wanted:
            at[step] = _summarise(problem, noise, moments, coefficients)
    return [at[step] for step in steps]


def log_steps(n_steps: int, per_decade: int = 12) -> list[int]:
    """Steps from 0 to n_steps − 1, about ``per_decade`` a decade of t + 1, both ends included."""
    grid = np.geomspace(1, n_steps, max(2, int(np.ceil(per_decade * np.log10(max(n_steps, 2))))))
    return sorted({round(value) - 1 for value in grid.tolist()})


class _Noise:
    """The noise nu_i = x_i (z_i·u) − G u of one sample at a mean m, as maps of u."""

    def __init__(self, problem: RegressionProblem, mean: Floats) -> None:
        x = problem.features
        n, p = x.shape
        residual = x @ mean - problem.target
        # a last coordinate, on which neither noise nor gradient acts
        self.x = np.column_stack([x, np.zeros(n)])
        self.z = np.column_stack([x, residual])
        self.gradient = x.T @ residual / n
        self.G = self.x.T @ self.z / n
        q = p + 1
        x2 = (self.x[:, :, None] * self.x[:, None, :]).reshape(n, q * q)
        z2 = (self.z[:, :, None] * self.z[:, None, :]).reshape(n, q * q)
        self.square = x2.T @ z2 / n  # (ab, cd): E x_a x_b z_c z_d
        self.centred_square = self.square - np.kron(self.G, self.G)
        self.x2, self.z2 = x2, z2


def _states(
    problem: RegressionProblem, rates: Floats, coefficients: MeanCoefficients
) -> Iterator[tuple[_Noise, Floats]]:
    """The noise and E u⊗u⊗u⊗u (q, q, q, q) at w_0, w_1, …, one more than there are rates."""
    p = len(problem.initial_weights)
    mean = problem.initial_weights
    moments = np.zeros((p + 1,) * 4)
    moments[p, p, p, p] = 1.0
    for rate in [*rates.tolist(), 0.0]:
        noise = _Noise(problem, mean)
        yield noise, moments
        step = np.eye(p + 1)
        step[:p, :p] -= rate * problem.hessian
        moments = _transport(moments, step, -rate, noise, coefficients)
        mean = mean - rate * noise.gradient


def _transport(
    moments: Floats, linear: Floats, scale: float, noise: _Noise, coefficients: MeanCoefficients
) -> Floats:
    """E (D u + s nu_B)^{⊗4} from E u^{⊗4}, D = ``linear`` (q, q) and s = ``scale``."""
    q = len(linear)
    flat = moments.reshape(q * q, q * q)
    n = len(noise.x)
    second, third, fourth, pairs = (
        float(one)
        for one in (
            coefficients.second, coefficients.third, coefficients.fourth, coefficients.pairs,
        )
    )  # fmt: skip
    G2 = np.kron(noise.G, noise.G)
    D2 = np.kron(linear, linear)
    DG = np.kron(linear, noise.G)
    # E x x x (·) and E x x x x of (z·u)³ and (z·u)⁴, by contracting M with z_i twice at a time
    partial = (noise.z2 @ flat).reshape(n, q, q)
    lines = np.einsum("nab,nb->na", partial, noise.z)
    numbers = np.einsum("na,na->n", lines, noise.z)
    cubes = np.einsum("na,nb,nc->abc", noise.x2, noise.x, lines, optimize=True) / n
    fours = noise.x2.T @ (noise.x2 * numbers[:, None]) / n
    cubed = cubes.reshape(q * q * q, q)  # rows: three slots of the noise; columns: the slot left
    noise_3 = (
        (cubed @ linear.T).reshape(q * q, q * q)
        - 3 * noise.square @ flat @ DG.T
        + 2 * G2 @ flat @ DG.T
    )
    noise_4 = (
        fours
        - 4 * (cubed @ noise.G.T).reshape(q * q, q * q)
        + 6 * noise.square @ flat @ G2.T
        - 3 * G2 @ flat @ G2.T
    )
    total = (
        D2 @ flat @ D2.T
        + 6 * scale**2 * second * (D2 @ flat @ noise.centred_square.T)
        + 4 * scale**3 * third * noise_3
        + scale**4 * fourth * noise_4
        + 3 * scale**4 * pairs * (noise.centred_square @ flat @ noise.centred_square.T)
    )
    return _symmetrised(total.reshape(q, q, q, q))


def _symmetrised(tensor: Floats) -> Floats:
    total = np.zeros_like(tensor)
    for order in permutations(range(4)):
        total += tensor.transpose(order)
    return total / 24


def _summarise(
    problem: RegressionProblem, noise: _Noise, moments: Floats, coefficients: MeanCoefficients
) -> FourthMoments:
    p = len(problem.initial_weights)
    second = float(coefficients.second)
    covariance = moments[:p, :p, p, p]
    full_map = np.zeros((p + 1, p + 1))
    full_map[:p, :p] = problem.hessian
    full = problem.hessian @ covariance @ problem.hessian
    own = (noise.centred_square @ moments[:, :, p, p].ravel()).reshape(p + 1, p + 1)[:p, :p]
    total = full + second * own
    gradient = _transport(moments, full_map, 1.0, noise, coefficients)
    norms = float(np.einsum("aabb->", gradient[:p, :p, :p, :p]))
    variance = float(np.trace(total))
    # V + |f − Ef|² = uᵀ Q u; the entry of Q that stands alone adds a constant
    conditional = noise.centred_square.reshape((p + 1,) * 4)[:p, :p]
    form = second * np.einsum("aacd->cd", conditional) + full_map.T @ full_map
    form[p, p] = 0.0
    mean = float(np.sum(form * moments[:, :, p, p]))
    square = float(form.ravel() @ moments.reshape((p + 1) ** 2, -1) @ form.ravel())
    return FourthMoments(
        variance,
        max(norms - variance**2, 0.0),
        float(np.sum(total * total)),
        max(square - mean**2, 0.0),
        float(np.sum(full * full)),
    )
