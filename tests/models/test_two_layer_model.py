"""The two-layer linear network against autograd, exact variances, and training in one piece."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from pydantic import TypeAdapter
from scipy import stats
from torch import Tensor

import pipeline_lib
from pipeline_lib.artifacts.block_tables import BlockTables
from pipeline_lib.artifacts.files import read_table, write_table
from pipeline_lib.estimation.inference import sidak_level, variance_interval
from pipeline_lib.estimation.pooling import group_sizes, pooled
from pipeline_lib.estimation.statistics import ALL, FULL, STOCHASTIC, GradientRecord
from pipeline_lib.estimation.variance import pool, sample_contributions, summarise, vector_moments
from pipeline_lib.models.linear_network import block as network_block
from pipeline_lib.models.linear_network.block import (
    Grouping,
    KernelRun,
    Network,
    linear_network_block,
)
from pipeline_lib.models.linear_network.deep import DeepLinearReplicas
from pipeline_lib.models.linear_network.student import Student
from pipeline_lib.models.linear_network.two_layer import (
    TwoLayerReplicas,
    multiplications,
    preferred_form,
    reduce_hidden,
)
from pipeline_lib.sampling.gaussian import GaussianSampler, Inputs, SecondMoment, second_moment
from pipeline_lib.seeding import seed_sequence
from pipeline_lib.study.block import CPU, Hardware
from pipeline_lib.study.optimizers import OPTIMIZERS, AnyOptimizer, Optimizer
from pipeline_lib.theory import two_layer as theory
from pipeline_lib.training.loop import Recording, train
from pipeline_lib.training.replica_moments import gradient_moments, sq_norms
from pipeline_lib.training.steps import StepPlan
from pipeline_lib.training.update import Update

P, HIDDEN, P2 = 5, 16, 7  # the hidden layer is wider than P + P2
PARTS = ("W1", "W2")


def network(
    p: int = P, hidden: int = HIDDEN, p2: int = P2, scale: float = 0.5, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """W1, W2 and T, float64, with entries N(0, scale^2 / fan-in) as in the study."""
    rng = np.random.default_rng(seed)

    def layer(rows: int, columns: int) -> Tensor:
        return torch.from_numpy(scale * rng.standard_normal((rows, columns)) / columns**0.5)

    return layer(hidden, p), layer(p2, hidden), layer(p2, hidden) @ layer(hidden, p)


def inputs(n_replicas: int, b: int, p: int = P, seed: int = 1) -> Inputs:
    generator = torch.Generator().manual_seed(seed)
    return Inputs(torch.randn(n_replicas, b, p, generator=generator, dtype=torch.float64))


def spread(stack: TwoLayerReplicas, seed: int = 2) -> TwoLayerReplicas:
    """``stack`` with weights that differ between replicas, as after some training."""
    generator = torch.Generator().manual_seed(seed)
    for weight in stack.parameters.values():
        noise = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
        weight += 0.1 * noise
    return stack


def by_autograd(stack: TwoLayerReplicas, r: int, x: Tensor) -> list[Tensor]:
    w1, w2 = (stack.parameters[name][r].clone().requires_grad_() for name in PARTS)
    loss = (x @ (w2 @ w1 - stack.teacher).T).square().sum() / (2 * len(x))
    return list(torch.autograd.grad(loss, [w1, w2]))


def run(
    stack: TwoLayerReplicas, batches: list[Inputs], steps_per_record: int = 64
) -> list[GradientRecord]:
    rates = [0.1 / (t + 1) for t in range(len(batches))]
    b = batches[0].x.shape[1]
    return list(train(stack, iter(batches).__next__, b, rates, Recording(steps_per_record)))


def assert_records_close(one: GradientRecord, two: GradientRecord, rtol: float) -> None:
    assert set(one.moments) == set(two.moments)
    for key, moments in one.moments.items():
        other = two.moments[key]
        # Squared deviations cancel from squared norms, so these set the scale of rounding.
        atol = rtol * other.mean_sq_norm.max()
        assert_allclose(moments.mean_sq_norm, other.mean_sq_norm, rtol=rtol)
        assert_allclose(moments.sq_norm_of_mean, other.sq_norm_of_mean, rtol=rtol, atol=atol)
        assert_allclose(moments.sq_deviations, other.sq_deviations, rtol=rtol, atol=atol)
    for tensor, variance in one.conditional.items():
        assert_allclose(variance, two.conditional[tensor], rtol=rtol)


@pytest.mark.parametrize("b", [1, 2, 3, 8])
def test_gradients_equal_autograd(b: int) -> None:
    stack = spread(TwoLayerReplicas(*network(), n_replicas=3))
    batch = inputs(3, b)
    through_inputs = {k: g.clone() for k, g in stack.gradients(batch).items()}
    through_moment = stack.gradients(SecondMoment(second_moment(batch.x)))
    for r in range(3):
        for name, expected in zip(PARTS, by_autograd(stack, r, batch.x[r]), strict=True):
            assert_allclose(through_inputs[name][r], expected, rtol=1e-10, atol=1e-12)
            assert_allclose(through_moment[name][r], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("form", ["inputs", "moment"])
@pytest.mark.parametrize("b", [1, 3, 8])
def test_kernel_and_batched_products_agree(form: str, b: int) -> None:
    """The kernel is what a CPU runs, the batched products are what a GPU runs."""
    n, rates = 4, 0.1 / np.arange(1, 12)
    w1, w2, teacher = network()
    samplers = [
        GaussianSampler(P, b, n, torch.Generator().manual_seed(3), form, torch.float64)  # type: ignore[arg-type]
        for _ in range(2)
    ]
    (by_kernel,) = KernelRun(Network((w1, w2), teacher), samplers[0], rates, n).records(0)
    stack = TwoLayerReplicas(w1, w2, teacher, n)
    (by_products,) = train(stack, samplers[1], b, rates.tolist())
    assert by_kernel.finite.all()
    assert_array_equal(by_kernel.steps, by_products.steps)
    assert_records_close(by_kernel, by_products, rtol=1e-11)


def test_full_gradients_are_those_of_the_population_loss() -> None:
    stack = spread(TwoLayerReplicas(*network(), n_replicas=3))
    full = stack.full_gradients()
    for r in range(3):
        w1, w2 = (stack.parameters[name][r].clone().requires_grad_() for name in PARTS)
        loss = (w2 @ w1 - stack.teacher).square().sum() / 2  # 1/2 E|Ex|^2 with E xxᵀ = I
        for name, expected in zip(PARTS, torch.autograd.grad(loss, [w1, w2]), strict=True):
            assert_allclose(full[name][r], expected, rtol=1e-10, atol=1e-12)


def test_mean_stochastic_gradient_is_the_full_gradient_within_simultaneous_error() -> None:
    n, b = 20_000, 3
    stack = TwoLayerReplicas(*network(), n_replicas=n)
    sampler = GaussianSampler(P, b, n, torch.Generator().manual_seed(5), "inputs", torch.float64)
    gradients = stack.gradients(sampler())
    z = np.concatenate(
        [
            ((g.mean(0) - stack.full_gradients()[name][0]) / g.std(0) * n**0.5).flatten().numpy()
            for name, g in gradients.items()
        ]
    )
    assert np.abs(z).max() < stats.norm.isf((1 - sidak_level(0.999, len(z))) / 2)


def test_products_follow_the_weights_when_they_change() -> None:
    stack = TwoLayerReplicas(*network(), n_replicas=2)
    before = stack.full_gradients()["W1"].clone()
    stack.parameters["W1"].mul_(2)
    w1, w2 = (stack.parameters[name] for name in PARTS)
    assert not torch.equal(stack.full_gradients()["W1"], before)
    assert_allclose(stack.full_gradients()["W1"], w2.mT @ (w2 @ w1 - stack.teacher), rtol=1e-12)
    stack.parameters["W2"] = torch.zeros_like(w2)
    assert_array_equal(stack.full_gradients()["W1"], 0)


def test_conditional_variance_equals_theory() -> None:
    stack = spread(TwoLayerReplicas(*network(), n_replicas=4))
    weights = [stack.parameters[name].numpy() for name in PARTS]
    expected = theory.conditional_variances(*weights, stack.teacher.numpy(), 3)
    for name, variance in zip(PARTS, expected, strict=True):
        assert_allclose(stack.conditional_variance(3)[name], variance, rtol=1e-12)


@pytest.mark.parametrize("b", [1, 4])
def test_conditional_variance_covers_monte_carlo(b: int) -> None:
    n = 40_000
    stack = TwoLayerReplicas(*network(3, 4, 3), n_replicas=n)
    sampler = GaussianSampler(3, b, n, torch.Generator().manual_seed(7), "inputs", torch.float64)
    gradients = stack.gradients(sampler())
    for name, exact in stack.conditional_variance(b).items():
        y = gradient_moments(gradients[name])["sq_deviations"].numpy() * n / (n - 1)
        d = y - y.mean()
        interval = variance_interval(n, y.mean(), (d**2).sum(), (d**3).sum(), sidak_level(0.999, 4))
        assert interval.low < exact[0] < interval.high


@pytest.mark.parametrize("b", [1, 4])
def test_reduced_network_has_the_moments_of_the_full_one(b: int) -> None:
    w1, w2, teacher = network()
    r1, r2 = reduce_hidden(w1, w2)
    assert r1.shape == (P + P2, P)
    assert r2.shape == (P2, P + P2)
    batches = [inputs(6, b, seed=seed) for seed in range(30)]
    full = run(TwoLayerReplicas(w1, w2, teacher, 6), batches)[0]
    reduced = run(TwoLayerReplicas(r1, r2, teacher, 6), batches)[0]
    assert full.finite.all()
    assert_records_close(reduced, full, rtol=1e-10)


def test_a_narrow_hidden_layer_is_left_alone() -> None:
    w1, w2, _ = network(5, 6, 7)
    assert reduce_hidden(w1, w2) == (w1, w2)


def test_float32_agrees_with_float64_on_the_same_batches() -> None:
    n, b, steps = 8, 4, 40
    weights = network(16, 48, 32, scale=0.3)
    batches = [inputs(n, b, 16, seed) for seed in range(steps)]
    exact = run(TwoLayerReplicas(*weights, n), batches)[0]
    single = run(
        TwoLayerReplicas(*(w.float() for w in weights), n), [Inputs(x.x.float()) for x in batches]
    )[0]
    for key, moments in exact.moments.items():
        got = single.moments[key]
        assert_allclose(got.mean_sq_norm, moments.mean_sq_norm, rtol=1e-5)
        # Step 0 of the full gradient has no deviation at all.
        assert_allclose(got.sq_deviations[1:], moments.sq_deviations[1:], rtol=1e-4)
    for tensor, variance in exact.conditional.items():
        assert_allclose(single.conditional[tensor], variance, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(2, 3), (7, 40, 33), (25, 1500)])
def test_moments_in_one_read_equal_numpy(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(3)
    gradients = torch.randn(shape, generator=generator, dtype=dtype) + 2
    expected = vector_moments(gradients.flatten(1).double().numpy())
    got = gradient_moments(gradients)
    rtol = 1e-12 if dtype == torch.float64 else 2e-6
    assert_allclose(got["sq_deviations"], expected.sq_deviations, rtol=rtol)
    assert_allclose(got["sq_norm_of_mean"], expected.sq_norm_of_mean, rtol=rtol)
    assert_allclose(got["sq_norms"].mean(), expected.mean_sq_norm, rtol=rtol)
    assert_allclose(sq_norms(gradients), got["sq_norms"], rtol=rtol)


def test_replicas_that_agree_deviate_by_exactly_zero() -> None:
    row = torch.randn(1, 700, generator=torch.Generator().manual_seed(3))
    assert_array_equal(gradient_moments(row.repeat(9, 1))["sq_deviations"], 0)


@pytest.mark.parametrize("b", [4, 6, 30])
def test_wishart_has_the_law_of_second_moments(b: int) -> None:
    p, n = 4, 20_000
    direct = GaussianSampler(p, b, n, torch.Generator().manual_seed(8), "moment", torch.float64)
    drawn = GaussianSampler(p, b, n, torch.Generator().manual_seed(9), "inputs", torch.float64)
    assert direct.direct
    s = direct().s.numpy()
    batch = drawn()
    assert isinstance(batch, Inputs)
    reference = second_moment(batch.x).numpy()
    assert_array_equal(s, s.swapaxes(1, 2))
    # E S = I and E |S|^2 = p + p(p+1)/b, within simultaneous error.
    squares = (s**2).sum(axis=(1, 2))
    deviations = np.append(
        (s.mean(0) - np.eye(p)) / s.std(0), (squares.mean() - p - p * (p + 1) / b) / squares.std()
    )
    limit = stats.norm.isf((1 - sidak_level(0.999, p * p + 1)) / 2)
    assert np.abs(deviations * n**0.5).max() < limit
    features = [
        lambda m: np.linalg.eigvalsh(m)[:, 0],
        lambda m: np.linalg.eigvalsh(m)[:, -1],
        lambda m: np.trace(m, axis1=1, axis2=2),
        np.linalg.det,
        lambda m: m[:, 3, 1],
    ]
    p_values = [stats.ks_2samp(f(s), f(reference)).pvalue for f in features]
    assert min(p_values) > 1 - sidak_level(0.999, len(features))


def test_moment_form_below_p_is_the_second_moment_of_the_same_inputs() -> None:
    as_inputs, as_moment = (
        GaussianSampler(P, 3, 2, torch.Generator().manual_seed(1), form, torch.float64)
        for form in ("inputs", "moment")
    )
    for _ in range(2):
        batch, moment = as_inputs(), as_moment()
        assert isinstance(batch, Inputs)
        assert isinstance(moment, SecondMoment)
        assert_allclose(moment.s, batch.x.mT @ batch.x / 3, rtol=1e-12)


def test_an_empty_mini_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 example, got 0"):
        GaussianSampler(P, 0, 2, torch.Generator())


def test_form_with_fewer_multiplications_is_preferred() -> None:
    forms = [preferred_form(64, 192, 128, b) for b in (1, 16, 64, 256)]
    assert forms == ["inputs"] * 2 + ["moment"] * 2
    counts = multiplications(64, 192, 128, 16)
    assert counts["inputs"] < counts["moment"]


def test_shapes_that_do_not_fit_are_refused() -> None:
    w1, w2, teacher = network()
    with pytest.raises(ValueError, match=r"expected W1 \(p1, p\)"):
        TwoLayerReplicas(w1, w2, teacher.mT, 2)


def student(*weights: Tensor) -> Student:
    *of_layers, teacher = (w.numpy() for w in weights)
    return Student(tuple(of_layers), teacher)


def plan_of(b: int, n: int = 400, steps: int = 4, seed: int = 11) -> StepPlan:
    return StepPlan(0.1 / np.arange(1, steps + 1), b, n, seed_sequence(seed, "batches", b))


def block(
    plan: StepPlan, scale: float = 0.3, hardware: Hardware = CPU, **grouping: object
) -> BlockTables:
    return linear_network_block(
        student(*network(scale=scale)),
        plan,
        Grouping(**grouping),  # type: ignore[arg-type]
        hardware,
    )


def pick(statistics: pd.DataFrame, **keys: object) -> pd.DataFrame:
    for column, value in keys.items():
        statistics = statistics[statistics[column] == value]
    return statistics


@pytest.mark.slow
@pytest.mark.parametrize("b", [1, 4, 16])
def test_block_at_step_0_and_1_covers_the_exact_variance(b: int, tmp_path) -> None:
    w1, w2, teacher = (w.numpy() for w in network(scale=0.3))
    result = block(plan_of(b, n=2000, steps=2), dtype="float64")
    write_table(tmp_path / "block.parquet", result.statistics, "statistics")
    table = read_table(tmp_path / "block.parquet", "statistics")
    write_table(tmp_path / "divergence.parquet", result.divergence, "divergence")
    level = sidak_level(0.999, 3 * 18)
    for step, exact in enumerate(
        (
            theory.initial_variance(w1, w2, teacher).at(b),
            theory.first_step_variance(w1, w2, teacher, 0.1).at(b),
        )
    ):
        for row in pick(table, step=step).itertuples():
            prefix = "" if row.quantity == STOCHASTIC else "population_"
            layers = ("1", "2") if row.tensor == ALL else row.tensor[1]
            expected = sum(exact[f"{prefix}g{layer}"] for layer in layers)
            mean, m2, m3 = row.contribution_mean, row.contribution_m2, row.contribution_m3
            interval = variance_interval(row.n_replicas, mean, m2, m3, level)
            margin = 1e-12 * expected  # of the estimators without any scatter, at step 0
            assert interval.low - margin <= expected <= interval.high + margin, row
            if step == 0 and row.estimator == "rao_blackwell":
                assert mean == pytest.approx(expected, rel=1e-12)
            if step == 0 and row.quantity == FULL:
                assert mean == 0


@pytest.mark.parametrize("b", [2, 8, 64])
def test_estimators_agree_and_rao_blackwell_is_sharper(b: int) -> None:
    result = block(plan_of(b, n=1000, steps=10))
    table = pick(result.statistics, quantity=STOCHASTIC, tensor=ALL)
    plain, better = (pick(table, estimator=e) for e in ("sample", "rao_blackwell"))
    error = [np.sqrt(t["contribution_m2"].to_numpy()) / 1000 for t in (plain, better)]
    z = (plain["contribution_mean"].to_numpy() - better["contribution_mean"].to_numpy()) / np.hypot(
        *error
    )
    assert np.abs(z).max() < stats.norm.isf((1 - sidak_level(0.999, 3 * 10)) / 2)
    assert (error[1] < error[0]).all()


@pytest.mark.parametrize("compiled", [True, False])
def test_runs_tell_the_gradient_noise_scale(compiled: bool, monkeypatch) -> None:
    if not compiled:
        monkeypatch.setattr(network_block, "has_kernel", lambda tensor: False)
    w1, w2, teacher = (w.numpy() for w in network(scale=0.3))
    of_one = theory.initial_variance(w1, w2, teacher).at(1)
    for b in (1, 8):
        result = block(plan_of(b, n=9, steps=4), replicas_at_once=4, dtype="float64")
        noise = result.noise.set_index(["tensor", "step"])
        assert set(noise.index) == {(w, t) for w in ("W1", "W2", ALL) for t in range(4)}
        assert (noise["n_replicas"] == 9).all()
        # tr Sigma is the variance at b = 1, whatever b; all runs share their first weights.
        exact = {"W1": of_one["g1"], "W2": of_one["g2"], ALL: of_one["g1"] + of_one["g2"]}
        for tensor, expected in exact.items():
            assert noise.loc[tensor, 0]["trace"] == pytest.approx(expected, rel=1e-12)
            assert noise.loc[tensor, 0]["trace_m2"] < 1e-20 * expected**2
        # At any step: b var(g_t | F_t) and |grad L|^2, which the statistics hold too.
        better = pick(result.statistics, quantity=STOCHASTIC, estimator="rao_blackwell")
        full = pick(result.statistics, quantity=FULL)
        for (tensor, step), row in noise.iterrows():
            conditional = pick(better, tensor=tensor, step=step)["conditional_variance"].item()
            assert row["trace"] == pytest.approx(b * conditional, rel=1e-12)
            norm = pick(full, tensor=tensor, step=step)["mean_sq_norm"].item()
            assert row["sq_gradient"] == pytest.approx(norm, rel=1e-12)
            assert step == 0 or row["trace_m2"] > 0


def test_block_pools_its_groups_as_variance_pool_does() -> None:
    w1, w2, teacher = network()
    r1, r2 = reduce_hidden(w1, w2)
    sizes = group_sizes(14, 5)
    assert sizes == [5, 5, 4]
    groups = []
    for child, size in zip(seed_sequence(11, "batches", 3).spawn(3), sizes, strict=True):
        seed = int(child.generate_state(1, np.uint64)[0] >> np.uint64(1))
        sampler = GaussianSampler(
            P, 3, size, torch.Generator().manual_seed(seed), "inputs", torch.float64
        )
        stack = TwoLayerReplicas(r1, r2, teacher, size)
        assert preferred_form(P, P + P2, P2, 3) == "inputs"
        groups.append(next(train(stack, sampler, 3, [0.1, 0.05])).moments[STOCHASTIC, ALL])
    expected = pool([summarise(sample_contributions(m.sq_deviations)) for m in groups])
    result = block(plan_of(3, n=14, steps=2), 0.5, replicas_at_once=5, dtype="float64")
    got = pick(result.statistics, quantity=STOCHASTIC, tensor=ALL, estimator="sample")
    assert_array_equal(got["n_replicas"], 14)
    assert_array_equal(got["dof"], 11)
    assert_allclose(got["contribution_mean"], expected.mean, rtol=1e-12)
    assert_allclose(got["contribution_m2"], expected.m2, rtol=1e-12)
    assert_allclose(got["contribution_m3"], expected.m3, rtol=1e-10)
    assert_allclose(got["contribution_max"], expected.max, rtol=1e-12)
    in_full = sum(m.sq_deviations.sum(axis=-1) for m in groups)
    assert_allclose(got["sum_sq_dev"], in_full, rtol=1e-12)
    difference = got["mean_sq_norm"] - got["sq_norm_of_mean"]
    assert_allclose(difference, got["sum_sq_dev"] / 14, rtol=1e-9)


def test_threads_change_no_value_and_seeds_do() -> None:
    threads = torch.get_num_threads()
    one, two = (block(plan_of(8, n=60), hardware=Hardware(threads=n)) for n in (1, 3))
    pd.testing.assert_frame_equal(one.statistics, two.statistics, check_exact=True)
    assert torch.get_num_threads() == threads
    other = block(plan_of(8, n=60, seed=12))
    assert not other.statistics["mean_sq_norm"].equals(one.statistics["mean_sq_norm"])


FRESH = """
import hashlib
import numpy as np, pandas as pd
from pipeline_lib.models.linear_network.block import linear_network_block
from pipeline_lib.models.linear_network.deep import DeepLinearReplicas
from pipeline_lib.models.linear_network.student import Student
from pipeline_lib.seeding import seed_sequence
from pipeline_lib.training.steps import StepPlan
from pipeline_lib.training.update import Update
rng = np.random.default_rng(0)
w1, w2, teacher = (
    0.05 * rng.standard_normal(shape) for shape in ((256, 64), (128, 256), (128, 64))
)
plan = StepPlan(np.full(20, 0.02), 16, 4, seed_sequence(0, "batches"))
block = linear_network_block(Student((w1, w2), teacher), plan)
hashes = pd.util.hash_pandas_object(block.statistics)
print(hashlib.sha256(hashes.to_numpy().tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_threads_that_blas_would_take_change_no_value() -> None:
    """In a fresh process: here some import has long loaded every BLAS."""
    source = Path(pipeline_lib.__file__).parents[1]
    found = []
    for count in ("1", "2"):
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), count)
        environment = os.environ | threads | {"PYTHONPATH": str(source)}
        command = [sys.executable, "-c", FRESH]
        found.append(subprocess.run(command, env=environment, check=True, capture_output=True))
    assert found[0].stdout == found[1].stdout != b""


def test_a_diverged_replica_leaves_no_estimate(caplog: pytest.LogCaptureFixture) -> None:
    n, steps = 40, 30
    start = student(*network(32, 40, 16, scale=1.0))
    plan = StepPlan(0.1 / np.arange(1, steps + 1), 1, n, seed_sequence(11, "divergence"))
    with caplog.at_level(logging.WARNING):
        result = linear_network_block(start, plan, Grouping(10))
    lost = result.divergence
    assert 0 < len(lost) <= n
    assert lost["replica"].between(0, n - 1).all()
    assert lost["replica"].is_unique
    assert lost["replica"].max() >= 10, "indices count over the whole block"
    assert len([r for r in caplog.records if "diverged" in r.message]) == 1
    first = lost["step"].min()
    numbers = result.statistics.drop(columns=["epoch", "quantity", "tensor", "estimator"])
    after = numbers["step"] >= first
    assert numbers[after].filter(regex="contribution|norm|dev").isna().all(axis=None)
    assert np.isfinite(numbers[~after].filter(regex="contribution_m")).all(axis=None)
    counts = [int((lost["step"] <= step).sum()) for step in range(steps)]
    assert_array_equal(numbers.groupby("step")["n_diverged"].first(), counts)


def test_groups_are_even_and_never_of_one_replica() -> None:
    assert group_sizes(1000, 25) == [25] * 40
    assert group_sizes(3, 2) == [3]
    assert group_sizes(7, 3) == [3, 2, 2]
    with pytest.raises(ValueError, match="needs 2 replicas"):
        group_sizes(1, 25)


def test_pooling_one_group_changes_nothing() -> None:
    result = block(plan_of(4, n=6))
    again = pooled([result], [6])
    pd.testing.assert_frame_equal(again.statistics, result.statistics)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_and_cpu_agree_on_the_same_batches() -> None:
    weights = network(64, 192, 128, scale=0.3)
    batches = [inputs(8, 4, 64, seed) for seed in range(20)]
    on_cpu = run(TwoLayerReplicas(*weights, 8), batches)[0]
    on_gpu = run(
        TwoLayerReplicas(*(w.cuda() for w in weights), 8), [Inputs(x.x.cuda()) for x in batches]
    )[0]
    assert_records_close(on_gpu, on_cpu, rtol=1e-10)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("b", [4, 16])
def test_block_on_cuda_has_the_law_of_the_block_on_cpu(b: int) -> None:
    tables = []
    for device in ("cpu", "cuda"):
        table = block(plan_of(b, n=2000, steps=5), hardware=Hardware(device)).statistics
        tables.append(pick(table, quantity=STOCHASTIC, tensor=ALL, estimator="rao_blackwell"))
    error = np.hypot(*(np.sqrt(t["contribution_m2"].to_numpy()) / 2000 for t in tables))
    difference = tables[0]["contribution_mean"].to_numpy() - tables[1]["contribution_mean"]
    assert (np.abs(difference) <= 4.5 * error + 1e-5 * tables[0]["contribution_mean"]).all()


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_every_optimiser_trains_on_the_gradients_at_the_present_weights(kind: str) -> None:
    """Against the deep stack, which keeps no products from one step to the next."""
    w1, w2, teacher = network()
    optimizer: Optimizer = TypeAdapter(AnyOptimizer).validate_python(
        {"kind": kind, "weight_decay": 0.1}
    )
    stacks = TwoLayerReplicas(w1, w2, teacher, 3), DeepLinearReplicas([w1, w2], teacher, 3)
    updates = [Update(stack.parameters, optimizer) for stack in stacks]
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):
        batch = Inputs(torch.randn(3, 6, P, generator=generator, dtype=torch.float64))
        ours, theirs = (stack.gradients(batch) for stack in stacks)
        full, their_full = (stack.full_gradients() for stack in stacks)
        for name in PARTS:
            assert_allclose(ours[name], theirs[name], rtol=0, atol=1e-12)
            assert_allclose(full[name], their_full[name], rtol=0, atol=1e-12)
        for update, gradients in zip(updates, (ours, theirs), strict=True):
            update.step(gradients, 0.1)
