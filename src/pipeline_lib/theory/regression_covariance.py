"""Linear regression: the covariance of the weights, step by step, at all batch sizes at once.

Notation as in `linear_regression`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CHUNK = 1024  # steps whose covariance matrices are held at once


@dataclass(frozen=True, eq=False)
class CovarianceRecursion:
    """Sigma <- A Sigma A + alpha² c_b (G(Sigma) + K), on triangles of q entries, from Sigma = 0.

    Attributes:
        spread_to_noise: (q, q) G.
        noise: (T, q) K at the mean of every step.
        scaling: (T, q) the factors by which A Sigma A scales each entry.
        sq_rates: (T,) alpha².
        factor: (B,) c_b.
    """

    spread_to_noise: NDArray[np.float64]
    noise: NDArray[np.float64]
    scaling: NDArray[np.float64]
    sq_rates: NDArray[np.float64]
    factor: NDArray[np.float64]

    def chunks(self) -> Iterator[tuple[slice, NDArray[np.float64], NDArray[np.float64]]]:
        """Steps, and (steps, B, q) Sigma and G(Sigma) + K at them; overwritten by the next chunk.

        So that traces are taken of many steps at once: step by step they would cost as much as
        the recursion.
        """
        total, (sizes, entries) = len(self.noise), (len(self.factor), self.noise.shape[1])
        spread_to_noise = np.ascontiguousarray(self.spread_to_noise.T)
        sigmas = np.zeros((min(total, CHUNK) + 1, sizes, entries))
        noises = np.empty((min(total, CHUNK), sizes, entries))
        added = np.empty((sizes, entries))
        for first in range(0, total, CHUNK):
            steps = slice(first, min(first + CHUNK, total))
            length = steps.stop - steps.start
            update = self.sq_rates[steps, None, None] * self.factor[:, None]
            for sigma, after, noise, at_mean, scaling, gain in zip(
                sigmas, sigmas[1:], noises, self.noise[steps], self.scaling[steps], update,
                strict=False,
            ):  # fmt: skip
                np.matmul(sigma, spread_to_noise, out=noise)
                noise += at_mean
                np.multiply(sigma, scaling, out=after)
                np.multiply(noise, gain, out=added)
                after += added
            yield steps, sigmas[:length], noises[:length]
            sigmas[0] = sigmas[length]
