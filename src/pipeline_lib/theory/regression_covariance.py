"""Linear regression: the covariance of the weights, step by step, at all batch sizes at once.

Notation as in `linear_regression`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Of the covariance matrices that are held at once, which stay in the cache of a processor.
CHUNK_BYTES = 2**20


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
        """Steps, and (steps, q, B) Sigma and G(Sigma) + K at them; overwritten by the next chunk.

        So that traces are taken of many steps at once: step by step they would cost as much as
        the recursion.
        """
        total, (entries, sizes) = len(self.noise), (self.noise.shape[1], len(self.factor))
        length = min(total, max(1, CHUNK_BYTES // (8 * entries * max(sizes, 1))))
        sigmas = np.zeros((length + 1, entries, sizes))
        noises = np.empty((length, entries, sizes))
        added = np.empty((entries, sizes))
        for first in range(0, total, max(length, 1)):
            steps = slice(first, min(first + length, total))
            update = (self.sq_rates[steps, None] * self.factor)[:, None, :]
            at_means, scalings = self.noise[steps, :, None], self.scaling[steps, :, None]
            for sigma, after, noise, at_mean, scaling, gain in zip(
                sigmas, sigmas[1:], noises, at_means, scalings, update, strict=False
            ):
                np.matmul(self.spread_to_noise, sigma, out=noise)
                noise += at_mean
                np.multiply(sigma, scaling, out=after)
                np.multiply(noise, gain, out=added)
                after += added
            made = steps.stop - steps.start
            yield steps, sigmas[:made], noises[:made]
            sigmas[0] = sigmas[made]
