"""Expected losses of linear regression given F_0, on the training set and on any test set.

They follow from the moments of the weights (`regression_moments`).
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline_lib.theory.regression_moments import (
    PLAIN,
    Optimiser,
    RegressionProblem,
    weight_moments,
)

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sample:
    """A labelled set on which a loss is taken: ``features`` (N, p) and ``target`` (N,)."""

    features: Floats
    target: Floats

    def loss(self, weights: Floats) -> float:
        """(1/N) Σ ½ (w·x − y)²."""
        return float(0.5 * np.mean((self.features @ weights - self.target) ** 2))


@dataclass(frozen=True, eq=False)
class ExpectedLosses:
    """Expected mean losses given F_0, T steps by B batch sizes; row 0 is at the initial weights.

    training, test: E L(w_t) and E L_test(w_t). training_noise, test_noise: their parts
    ½ tr(H Sigma_t) and ½ tr(H_test Sigma_t), which alone depend on b, free of the rounding of the
    whole.
    """

    training: Floats
    test: Floats
    training_noise: Floats
    test_noise: Floats
    gap: Floats = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "gap", self.test - self.training)


def expected_losses(
    problem: RegressionProblem,
    test: Sample,
    learning_rates: ArrayLike,
    factor: ArrayLike,
    optimiser: Optimiser = PLAIN,
) -> ExpectedLosses:
    """E L(w_t) on the training set and E L_test(w_t) on ``test``, exactly, and their difference.

    The expected loss falls in b on every test set. The generalisation gap need not: the part of it
    that depends on b is ½ tr((H_test − H) Sigma_t), of either sign.

    Args:
        learning_rates: (T,), as in `weight_moments`.
        factor: (B,) from `linear_regression.sampling_factor`.

    Raises:
        ValueError: if the features of ``test`` do not have p columns.
    """
    if test.features.ndim != 2 or test.features.shape[1] != len(problem.initial_weights):
        raise ValueError(
            f"test features must have {len(problem.initial_weights)} columns, "
            f"got shape {test.features.shape}"
        )
    training = Sample(problem.features, problem.target)
    hessians = [problem.hessian, test.features.T @ test.features / len(test.features)]
    rows: list[list[Floats]] = [[], []]
    means: list[list[float]] = [[], []]
    for moments in weight_moments(problem, learning_rates, factor, optimiser):
        for k, (sample, hessian) in enumerate(zip((training, test), hessians, strict=True)):
            means[k].append(sample.loss(moments.mean))
            rows[k].append(0.5 * np.einsum("ij,bij->b", hessian, moments.covariance))
    noise = [np.array(one) for one in rows]
    whole = [np.array(one)[:, None] + part for one, part in zip(means, noise, strict=True)]
    return ExpectedLosses(whole[0], whole[1], noise[0], noise[1])
