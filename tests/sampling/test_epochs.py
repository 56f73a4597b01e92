"""Orders of examples within epochs, and the steps that are recorded."""

from itertools import permutations

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import stats

from pipeline_lib.errors import ConfigError
from pipeline_lib.sampling.epochs import EpochSampler, recorded_steps
from pipeline_lib.seeding import seed_sequence

STREAM = seed_sequence(0, "epochs")


def batches_of(sampler: EpochSampler, epoch: int) -> list[np.ndarray]:
    """(R, size) for each mini-batch."""
    ends = np.cumsum(sampler.batch_sizes_of_epoch)
    parts = np.split(sampler.order(epoch), ends, axis=1)
    return parts[:-1]


@pytest.mark.parametrize("n", [1, 7, 12])
@pytest.mark.parametrize("b", [1, 3, 5, 12])
def test_an_epoch_visits_examples_once(n: int, b: int) -> None:
    if b > n:
        with pytest.raises(ConfigError, match=rf"batch size {b}: allowed are 1 to {n}"):
            EpochSampler(n, b, 3, STREAM)
        return
    keep, drop = (EpochSampler(n, b, 3, STREAM, last) for last in ("keep", "drop"))
    assert (keep.steps_per_epoch, drop.steps_per_epoch) == (-(-n // b), n // b)
    assert keep.short_last == (n % b > 0)
    assert not drop.short_last
    assert set(drop.batch_sizes_of_epoch) == {b}
    for epoch in range(3):
        kept = np.concatenate(batches_of(keep, epoch), axis=1)
        assert_array_equal(np.sort(kept, axis=1), np.tile(np.arange(n), (3, 1)))
        full = np.concatenate(batches_of(drop, epoch), axis=1)
        assert_array_equal(full, kept[:, : n // b * b])  # so no example twice
    assert keep.order(0).dtype == np.int64


def test_orders_differ_between_replicas_epochs_and_streams() -> None:
    samplers = [EpochSampler(30, 5, 4, seed_sequence(seed, "epochs")) for seed in (0, 1)]
    orders = np.concatenate([s.order(epoch) for s in samplers for epoch in range(5)])
    assert len(np.unique(orders, axis=0)) == 40


def test_an_order_depends_on_neither_group_nor_history() -> None:
    whole = EpochSampler(30, 5, 7, STREAM)
    expected = [whole.order(epoch) for epoch in range(4)]
    first, second = (EpochSampler(30, 5, n, STREAM, "drop", r) for n, r in ((3, 0), (4, 3)))
    for epoch in (3, 1):  # without the epochs before
        got = np.concatenate([first.order(epoch), second.order(epoch)])
        assert_array_equal(got, expected[epoch])
    assert_array_equal(whole.order(2), expected[2])


def test_every_order_is_equally_likely() -> None:
    sampler = EpochSampler(4, 2, 6000, STREAM)
    number = {order: i for i, order in enumerate(permutations(range(4)))}
    drawn = [[number[tuple(row)] for row in sampler.order(epoch).tolist()] for epoch in range(2)]
    for numbers in drawn:
        assert stats.chisquare(np.bincount(numbers, minlength=24)).pvalue > 1e-4
    # Successive epochs, and neighbouring replicas, are independent.
    for one, two in ((drawn[0], drawn[1]), (drawn[0][:-1], drawn[0][1:])):
        pairs = np.bincount(np.array(one) * 24 + np.array(two), minlength=24 * 24)
        assert stats.chisquare(pairs).pvalue > 1e-4


def test_every_example_is_equally_likely_in_every_batch() -> None:
    sampler = EpochSampler(11, 4, 4000, STREAM)
    for batch in batches_of(sampler, 5):
        counts = np.bincount(batch.ravel(), minlength=11)
        # Examples of a batch exclude each other, which makes this test conservative.
        assert stats.chisquare(counts).pvalue > 1e-4


@pytest.mark.parametrize("n_steps", [1, 2, 10, 999, 1000, 50_000])
@pytest.mark.parametrize("per_decade", [1, 5, 12])
def test_recorded_steps_are_one_grid_cut_where_training_ends(n_steps: int, per_decade: int) -> None:
    steps = recorded_steps(n_steps, per_decade, 1, False)
    longest = recorded_steps(10**6, per_decade, 1, False)
    assert_array_equal(steps, longest[longest < n_steps])
    assert steps[0] == 0
    assert (np.diff(steps) > 0).all()
    # Every decade's bounds are in the grid, with as many steps between as asked for.
    assert {0, 9, 99, 999, 9999} <= set(longest)
    assert np.sum((longest >= 9_999) & (longest < 99_999)) == per_decade


def test_short_batches_are_never_recorded() -> None:
    assert_array_equal(recorded_steps(6, "every", 3, True), [0, 1, 3, 4])
    assert_array_equal(recorded_steps(3, "every", 3, False), [0, 1, 2])
    all_steps = recorded_steps(1000, 12, 7, False)
    assert_array_equal(recorded_steps(1000, 12, 7, True), all_steps[all_steps % 7 != 6])


@pytest.mark.parametrize("bad", [(0, 3, 5, False), (5, 0, 5, False), (5, 3, 1, True)])
def test_nothing_to_record_is_refused(bad: tuple[int, int, int, bool]) -> None:
    with pytest.raises(ValueError, match="nothing to record"):
        recorded_steps(*bad)
