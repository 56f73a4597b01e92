"""One training block of the two-layer linear network: groups of replicas, pooled.

The weights and gradients of 1,000 replicas take half a gigabyte, and every step reads all of it. A
group of some 20 replicas stays in the last-level cache, so each group is trained through all steps
and the groups are pooled (`pipeline_lib.variance.pool`), at the price of one degree of freedom a
group.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pipeline_lib.blocks import BlockResult, report_divergence, summarise_records
from pipeline_lib.gaussian_batches import GaussianSampler
from pipeline_lib.logs import progress
from pipeline_lib.models.two_layer import TwoLayerReplicas, reduce_hidden
from pipeline_lib.schemas import SCHEMAS
from pipeline_lib.seeding import torch_seed
from pipeline_lib.statistics import contributions_of
from pipeline_lib.training import train
from pipeline_lib.variance import pool

Floats = NDArray[np.float64]

# Tables are made from this many steps at once; few steps would cost more time in tables.
_STEPS_PER_RECORD = 256


def two_layer_block(
    w1: Floats,
    w2: Floats,
    teacher: Floats,
    learning_rates: Floats,
    batch_size: int,
    n_replicas: int,
    stream: np.random.SeedSequence,
    replicas_at_once: int = 20,
    threads: int = 1,
    dtype: str = "float32",
    device: str = "cpu",
    reduce: bool = True,
) -> BlockResult:
    """Train ``n_replicas`` runs of the two-layer linear network online and summarise every step.

    Args:
        w1, w2, teacher: initial weights (p1, p), (p2, p1) and T (p2, p).
        learning_rates: shape (T,).
        stream: seeds the mini-batches; each group of replicas has its own generator.
        replicas_at_once: replicas of a group (up to the rounding that makes groups even). Values
            depend on it: a group is a random stream and costs one degree of freedom.
        threads: groups trained at the same time on CPU. No value depends on it.
        dtype: of weights and gradients, ``float32`` or ``float64``. Sums of squares are float64.
        device: ``cpu`` or a CUDA device, which draws different mini-batches from the same seed.
        reduce: train the equivalent network of p + p2 hidden units, if that is smaller.
    """
    sizes = group_sizes(n_replicas, replicas_at_once)
    precision = {"float32": torch.float32, "float64": torch.float64}[dtype]
    first, second = torch.as_tensor(w1), torch.as_tensor(w2)
    if reduce:
        first, second = reduce_hidden(first, second)
    w1_start, w2_start, target = (
        tensor.to(device, precision) for tensor in (first, second, torch.as_tensor(teacher))
    )
    weights = w1_start, w2_start, target

    def run(group: int) -> BlockResult:
        with _one_thread_a_group(device):
            return _group(weights, learning_rates, batch_size, sizes[group], _child(stream, group))

    with _one_thread_a_group(device), ThreadPoolExecutor(threads if device == "cpu" else 1) as jobs:
        what = f"b = {batch_size}: groups of {sizes[0]} replicas"
        groups = range(len(sizes))
        results = list(progress(jobs.map(run, groups), len(sizes), what))
    block = pooled(results, sizes)
    report_divergence(block, n_replicas, batch_size)
    return block


def group_sizes(n_replicas: int, at_once: int) -> list[int]:
    """Sizes of even groups of at most ``at_once`` replicas, but of at least 2.

    Raises ValueError if there are fewer than 2 replicas, for which there is no variance.
    """
    if n_replicas < 2 or at_once < 2:
        raise ValueError(f"a variance needs 2 replicas, got {n_replicas}, {at_once} at once")
    n_groups = min(-(-n_replicas // at_once), n_replicas // 2)
    small, larger = divmod(n_replicas, n_groups)
    return [small + 1] * larger + [small] * (n_groups - larger)


def pooled(results: Sequence[BlockResult], sizes: Sequence[int]) -> BlockResult:
    """Merge groups that trained ``sizes`` replicas each into one block.

    A step at which a replica of any group had diverged has missing numbers. ``sq_norm_of_mean`` is
    the groups' mean, so ``mean_sq_norm - sq_norm_of_mean`` remains the mean squared deviation.
    """
    frames = [result.statistics for result in results]
    with np.errstate(over="ignore", invalid="ignore"):  # a replica about to diverge
        merged = pool([contributions_of(frame) for frame in frames])
    shares = np.asarray(sizes) / np.sum(sizes)

    def average(column: str) -> Floats:
        return np.asarray(shares @ np.stack([frame[column] for frame in frames]))

    def total(column: str) -> NDArray[np.generic]:
        return np.asarray(np.sum([frame[column] for frame in frames], axis=0))

    statistics = frames[0].assign(
        n_replicas=merged.n_replicas,
        dof=merged.dof,
        n_diverged=total("n_diverged"),
        mean_sq_norm=average("mean_sq_norm"),
        sq_norm_of_mean=average("sq_norm_of_mean"),
        sum_sq_dev=total("sum_sq_dev"),
        conditional_variance=average("conditional_variance"),
        contribution_mean=merged.mean,
        contribution_m2=merged.m2,
        contribution_m3=merged.m3,
        contribution_max=merged.max,
    )
    offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    divergence = pd.concat(
        [
            result.divergence.assign(replica=result.divergence["replica"] + offset)
            for result, offset in zip(results, offsets, strict=True)
        ],
        ignore_index=True,
    )
    return BlockResult(statistics[SCHEMAS["statistics"].names], divergence)


def _group(
    weights: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    learning_rates: Floats,
    batch_size: int,
    n_replicas: int,
    stream: np.random.SeedSequence,
) -> BlockResult:
    w1, w2, teacher = weights
    stack = TwoLayerReplicas(w1, w2, teacher, n_replicas)
    generator = torch.Generator(w1.device).manual_seed(torch_seed(stream))
    form = stack.preferred_form(batch_size)
    sampler = GaussianSampler(w1.shape[1], batch_size, n_replicas, generator, form, w1.dtype)
    records = train(stack, sampler, batch_size, learning_rates.tolist(), _STEPS_PER_RECORD)
    return summarise_records(records, n_replicas)


def _child(stream: np.random.SeedSequence, group: int) -> np.random.SeedSequence:
    """Child number ``group`` of ``stream``; unlike ``spawn`` this leaves ``stream`` unchanged."""
    return np.random.SeedSequence(
        stream.entropy, spawn_key=(*stream.spawn_key, group), pool_size=stream.pool_size
    )


@contextmanager
def _one_thread_a_group(device: str) -> Iterator[None]:
    """Keep torch and BLAS to one thread inside: groups run side by side instead.

    No value depends on how many do. Torch's setting belongs to the calling thread; both are put
    back.
    """
    if device != "cpu":
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)
