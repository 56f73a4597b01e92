"""Both samplers draw uniform subsets; the compiled one against a reference in plain Python."""

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pipeline_lib.models.linear_regression.kernel import (
    draw_batches,
    identity_orders,
    next_uint64,
    swap_in_batch,
)
from pipeline_lib.sampling.subsets import without_replacement
from pipeline_lib.seeding import replica_states, seed_sequence, torch_seed

MASK = (1 << 64) - 1


def reference_step(state):
    """xoshiro256++ 1.0 of Blackman and Vigna: the output and the next state."""
    s = list(state)

    def rotl(x, k):
        return ((x << k) | (x >> (64 - k))) & MASK

    result = (rotl((s[0] + s[3]) & MASK, 23) + s[0]) & MASK
    t = (s[1] << 17) & MASK
    s[2] ^= s[0]
    s[3] ^= s[1]
    s[1] ^= s[2]
    s[0] ^= s[3]
    s[2] ^= t
    s[3] = rotl(s[3], 45)
    return result, tuple(s)


def bounded(half, bound, bits=32):
    """Lemire's map of a ``bits``-bit integer to range(bound), or None where it is rejected."""
    product = half * bound
    if product % 2**bits < 2**bits % bound:
        return None
    return product >> bits


def reference_swap(order, size, state):
    """The partial shuffle on 32-bit halves, low half first; a redraw takes a fresh low half."""
    order, spare = list(order), None
    for i in range(size):
        if spare is None:
            word, state = reference_step(state)
            half, spare = word % 2**32, word >> 32
        else:
            half, spare = spare, None
        j = bounded(half, len(order) - i)
        while j is None:
            word, state = reference_step(state)
            j = bounded(word % 2**32, len(order) - i)
        order[i], order[i + j] = order[i + j], order[i]
    return order, state


def swap(order, size, state):
    """The compiled shuffle of a copy of ``order``."""
    orders = np.array([order], dtype=np.int32)
    states = np.array([state], dtype=np.uint64)
    batches = np.empty((1, 1, size), dtype=np.int32)
    draw_batches(orders, states, batches)
    assert batches[0, 0].tolist() == orders[0, :size].tolist()
    return orders[0].tolist(), tuple(states[0].tolist())


def state_whose_first_output_is(word):
    """With s0 = 0 the output is s3 rotated left by 23."""
    return (0, 0x9E3779B97F4A7C15, 0xD1342543DE82EF95, ((word >> 23) | (word << 41)) & MASK)


words = st.integers(0, MASK)
states = st.tuples(words, words, words, words).filter(any)


def test_reference_gives_the_published_outputs():
    """First outputs from the state (1, 2, 3, 4), as other implementations publish them."""
    state, outputs = (1, 2, 3, 4), []
    for _ in range(10):
        output, state = reference_step(state)
        outputs.append(output)
    assert outputs == [
        41943041,
        58720359,
        3588806011781223,
        3591011842654386,
        9228616714210784205,
        9973669472204895162,
        14011001112246962877,
        12406186145184390807,
        15849039046786891736,
        10450023813501588000,
    ]


@settings(deadline=None)
@given(states)
def test_generator_equals_the_reference(state):
    reference = state
    for _ in range(5):
        # Called from Python, it takes NumPy's integers and gives back Python's.
        after = next_uint64(*(np.uint64(word) for word in reference))
        output, reference = reference_step(reference)
        assert tuple(int(word) for word in after) == (output, *reference)


@pytest.mark.parametrize("bits", [4, 7, 9])
def test_bounded_integers_are_exactly_uniform(bits):
    """Every value has as many words as any other, counted over all words of a small size."""
    for bound in range(1, 2**bits):
        values = [bounded(word, bound, bits) for word in range(2**bits)]
        kept = [value for value in values if value is not None]
        counts = np.bincount(kept, minlength=bound)
        assert counts.tolist() == [2**bits // bound] * bound


@settings(deadline=None, max_examples=300)
@given(st.data(), st.integers(2, 500), st.integers(-2, 2), st.integers(-2, 2))
def test_shuffle_equals_the_reference_at_the_edges_of_rejection(data, n, low, high):
    """Words whose halves lie where one value ends, the next begins and redraws take place."""
    first = data.draw(st.integers(0, n))
    second = data.draw(st.integers(0, n - 1))
    half = (-(-first * 2**32 // n) + low) % 2**32
    spare = (-(-second * 2**32 // (n - 1)) + high) % 2**32
    state = state_whose_first_output_is(spare << 32 | half)
    size = data.draw(st.integers(1, min(n, 5)))
    assert swap(range(n), size, state) == reference_swap(range(n), size, state)


def test_both_halves_can_be_rejected():
    """All-zero halves are rejected for n = 7 and again for the 6 that are left."""
    assert bounded(0, 7) is None
    assert bounded(0, 6) is None
    state = state_whose_first_output_is(0)
    assert swap(range(7), 2, state) == reference_swap(range(7), 2, state)
    steps = [state]
    for _ in range(3):
        steps.append(reference_step(steps[-1])[1])
    assert swap(range(7), 2, state)[1] == steps[3]  # one word drawn, two drawn again


@settings(deadline=None)
@given(st.data(), st.integers(1, 60), states)
def test_shuffle_equals_the_reference(data, n, state):
    order = data.draw(st.permutations(range(n)))
    size = data.draw(st.integers(0, n))
    mixed, after = swap(order, size, state)
    assert (mixed, after) == reference_swap(order, size, state)
    assert sorted(mixed) == list(range(n))


def test_shuffle_called_by_itself():
    """The function itself, which other compiled loops inline."""
    order = np.arange(20, dtype=np.int32)
    after = swap_in_batch(order, 7, *(np.uint64(word) for word in (5, 6, 7, 8)))
    expected = reference_swap(range(20), 7, (5, 6, 7, 8))
    assert (order.tolist(), tuple(int(word) for word in after)) == expected


def numba_batches(n, b, steps, replicas, seed=0):
    """(steps, replicas, b), with the states and orders as they are left."""
    generators = replica_states(seed_sequence(seed, "sampling"), replicas)
    orders = identity_orders(replicas, n)
    batches = np.empty((steps, replicas, b), dtype=np.int32)
    draw_batches(orders, generators, batches)
    return batches


def torch_batches(n, b, steps, replicas, seed=0):
    generator = torch.Generator().manual_seed(torch_seed(seed_sequence(seed, "sampling")))
    draws = [without_replacement(n, b, replicas, generator) for _ in range(steps)]
    return torch.stack(draws).numpy()


def biased_batches(n, b, steps, replicas, seed=0):
    """Example 0 is chosen somewhat more often than the others."""
    keys = np.random.default_rng(seed).random((steps, replicas, n))
    keys[..., 0] *= 0.95
    return keys.argsort(axis=2)[..., :b]


def sticky_batches(n, b, steps, replicas, seed=0):
    """Every batch is uniform, but one in twenty repeats the batch before."""
    rng = np.random.default_rng(seed)
    batches = rng.random((steps, replicas, n)).argsort(axis=2)[..., :b]
    for t in range(1, steps):
        again = rng.random(replicas) < 0.05
        batches[t, again] = batches[t - 1, again]
    return batches


def subset_numbers(batches, n):
    """The number of each batch's subset in the list of all subsets, and how many there are."""
    subsets = list(combinations(range(n), batches.shape[-1]))
    number = np.full(2**n, -1)
    number[[sum(1 << i for i in subset) for subset in subsets]] = range(len(subsets))
    masks = (1 << batches.astype(np.int64)).sum(axis=-1)
    return number[masks], len(subsets)


def uniformity(batches, n):
    """p-value of the chi-square test that every subset is equally likely."""
    numbers, k = subset_numbers(batches, n)
    assert numbers.min() >= 0
    return stats.chisquare(np.bincount(numbers.ravel(), minlength=k)).pvalue


def independence(first, second, n):
    """p-value that every ordered pair of subsets of two sets of batches is equally likely."""
    (a, k), (b, _) = subset_numbers(first, n), subset_numbers(second, n)
    return stats.chisquare(np.bincount((a * k + b).ravel(), minlength=k * k)).pvalue


SAMPLERS = [numba_batches, torch_batches]


@pytest.mark.parametrize("b", [1, 2, 3, 4])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_subset_is_equally_likely(sampler, b):
    assert uniformity(sampler(5, b, 200, 500), 5) > 1e-4


@pytest.mark.parametrize("b", [2, 3])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_batches_do_not_depend_on_each_other(sampler, b):
    batches = sampler(5, b, 200, 500)
    assert independence(batches[:-1], batches[1:], 5) > 1e-4  # of successive iterations
    assert independence(batches[:-2], batches[2:], 5) > 1e-4
    assert independence(batches[:, :-1], batches[:, 1:], 5) > 1e-4  # of neighbouring replicas


def test_the_checks_have_power():
    for b in (2, 3):
        assert uniformity(biased_batches(5, b, 200, 500), 5) < 1e-6
        sticky = sticky_batches(5, b, 200, 500)
        assert uniformity(sticky, 5) > 1e-4
        assert independence(sticky[:-1], sticky[1:], 5) < 1e-6


@settings(deadline=None, max_examples=50)
@given(st.sampled_from(SAMPLERS), st.integers(1, 80), st.data())
def test_a_batch_holds_no_example_twice(sampler, n, data):
    b = data.draw(st.integers(1, n))
    batches = sampler(n, b, 5, 4, seed=data.draw(st.integers(0, 100)))
    assert batches.shape == (5, 4, b)
    ordered = np.sort(batches, axis=-1)
    assert ordered.min() >= 0
    assert ordered.max() < n
    assert (np.diff(ordered, axis=-1) > 0).all()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_one_seed_gives_one_stream(sampler):
    batches = sampler(30, 7, 10, 5)
    np.testing.assert_array_equal(batches, sampler(30, 7, 10, 5))
    assert (batches != sampler(30, 7, 10, 5, seed=1)).any()
    sets = {tuple(sorted(batch)) for batch in batches.reshape(-1, 7).tolist()}
    assert len(sets) == 50  # two equal among two million possible ones would be a shared stream


@pytest.mark.parametrize("replicas", [1, 2, 8])
def test_a_replica_keeps_its_stream_whatever_their_number(replicas):
    many = numba_batches(30, 7, 10, 8)
    np.testing.assert_array_equal(numba_batches(30, 7, 10, replicas), many[:, :replicas])
    sequence = seed_sequence(3, "x")
    np.testing.assert_array_equal(
        replica_states(sequence, replicas), replica_states(sequence, 8)[:replicas]
    )
    assert len({tuple(state) for state in replica_states(sequence, 8).tolist()}) == 8


def test_draws_go_on_where_they_stopped():
    generators = replica_states(seed_sequence(0, "sampling"), 3)
    orders = identity_orders(3, 30)
    parts = []
    for steps in (4, 1, 5):
        parts.append(np.empty((steps, 3, 7), dtype=np.int32))
        draw_batches(orders, generators, parts[-1])
    np.testing.assert_array_equal(np.concatenate(parts), numba_batches(30, 7, 10, 3))
    assert [sorted(order) for order in orders.tolist()] == [list(range(30))] * 3


def test_streams_are_told_apart_by_name_and_seed():
    names = [(0, "a", 1, 2), (0, "a", 12), (0, "a", 2, 1), (1, "a", 1, 2), (0, "b", 1, 2)]
    states = {tuple(seed_sequence(*name).generate_state(4).tolist()) for name in names}
    assert len(states) == len(names)
    assert 0 <= torch_seed(seed_sequence(0, "a")) < 2**63
