"""Linear regression at t → ∞: where SGD settles, and which batch sizes it needs to settle at all.

At a constant learning rate the covariance of w_t takes the step T S = A S A + alpha² c G(S) and the
noise alpha² c K(w*) is added to it (A, G, K as in `linear_regression`; w* the minimiser). SGD is
mean-square stable, which is that E|w_t|² stays bounded from every start, if the spectral radius of
T is below 1. T preserves positive semi-definite matrices and grows with c, so its spectral radius
falls in b: there is a smallest stable batch size. Then Sigma_t → (I − T)^{-1} alpha² c K(w*).

At the rate alpha_t = a/(t+1) with a lambda_min(H) > 1/2 the noise is averaged away at the rate 1/t:
t Sigma_t → C with (aH − ½) C + C (aH − ½) = a² c K(w*).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.theory.linear_regression import Sampling, sampling_factor
from pipeline_lib.theory.regression_moments import RegressionProblem, centred_fourth

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class StationaryState:
    """The limit of plain SGD at a constant learning rate and one batch size.

    radius: the spectral radius of T: the factor by which what is left of Sigma_t − Sigma shrinks
        at every step in the end. The rest is None where it is 1 or more.
    covariance: (p, p) lim Cov w_t.
    stochastic_gradient, full_gradient: lim var(g_t) and lim var(∇L(w_t)).
    excess_loss: lim E L(w_t) − L(w*).
    """

    radius: float
    covariance: Floats | None
    stochastic_gradient: float | None
    full_gradient: float | None
    excess_loss: float | None


def stationary_state(
    problem: RegressionProblem, learning_rate: float, factor: float
) -> StationaryState:
    """Where SGD settles at a constant learning rate; ``factor`` is from `sampling_factor`.

    Raises:
        ValueError: if H is singular, so that no limit forgets the initial weights, or the learning
            rate is not positive.
    """
    _require_definite(problem)
    p = len(problem.initial_weights)
    transport = covariance_map(problem, learning_rate, factor)
    radius = spectral_radius(transport)
    # 1 up to rounding is a limit that no float64 solve can be trusted with
    if not radius < 1 - 1e-12:
        return StationaryState(radius, None, None, None, None)
    noise = learning_rate**2 * factor * noise_at_minimum(problem)
    flat = np.linalg.solve(np.eye(p * p) - transport, noise.ravel())
    covariance = flat.reshape(p, p)
    covariance = (covariance + covariance.T) / 2
    hessian = problem.hessian
    full = float(np.trace(hessian @ covariance @ hessian))
    spread = (centred_fourth(problem.features) @ covariance.ravel()).reshape(p, p)
    own = factor * float(np.trace(spread + noise_at_minimum(problem)))
    excess = 0.5 * float(np.sum(hessian * covariance))
    return StationaryState(radius, covariance, own + full, full, excess)


def covariance_map(problem: RegressionProblem, learning_rate: float, factor: float) -> Floats:
    """T as a matrix (p², p²) on the entries of S, row by row.

    Raises:
        ValueError: if the learning rate is not positive and finite.
    """
    if not (np.isfinite(learning_rate) and learning_rate > 0):
        raise ValueError(f"learning_rate must be positive and finite, got {learning_rate}")
    step = np.eye(len(problem.initial_weights)) - learning_rate * problem.hessian
    noise = centred_fourth(problem.features)
    return np.asarray(np.kron(step, step) + learning_rate**2 * factor * noise)


def spectral_radius(transport: Floats) -> float:
    """The largest modulus of an eigenvalue of T, a symmetric matrix."""
    return float(np.abs(np.linalg.eigvalsh((transport + transport.T) / 2)).max())


def smallest_stable_batch_size(
    problem: RegressionProblem, learning_rate: float, sampling: Sampling = "fresh"
) -> int | None:
    """The smallest b at which SGD is mean-square stable at a constant learning rate.

    Returns None if there is none: full gradient descent itself does not converge.

    Raises:
        ValueError: if H is singular or the learning rate is not positive and finite.
    """
    _require_definite(problem)

    def stable(b: int) -> bool:
        factor = float(sampling_factor(b, problem.n, sampling))
        return spectral_radius(covariance_map(problem, learning_rate, factor)) < 1

    if spectral_radius(covariance_map(problem, learning_rate, 0.0)) >= 1:
        return None
    high = 1
    while not stable(high):
        high = 2 * high if sampling == "with_replacement" else min(2 * high, problem.n)
    low = high // 2
    # stable at high and not at low; the spectral radius falls in b
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if stable(middle) else (middle, high)
    return high


def inverse_time_limit(problem: RegressionProblem, initial: float, factor: float) -> Floats | None:
    """lim t Cov w_t (p, p) at the learning rate a/(t+1), a = ``initial``.

    Returns None if a lambda_min(H) <= 1/2: there Cov w_t falls more slowly than 1/t.
    """
    values, vectors = np.linalg.eigh(problem.hessian)
    shifted = initial * values - 0.5
    if shifted[0] <= 0:
        return None
    noise = vectors.T @ noise_at_minimum(problem) @ vectors
    limit = initial**2 * factor * noise / (shifted[:, None] + shifted[None, :])
    return np.asarray(vectors @ limit @ vectors.T)


def noise_at_minimum(problem: RegressionProblem) -> Floats:
    """K(w*), the covariance (p, p) of one sample's gradient at the minimiser."""
    gradients = problem.gradients(problem.minimiser())
    gradients = gradients - gradients.mean(axis=0)
    return np.asarray(gradients.T @ gradients / problem.n)


def _require_definite(problem: RegressionProblem) -> None:
    rank = np.linalg.matrix_rank(problem.features)
    if rank < len(problem.initial_weights):
        raise ValueError(
            f"the {len(problem.initial_weights)} columns of features have rank {rank}: "
            "the weights have no limit that forgets where they started"
        )
