"""Training in epochs: which examples each mini-batch holds, and which steps are recorded.

An epoch is as many steps as it takes to visit all examples, whether or not its mini-batches do so.
What a replica draws in an epoch depends only on the stream, the epoch and the replica's number
within its block, so that stopping and resuming, or training a block in groups, changes no
mini-batch.
"""

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.errors import ConfigError
from pipeline_lib.sampling.names import IN_EPOCHS, Sampling

Integers = NDArray[np.int64]
LastBatch = Literal["keep", "drop"]


class EpochSampler:
    """The mini-batches of R replicas, epoch by epoch.

    Args:
        n: examples.
        batch_size: consecutive entries of an `order` form a mini-batch.
        stream: seeds the orders.
        last_batch: where n is no multiple of the batch size, ``keep`` the remaining examples as a
            short mini-batch or ``drop`` them for this epoch. Mini-batches that are drawn afresh are
            never short; ``keep`` then gives an epoch one more of them.
        first_replica: the number within the block of the first of these replicas.
        sampling: any of `sampling.names.FINITE`.

    Raises ConfigError if the batch size is not between 1 and n.
    """

    def __init__(
        self,
        n: int,
        batch_size: int,
        n_replicas: int,
        stream: np.random.SeedSequence,
        last_batch: LastBatch = "keep",
        first_replica: int = 0,
        sampling: Sampling = "epochs",
    ) -> None:
        if not 1 <= batch_size <= n:
            raise ConfigError(f"batch size {batch_size}: allowed are 1 to {n}, the examples")
        self.n = n
        self.batch_size = batch_size
        self.replicas = range(first_replica, first_replica + n_replicas)
        self.stream = stream
        self.sampling = sampling
        self.steps_per_epoch = steps_per_epoch(n, batch_size, last_batch)
        one_more = self.steps_per_epoch * batch_size > n
        self.short_last = one_more and sampling in IN_EPOCHS

    @property
    def batch_sizes_of_epoch(self) -> Integers:
        """Examples of each mini-batch of an epoch, in order; only the last may be short."""
        sizes = np.full(self.steps_per_epoch, self.batch_size)
        if self.short_last:
            sizes[-1] = self.n % self.batch_size
        return sizes

    def recorded_steps(
        self, epochs: int, per_decade: int | Literal["every"], averaged: bool = False
    ) -> Integers:
        """`recorded_steps` of a training of so many epochs.

        If variances are ``averaged`` over what mini-batches could have been drawn, those that end
        an epoch are left out too: there fewer than two of them are left to draw from.
        """
        n_steps, ends = epochs * self.steps_per_epoch, int(self.short_last)
        if averaged and self.sampling == "epochs":
            longer = self.steps_per_epoch - self.n // self.batch_size + 1
            # Where an epoch is a single mini-batch, that is all there is to record.
            ends = longer if longer < self.steps_per_epoch else ends
        return recorded_steps(n_steps, per_decade, self.steps_per_epoch, ends)

    def order(self, epoch: int) -> Integers:
        """What each replica draws in ``epoch``, one mini-batch after the other.

        In epochs one permutation of ``range(n)`` a replica, (R, n), that of epoch 0 if they are
        shuffled once. Drawn afresh, (R, steps_per_epoch * batch_size).
        """
        if self.batch_size == self.n and self.sampling != "with_replacement":
            # In one order for all, so that replicas that see every example agree to the last bit.
            return np.tile(np.arange(self.n), (len(self.replicas), self.steps_per_epoch))
        if self.sampling in IN_EPOCHS:
            orders = np.empty((len(self.replicas), self.n), dtype=np.int64)
            # 32 bits draw from half as many random words and stay in cache.
            identity = np.arange(self.n, dtype=np.int32)
            of_epoch = 0 if self.sampling == "shuffled_once" else epoch
            for row, replica in enumerate(self.replicas):
                orders[row] = self._generator(of_epoch, replica).permutation(identity)
            return orders
        shape = self.steps_per_epoch, self.batch_size
        drawn = [self._afresh(self._generator(epoch, replica), shape) for replica in self.replicas]
        return np.stack(drawn).reshape(len(self.replicas), -1)

    def examples_left(self, place: int) -> int:
        """m, the examples that the mini-batch at ``place`` of an epoch is drawn from."""
        return self.n - place * self.batch_size if self.sampling in IN_EPOCHS else self.n

    def drawn_from(self, epoch: int, place: int, order: Integers, most: int) -> Integers:
        """At most ``most`` of the examples that a mini-batch is drawn from, uniform subsets (R, M).

        Given all that came before, the mini-batch at ``place`` of ``epoch`` is a uniform subset of
        `examples_left`, in epochs of those not visited yet; with replacement each of its draws is
        uniform among them. ``order`` is that of the epoch.

        Raises ValueError if they are shuffled once: then later epochs draw nothing.
        """
        if self.sampling == "shuffled_once":
            raise ValueError("mini-batches of examples shuffled once are no draws given the past")
        if self.sampling == "epochs":
            start = place * self.batch_size
            # What is left of a uniform order is one, so its beginning is a uniform subset.
            return order[:, start : start + most]
        if most >= self.n:
            return np.tile(np.arange(self.n), (len(self.replicas), 1))
        generators = (self._generator(epoch, replica, place) for replica in self.replicas)
        drawn = [one.choice(self.n, most, replace=False, shuffle=False) for one in generators]
        return np.stack(drawn).astype(np.int64)

    def some_of(self, chosen: Integers, epoch: int, place: int, count: int) -> Integers:
        """So many of each replica's ``chosen`` examples (R, M) at random, all if they are fewer."""
        count = min(count, chosen.shape[1])
        generators = (self._generator(epoch, replica, place, 1) for replica in self.replicas)
        return np.stack(
            [
                row[one.choice(len(row), count, replace=False)]
                for row, one in zip(chosen, generators, strict=True)
            ]
        )

    def _afresh(self, generator: np.random.Generator, shape: tuple[int, int]) -> Integers:
        """Mini-batches of one replica, (steps, b)."""
        if self.sampling == "with_replacement":
            return generator.integers(self.n, size=shape)
        subsets = (
            generator.choice(self.n, self.batch_size, replace=False, shuffle=False)
            for _ in range(shape[0])
        )
        return np.stack(list(subsets)).astype(np.int64)

    def _generator(self, epoch: int, replica: int, *place: int) -> np.random.Generator:
        key = (*self.stream.spawn_key, replica, epoch, *place)
        child = np.random.SeedSequence(
            self.stream.entropy, spawn_key=key, pool_size=self.stream.pool_size
        )
        return np.random.Generator(np.random.PCG64(child))


def steps_per_epoch(n: int, batch_size: int, last_batch: LastBatch) -> int:
    """Mini-batches of an epoch of n examples; for ``keep`` one for the rest too."""
    full, rest = divmod(n, batch_size)
    return full + (rest > 0 and last_batch == "keep")


def recorded_steps(
    n_steps: int, per_decade: int | Literal["every"], steps_per_epoch: int, left_out: int
) -> Integers:
    """Which of the steps 0, ..., n_steps - 1 to record: ``every``, or so many a decade.

    The grid is ``round(10^(k / per_decade)) - 1`` for k = 0, 1, ..., each step once: the same for
    every batch size, whatever the number of steps, so that variances can be compared step by step.
    The last ``left_out`` steps of each epoch are not recorded: 1 where the last mini-batch is
    short, since its variance is that of another batch size. Raises ValueError if there is no step
    to record or ``per_decade`` is below 1.
    """
    if n_steps < 1 or (per_decade != "every" and per_decade < 1):
        raise ValueError(f"nothing to record: {n_steps} steps, {per_decade!r} a decade")
    if per_decade == "every":
        steps = np.arange(n_steps)
    else:
        last = math.ceil(per_decade * math.log10(n_steps))
        steps = np.unique(np.rint(10 ** (np.arange(last + 1) / per_decade))).astype(np.int64) - 1
        steps = steps[steps < n_steps]
    steps = steps[steps % steps_per_epoch < steps_per_epoch - left_out]
    if len(steps) == 0:
        raise ValueError("nothing to record: every step is the short last one of its epoch")
    return steps
