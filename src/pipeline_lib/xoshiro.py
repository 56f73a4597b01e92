"""xoshiro256++ and exact uniform integers, compiled for the inner loops.

The generator is Blackman and Vigna's xoshiro256++ 1.0 (ACM TOMS 47, 2021); bounded integers follow
Lemire (ACM TOMACS 29, 2019) with his rejection step, so every value is exactly equally likely.
NumPy's own generators cannot be kept one per replica in an array, which is what makes a replica's
stream independent of how replicas are spread over threads.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

_LOW_32 = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)
_TWO_TO_32 = np.uint64(1 << 32)


@njit(inline="always")
def _rotate_left(x: Any, k: int) -> Any:
    return (x << np.uint64(k)) | (x >> np.uint64(64 - k))


@njit(inline="always")
def next_uint64(s0: Any, s1: Any, s2: Any, s3: Any) -> Any:
    """One step: the output and the four words of the next state."""
    output = _rotate_left(s0 + s3, 23) + s0
    shifted = s1 << np.uint64(17)
    s2 ^= s0
    s3 ^= s1
    s1 ^= s2
    s0 ^= s3
    s2 ^= shifted
    s3 = _rotate_left(s3, 45)
    return output, s0, s1, s2, s3


@njit(inline="always")
def swap_in_batch(order: Any, size: int, s0: Any, s1: Any, s2: Any, s3: Any) -> Any:
    """Partial Fisher-Yates shuffle: make ``order[:size]`` a uniform subset, in place.

    ``order`` is any permutation of the examples, (n,); the subset is uniform whatever permutation
    it starts from, so the array is never reset. Returns the next state of the generator.
    """
    n = order.shape[0]
    spare = np.uint64(0)
    has_spare = False
    for i in range(size):
        bound = np.uint64(n - i)
        # One 64-bit output serves two draws of 32 bits.
        if has_spare:
            half = spare
            has_spare = False
        else:
            word, s0, s1, s2, s3 = next_uint64(s0, s1, s2, s3)
            half = word & _LOW_32
            spare = word >> _32
            has_spare = True
        product = half * bound
        if (product & _LOW_32) < bound:
            threshold = (_TWO_TO_32 - bound) % bound
            while (product & _LOW_32) < threshold:
                word, s0, s1, s2, s3 = next_uint64(s0, s1, s2, s3)
                product = (word & _LOW_32) * bound
        j = i + np.int64(product >> _32)
        chosen = order[j]
        order[j] = order[i]
        order[i] = chosen
    return s0, s1, s2, s3


@njit(nogil=True, cache=True)
def draw_batches(order: Any, states: Any, batches: Any) -> None:
    """Fill ``batches`` (T, R, b) with mini-batches of each replica, without replacement.

    ``order`` (R, n) and ``states`` (R, 4) are advanced in place: the same draws, in the same order,
    as the fused kernel of `pipeline_lib.models.linear_kernel` makes for batches of at most n/2.
    """
    n_steps, n_replicas, size = batches.shape
    for r in range(n_replicas):
        s0, s1, s2, s3 = states[r, 0], states[r, 1], states[r, 2], states[r, 3]
        for t in range(n_steps):
            s0, s1, s2, s3 = swap_in_batch(order[r], size, s0, s1, s2, s3)
            for i in range(size):
                batches[t, r, i] = order[r, i]
        states[r, 0], states[r, 1], states[r, 2], states[r, 3] = s0, s1, s2, s3


def identity_orders(n_replicas: int, n: int) -> NDArray[np.int32]:
    """The permutation 0..n-1 once per replica, (R, n): the start of every shuffle."""
    return np.tile(np.arange(n, dtype=np.int32), (n_replicas, 1))
