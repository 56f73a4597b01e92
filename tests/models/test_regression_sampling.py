"""Linear regression on mini-batches drawn in every way, against the enumeration of all draws."""

from collections.abc import Callable, Iterator
from itertools import combinations, permutations, product
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from pandas.testing import assert_frame_equal

from blocks import regression
from pipeline_lib.artifacts.checkpoint import Checkpoint, StoppedError
from pipeline_lib.artifacts.state_archive import State
from pipeline_lib.estimation.statistics import FULL, STOCHASTIC
from pipeline_lib.sampling.names import FINITE, IN_EPOCHS, Sampling
from pipeline_lib.seeding import seed_sequence
from pipeline_lib.study.optimizers import PLAIN_SGD, Adam, Optimizer, Sgd
from pipeline_lib.study.settings import Clipping
from pipeline_lib.training.loop import Recording, TorchRun
from pipeline_lib.training.steps import StepPlan

N, P, B = 5, 2, 2
RATES = np.array([0.5, 0.4, 0.3, 0.2])
EVERY = pytest.mark.parametrize("sampling", FINITE)
BACKEND = pytest.mark.parametrize("backend", ["numba", "torch"])


def problem() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    return rng.standard_normal((N, P)), rng.standard_normal(N), rng.standard_normal(P)


def draws(sampling: Sampling, steps: int) -> Iterator[list[tuple[int, ...]]]:
    """All equally likely sequences of mini-batches; two make an epoch, which leaves one example."""
    if sampling == "fresh":
        yield from (list(one) for one in product(combinations(range(N), B), repeat=steps))
    elif sampling == "with_replacement":
        yield from (list(one) for one in product(product(range(N), repeat=B), repeat=steps))
    elif sampling == "shuffled_once":
        for order in permutations(range(N)):
            yield ([order[:2], order[2:4]] * steps)[:steps]
    else:
        for orders in product(permutations(range(N)), repeat=-(-steps // 2)):
            yield [part for order in orders for part in (order[:2], order[2:4])][:steps]


def enumerated(sampling: Sampling, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """var(g_t | F_0) and var(grad L(w_t) | F_0), (steps,) each."""
    x, y, w0 = problem()
    batches = np.array(list(draws(sampling, steps)))  # (sequences, steps, b)
    w = np.tile(w0, (len(batches), 1))
    stochastic, full = [], []
    for t in range(steps):
        chosen, target = x[batches[:, t]], y[batches[:, t]]
        residual = np.einsum("sbp,sp->sb", chosen, w) - target
        g = np.einsum("sbp,sb->sp", chosen, residual) / B
        gradient = (w @ x.T - y) @ x / N
        stochastic.append(g.var(axis=0).sum())
        full.append(gradient.var(axis=0).sum())
        w = w - RATES[t] * g
    return np.array(stochastic), np.array(full)


def plan(
    sampling: Sampling,
    n_replicas: int,
    steps: int = len(RATES),
    optimizer: Optimizer = PLAIN_SGD,
    clipping: Clipping | None = None,
) -> StepPlan:
    stream = seed_sequence(5, "batches")
    return StepPlan(RATES[:steps], B, n_replicas, stream, sampling, optimizer, clipping)


@BACKEND
@EVERY
def test_both_estimates_are_those_of_the_enumeration(sampling: Sampling, backend: str) -> None:
    # Orders of two epochs are 14,400; three draws with replacement 15,625.
    steps = 3 if sampling in ("fresh", "with_replacement") else 4
    table = regression(problem(), plan(sampling, 20_000, steps), backend, threads=2).statistics
    for quantity, exact in zip((STOCHASTIC, FULL), enumerated(sampling, steps), strict=True):
        for estimator in ("sample", "rao_blackwell")[: 1 + (quantity == STOCHASTIC)]:
            keep = (table["quantity"] == quantity) & (table["estimator"] == estimator)
            rows = table[keep].sort_values("step")
            n = rows["n_replicas"].to_numpy()
            error = np.sqrt(rows["contribution_m2"].to_numpy() / (n * (n - 1)))
            found = rows["contribution_mean"].to_numpy()
            # At t = 0 all runs share their weights, and the conditional variance is the exact one.
            assert_allclose(found[error < 1e-14], exact[error < 1e-14], rtol=1e-10, atol=1e-14)
            noisy = error >= 1e-14
            assert (np.abs(found - exact)[noisy] < 5 * error[noisy]).all()
            assert (error[noisy] < 0.05 * exact[noisy]).all(), "this many runs see something"


@EVERY
def test_a_run_whose_past_is_averaged_over_is_never_worth_less(sampling: Sampling) -> None:
    table = regression(problem(), plan(sampling, 20_000)).statistics
    table = table[table["quantity"] == STOCHASTIC]
    spread = table.pivot(index="step", columns="estimator", values="contribution_m2")
    assert spread["rao_blackwell"][0] < 1e-12 * spread["sample"][0]
    conditional = table.pivot(index="step", columns="estimator", values="conditional_variance")
    known = conditional["sample"] == 0  # given the first epoch nothing is left to average over
    assert list(known[known].index) == ([2, 3] if sampling == "shuffled_once" else [])
    assert_allclose(spread["rao_blackwell"][known], spread["sample"][known], rtol=1e-9)
    assert (spread["rao_blackwell"][~known] < spread["sample"][~known]).all()


@pytest.mark.parametrize("threads", [2, 3])
@EVERY
def test_threads_and_chunks_change_no_number(
    sampling: Sampling, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = regression(problem(), plan(sampling, 7)).statistics
    monkeypatch.setattr("pipeline_lib.models.linear_regression.block.CHUNK_BYTES", 1)
    parts = regression(problem(), plan(sampling, 7), threads=threads).statistics
    assert_frame_equal(parts, whole, check_exact=True)


class Stopping(Checkpoint):
    """Stops at the first opportunity."""

    def save_if_due(self, state: Callable[[], State]) -> bool:
        self.save(state())
        raise StoppedError("stopped")


UPDATES = {
    "plain": (PLAIN_SGD, None),
    "momentum": (Sgd(momentum=0.9), None),
    "adam, clipped": (Adam(), Clipping(0.1, "whole")),
}


@pytest.mark.parametrize("updates", UPDATES.values(), ids=UPDATES.keys())
@BACKEND
@EVERY
def test_a_stopped_block_goes_on_bit_for_bit(
    sampling: Sampling,
    backend: str,
    updates: tuple[Optimizer, Clipping | None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipeline_lib.models.linear_regression.block.CHUNK_BYTES", 1)
    monkeypatch.setattr(TorchRun.__init__, "__defaults__", (Recording(1), None))  # a record a step
    of = plan(sampling, 6, optimizer=updates[0], clipping=updates[1])
    whole = regression(problem(), of, backend)
    path = tmp_path / "state.zip"
    for _ in range(len(RATES) - 1):
        with pytest.raises(StoppedError), Stopping(path, {}) as checkpoint:
            regression(problem(), of, backend, checkpoint=checkpoint)
    with Checkpoint(path, {}) as checkpoint:
        assert checkpoint.load()["step"] == len(RATES) - 1
        parts = regression(problem(), of, backend, checkpoint=checkpoint)
    assert_frame_equal(parts.statistics, whole.statistics, check_exact=True)


@BACKEND
@EVERY
def test_runs_tell_the_gradient_noise_scale(sampling: Sampling, backend: str) -> None:
    """Its parts are those of all examples, however mini-batches are drawn."""
    noise = regression(problem(), plan(sampling, 4000, steps=3), backend).noise
    if backend == "numba" and sampling not in IN_EPOCHS:
        assert noise.empty  # the theory has exact values
        return
    x, y, w0 = problem()
    batches = np.array(list(draws(sampling, 3)))
    w = np.tile(w0, (len(batches), 1))
    for t, row in enumerate(noise.sort_values("step").itertuples()):
        gradients = x * (w @ x.T - y)[:, :, None]  # (sequences, N, P)
        parts = {
            "trace": gradients.var(axis=1, ddof=1).sum(axis=1),
            "sq_gradient": (gradients.mean(axis=1) ** 2).sum(axis=1),
        }
        for name, values in parts.items():
            error = values.std() / np.sqrt(row.n_replicas) + 1e-12 * values.mean()
            assert abs(getattr(row, name) - values.mean()) < 4 * error
        chosen = batches[:, t]
        drawn = np.take_along_axis(gradients, chosen[:, :, None], axis=1).mean(axis=1)
        w = w - RATES[t] * drawn
