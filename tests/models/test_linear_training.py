"""SGD on linear regression: both backends against plain loops, autograd and exact theory."""

import logging
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import numpy as np
import pytest
import torch
from pandas.testing import assert_frame_equal

from blocks import regression
from pipeline_lib.artifacts.files import read_table, write_table
from pipeline_lib.artifacts.schemas import SCHEMAS
from pipeline_lib.estimation.inference import holm, p_value
from pipeline_lib.estimation.statistics import Summary
from pipeline_lib.models.linear_regression import block as blocks
from pipeline_lib.models.linear_regression.block import regression_block
from pipeline_lib.models.linear_regression.design import RegressionDesign
from pipeline_lib.models.linear_regression.kernel import (
    KernelState,
    advance,
    draw_batches,
    identity_orders,
)
from pipeline_lib.models.linear_regression.replicas import LinearReplicas
from pipeline_lib.sampling.subsets import ExampleBatch
from pipeline_lib.seeding import replica_states, seed_sequence
from pipeline_lib.study.block import Hardware
from pipeline_lib.theory.linear_regression import conditional_variance, exact_moments
from pipeline_lib.training.loop import Recording, train
from pipeline_lib.training.steps import StepPlan

BACKENDS = ["numba", "torch"]
STOCHASTIC, FULL = "stochastic_gradient", "full_gradient"
ESTIMATES = [(STOCHASTIC, "sample"), (STOCHASTIC, "rao_blackwell"), (FULL, "sample")]


def problem(n, p, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p)) + 0.3
    return x, rng.normal(size=n), rng.normal(size=p)


def rates_of(steps):
    return 0.3 / (np.arange(steps) + 1)


def stream(seed=0):
    return seed_sequence(seed, "batches", "test")


def same_batches(n, b, steps, replicas, sequence):
    """The kernel's mini-batches (T, R, b); beyond n/2 it draws the examples left out."""
    complement = b > n - b
    drawn = np.empty((steps, replicas, n - b if complement else b), dtype=np.int32)
    draw_batches(identity_orders(replicas, n), replica_states(sequence, replicas), drawn)
    if not complement:
        return drawn.astype(np.int64)
    chosen = np.ones((steps, replicas, n), dtype=bool)
    np.put_along_axis(chosen, drawn.astype(np.int64), False, axis=2)
    return np.nonzero(chosen)[2].reshape(steps, replicas, b)


def plain_sgd(x, y, w0, rates, batches):
    """Straight from the definitions: g and the full gradient (T, R, p), var(g | F_t) (T, R)."""
    n, (steps, replicas, b) = len(y), batches.shape
    stochastic = np.empty((steps, replicas, len(w0)))
    full, conditional = np.empty_like(stochastic), np.empty((steps, replicas))
    for r in range(replicas):
        w = w0.copy()
        for t in range(steps):
            per_example = (x @ w - y)[:, None] * x
            gradient = per_example.mean(axis=0)
            spread = np.square(per_example - gradient).sum(axis=1).mean()
            g = per_example[batches[t, r]].mean(axis=0)
            stochastic[t, r], full[t, r] = g, gradient
            conditional[t, r] = (n - b) / (b * (n - 1)) * spread
            w = w - rates[t] * g
    return stochastic, full, conditional


def kernel(x, y, w0, rates, b, replicas, sequence, threads=1):
    state = KernelState.start(w0, replica_states(sequence, replicas), len(y))
    with ThreadPoolExecutor(threads) as pool:
        return advance(RegressionDesign.of(x, y), b, rates, state, pool, threads)


def rows(table, quantity, estimator, column="contribution_mean"):
    """One column of one estimate, in the order of steps."""
    mine = table[(table["quantity"] == quantity) & (table["estimator"] == estimator)]
    assert mine["step"].is_monotonic_increasing
    return mine[column].to_numpy()


N, P, STEPS, REPLICAS = 21, 4, 12, 5


def plan_of(b, rates=None, replicas=REPLICAS, seed=0):
    return StepPlan(rates_of(STEPS) if rates is None else rates, b, replicas, stream(seed))


@pytest.mark.parametrize("b", [1, 2, 10, 11, 17, 20, 21])
def test_kernel_equals_a_plain_loop(b):
    x, y, w0 = problem(N, P)
    rates = rates_of(STEPS)
    found = kernel(x, y, w0, rates, b, REPLICAS, stream())
    expected = plain_sgd(x, y, w0, rates, same_batches(N, b, STEPS, REPLICAS, stream()))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, 1e-12, 1e-13 * np.abs(other).max())
    assert (expected[2] > 0).all() == (b < N)


@pytest.mark.parametrize("b", [3, 16])
def test_statistics_of_a_block_equal_a_plain_loop(b):
    x, y, w0 = problem(N, P)
    rates = rates_of(STEPS)
    block = regression_block(x, y, w0, plan_of(b, rates))
    g, full, conditional = plain_sgd(x, y, w0, rates, same_batches(N, b, STEPS, REPLICAS, stream()))
    assert len(block.divergence) == 0
    table = block.statistics
    for quantity, estimator in ESTIMATES:
        vectors = g if quantity == STOCHASTIC else full
        deviations = np.square(vectors - vectors.mean(axis=1, keepdims=True)).sum(axis=2)
        y_r = deviations * REPLICAS / (REPLICAS - 1)
        if estimator == "rao_blackwell":
            full_deviations = np.square(full - full.mean(axis=1, keepdims=True)).sum(axis=2)
            y_r = conditional + full_deviations * REPLICAS / (REPLICAS - 1)
        centred = y_r - y_r.mean(axis=1, keepdims=True)
        expected = {
            "step": np.arange(STEPS),
            "n_replicas": np.full(STEPS, REPLICAS),
            "dof": np.full(STEPS, REPLICAS - 1),
            "n_diverged": np.zeros(STEPS),
            "mean_sq_norm": np.square(vectors).sum(axis=2).mean(axis=1),
            "sq_norm_of_mean": np.square(vectors.mean(axis=1)).sum(axis=1),
            "sum_sq_dev": deviations.sum(axis=1),
            "contribution_mean": y_r.mean(axis=1),
            "contribution_m2": np.square(centred).sum(axis=1),
            "contribution_m3": (centred**3).sum(axis=1),
            "contribution_max": y_r.max(axis=1),
        }
        for column, values in expected.items():
            found = rows(table, quantity, estimator, column).astype(float)
            tolerance = 1e-13 * np.abs(values).max()
            np.testing.assert_allclose(found, values, 1e-10, tolerance, err_msg=column)
        shown = rows(table, quantity, estimator, "conditional_variance")
        if quantity == STOCHASTIC:
            np.testing.assert_allclose(shown, conditional.mean(axis=1), 1e-12)
        else:
            assert np.isnan(shown).all()
    # Replicas share the initial weights, so their first full gradients agree exactly.
    assert rows(table, FULL, "sample")[0] == 0
    assert len(table) == len(ESTIMATES) * STEPS
    assert set(table["tensor"]) == {"all"}
    assert table["epoch"].isna().all()


def replicas_at(x, y, weights):
    stack = LinearReplicas(RegressionDesign.of(x, y), torch.zeros(x.shape[1]).double(), 1)
    stack.parameters["weights"] = torch.as_tensor(weights)
    return stack


@pytest.mark.parametrize("b", [1, 6, 15])
def test_torch_model_equals_a_plain_loop_and_autograd(b):
    x, y, w0 = problem(N, P)
    rates = rates_of(STEPS)
    batches = same_batches(N, b, STEPS, REPLICAS, stream())
    g, full, conditional = plain_sgd(x, y, w0, rates, batches)
    weights = torch.as_tensor(w0).repeat(REPLICAS, 1)
    xs, ys = torch.as_tensor(x), torch.as_tensor(y)
    for t in range(STEPS):
        stack = replicas_at(x, y, weights.numpy())
        found = stack.gradients(ExampleBatch(torch.as_tensor(batches[t])))["weights"].numpy()
        np.testing.assert_allclose(found, g[t], 1e-12, 1e-13)
        np.testing.assert_allclose(stack.full_gradients()["weights"], full[t], 1e-12, 1e-13)
        np.testing.assert_allclose(stack.conditional_variance(b)["weights"], conditional[t], 1e-12)
        for r in range(REPLICAS):
            w = weights[r].clone().requires_grad_()
            for chosen, expected in (
                (torch.as_tensor(batches[t, r]), found[r]),
                (slice(None), full[t, r]),
            ):
                loss = 0.5 * (xs[chosen] @ w - ys[chosen]).square().mean()
                (gradient,) = torch.autograd.grad(loss, w)
                np.testing.assert_allclose(gradient, expected, 1e-12, 1e-13)
        weights = weights - rates[t] * torch.as_tensor(found)


@pytest.mark.parametrize("b", range(1, 7))
def test_conditional_variance_equals_the_mean_over_every_batch(b):
    x, y, _ = problem(6, 3)
    weights = np.random.default_rng(1).normal(size=(4, 3))
    stack = replicas_at(x, y, weights)
    full = stack.full_gradients()["weights"].numpy()
    every = []
    for batch in combinations(range(6), b):
        repeated = torch.tensor(batch).repeat(len(weights), 1)
        every.append(stack.gradients(ExampleBatch(repeated))["weights"].numpy())
    brute = np.square(np.array(every) - full).sum(axis=2).mean(axis=0)
    np.testing.assert_allclose(np.mean(every, axis=0), full, 1e-12, 1e-14)
    found = stack.conditional_variance(b)["weights"].numpy()
    np.testing.assert_allclose(found, brute, 1e-12, 1e-28)
    np.testing.assert_allclose(found, conditional_variance(x, y, weights, b), 1e-12, 1e-28)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_perfect_fit_has_no_negative_conditional_variance(backend):
    for seed in range(20):
        x, _, w = problem(20, 3, seed)
        block = regression((x, x @ w, w), plan_of(5, rates_of(2), 3), backend)
        estimate = rows(block.statistics, STOCHASTIC, "rao_blackwell")
        assert (estimate >= 0).all()


@pytest.mark.parametrize("replicas", [2, 5, 64])
def test_threads_change_nothing(replicas):
    plan = plan_of(4, replicas=replicas)
    tables = [
        regression_block(*problem(N, P), plan, Hardware(threads=k)).statistics for k in (1, 2, 3, 7)
    ]
    for table in tables[1:]:
        assert_frame_equal(table, tables[0], check_exact=True)


@pytest.mark.parametrize("steps_at_once", [1, 5, 7])
def test_chunks_of_steps_change_nothing(steps_at_once, monkeypatch):
    arguments = (*problem(N, P), plan_of(15))
    whole = regression_block(*arguments)
    monkeypatch.setattr(blocks, "CHUNK_BYTES", steps_at_once * 16 * REPLICAS * P)
    parts = regression_block(*arguments)
    assert_frame_equal(parts.statistics, whole.statistics, check_exact=True)
    huge = (*problem(N, P), plan_of(3, np.full(200, 40.0)))
    diverged = regression_block(*huge)
    monkeypatch.undo()
    assert len(diverged.divergence) == REPLICAS
    assert_frame_equal(diverged.statistics, regression_block(*huge).statistics, check_exact=True)
    assert_frame_equal(diverged.divergence, regression_block(*huge).divergence)


def test_records_of_any_length_hold_the_same_torch_run():
    x, y, w0 = problem(N, P)
    drawn = torch.as_tensor(same_batches(N, 4, STEPS, REPLICAS, stream()))
    batches = [ExampleBatch(of_step) for of_step in drawn]
    runs = []
    for steps_per_record in (1, 5, 64):
        source = iter(batches)
        stack = LinearReplicas(RegressionDesign.of(x, y), torch.as_tensor(w0), REPLICAS)
        records = train(
            stack, lambda s=source: next(s), 4, rates_of(STEPS), Recording(steps_per_record)
        )
        summary = Summary(REPLICAS)
        for record in records:
            summary.add(record)
        runs.append(summary.tables()["statistics"])
        assert next(source, None) is None  # a batch a step
    assert_frame_equal(runs[0], runs[1], check_exact=True)
    assert_frame_equal(runs[0], runs[2], check_exact=True)
    # Fed with the kernel's mini-batches, torch gives the kernel's numbers.
    compiled = regression_block(x, y, w0, plan_of(4)).statistics
    assert_frame_equal(runs[0], compiled, check_exact=False, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_seed_fixes_the_tables(backend):
    def table(seed):
        return regression(problem(N, P), plan_of(4, seed=seed), backend).statistics

    assert_frame_equal(table(0), table(0), check_exact=True)
    other = rows(table(1), STOCHASTIC, "sample")
    assert (other != rows(table(0), STOCHASTIC, "sample")).all()


def test_the_inputs_are_left_alone():
    x, y, w0 = problem(N, P)
    copies = [a.copy() for a in (x, y, w0)]
    for backend in BACKENDS:
        regression((x, y, w0), plan_of(4, rates_of(3), 3), backend)
    for before, after in zip(copies, (x, y, w0), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_whole_batch_has_no_variance(backend):
    table = regression(problem(N, P), plan_of(N), backend).statistics
    for column in ("contribution_mean", "contribution_m2", "contribution_max", "sum_sq_dev"):
        assert (table[column] == 0).all(), column
    assert (rows(table, STOCHASTIC, "sample", "conditional_variance") == 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_whole_batch_is_gradient_descent(backend):
    x, y, w0 = problem(N, P)
    table = regression((x, y, w0), plan_of(N), backend).statistics
    w, expected = w0, []
    for rate in rates_of(STEPS):
        gradient = x.T @ (x @ w - y) / N
        expected.append(gradient @ gradient)
        w = w - rate * gradient
    for quantity, estimator in ESTIMATES:
        for column in ("mean_sq_norm", "sq_norm_of_mean"):
            found = rows(table, quantity, estimator, column)
            np.testing.assert_allclose(found, expected, 1e-11)
        assert (rows(table, quantity, estimator) < 1e-28).all()


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_batch_above_the_rows_leaves_empty_tables(device, caplog, tmp_path):
    """Also without a CUDA device: nothing is trained."""
    plan = plan_of(N + 1, rates_of(3))
    block = regression_block(*problem(N, P), plan, Hardware(device))
    assert f"b = {N + 1} is above the {N} rows" in caplog.text
    for kind in ("statistics", "divergence"):
        table = getattr(block, kind)
        assert len(table) == 0
        assert list(table.columns) == SCHEMAS[kind].names
        write_table(tmp_path / kind, table, kind)
        assert len(read_table(tmp_path / kind, kind)) == 0


def test_one_replica_is_refused():
    for backend in BACKENDS:
        with pytest.raises(ValueError, match="at least 2"):
            regression(problem(N, P), plan_of(4, rates_of(3), 1), backend)


NUMBERS = SCHEMAS["statistics"].names[SCHEMAS["statistics"].names.index("mean_sq_norm") :]


@pytest.mark.parametrize("backend", BACKENDS)
def test_diverged_replicas_are_counted_and_never_averaged(backend, caplog, tmp_path):
    x, y, w0 = problem(N, P)
    rates = np.full(150, 40.0)
    block = regression((x, y, w0), plan_of(3, rates), backend)
    table, lost = block.statistics, block.divergence
    assert lost["replica"].tolist() == list(range(REPLICAS))
    assert 0 < lost["step"].min() < lost["step"].max() < 150
    if backend == "numba":
        batches = same_batches(N, 3, 150, REPLICAS, stream())
        with np.errstate(over="ignore", invalid="ignore"):
            g = plain_sgd(x, y, w0, rates, batches)[0]
            finite = np.isfinite(np.square(g).sum(axis=2))
        assert lost["step"].tolist() == (~finite).argmax(axis=0).tolist()
    for estimate in ESTIMATES:
        steps = rows(table, *estimate, "step")
        counted = rows(table, *estimate, "n_diverged")
        expected = (lost["step"].to_numpy()[None, :] <= steps[:, None]).sum(axis=1)
        assert counted.tolist() == expected.tolist()
    gone = table["n_diverged"] > 0
    assert (gone == (table["step"] >= lost["step"].min())).all()
    assert table.loc[gone, NUMBERS].isna().all(axis=None)
    # The numbers that do not overflow on their own are there until then.
    assert np.isfinite(table.loc[~gone, ["contribution_mean", "sum_sq_dev"]]).all(axis=None)
    assert np.isfinite(
        table.loc[table["step"] < 20, [n for n in NUMBERS if not n.startswith("conditional")]]
    ).all(axis=None)
    (record,) = [r for r in caplog.records if "diverged" in r.message]
    assert record.levelno == logging.WARNING
    assert f"{REPLICAS} of {REPLICAS} replicas diverged" in record.message
    assert f"the first at step {lost['step'].min()};" in record.message
    write_table(tmp_path / "s", table, "statistics")
    write_table(tmp_path / "d", lost, "divergence")
    assert read_table(tmp_path / "d", "divergence").to_dict("list") == lost.to_dict("list")


def test_nothing_is_logged_where_nothing_diverges(caplog):
    regression_block(*problem(N, P), plan_of(4, rates_of(3), 3))
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


SIZES = (1, 3, 10, 11, 17)


def comparisons(backend, replicas, steps, shift=0):
    """Holm-adjusted p-values of every estimate against theory at batch sizes b + ``shift``."""
    x, y, w0 = problem(20, 3, seed=4)
    rates = rates_of(steps)
    p_values = []
    for j, b in enumerate(SIZES):
        truth = exact_moments(x, y, w0, rates, [b + shift])
        plan = plan_of(b, rates, replicas, seed=b)
        table = regression((x, y, w0), plan, backend).statistics
        for quantity, estimator in ESTIMATES:
            exact = getattr(truth, quantity)[:, 0]
            columns = [
                rows(table, quantity, estimator, f"contribution_{name}")
                for name in ("mean", "m2", "m3")
            ]
            random = np.ones(steps, dtype=bool)
            if (quantity, estimator) != (STOCHASTIC, "sample"):
                # At the common initial weights these two are not random.
                random[0] = False
                if not shift:
                    np.testing.assert_allclose(columns[0][0], exact[0], 1e-12)
            mean, m2, m3 = (column[random] for column in columns)
            p_values.append(p_value(replicas, mean, m2, m3, exact[random]))
        assert len(p_values) == 3 * (j + 1)
    return holm(np.concatenate(p_values))


@pytest.mark.parametrize(("backend", "replicas", "steps"), [("numba", 2000, 10), ("torch", 800, 6)])
def test_both_estimators_agree_with_exact_theory(backend, replicas, steps):
    adjusted = comparisons(backend, replicas, steps)
    assert adjusted.size == len(SIZES) * (3 * steps - 2)
    assert adjusted.min() > 0.001


def test_the_comparison_with_theory_has_power():
    """Theory of batches larger by one example is refused."""
    assert comparisons("numba", 2000, 10, shift=1).min() < 1e-6


def test_rao_blackwell_is_the_more_precise_estimator():
    plan = plan_of(3, rates_of(10), 2000)
    table = regression_block(*problem(20, 3, seed=4), plan).statistics
    m2 = [rows(table, STOCHASTIC, e, "contribution_m2") for e in ("rao_blackwell", "sample")]
    assert (m2[0] < m2[1]).all()


def test_backends_leave_tables_of_one_structure():
    one, two = (
        regression(problem(N, P), plan_of(4, rates_of(70)), backend).statistics
        for backend in BACKENDS
    )
    assert one.dtypes.equals(two.dtypes)
    keys = ["step", "epoch", "quantity", "tensor", "estimator", "n_replicas", "dof", "n_diverged"]
    assert_frame_equal(one[keys], two[keys])
    assert one.isna().equals(two.isna())
    assert not np.array_equal(one["contribution_mean"], two["contribution_mean"])


def test_design_matrices_are_their_definitions():
    x, y, w = problem(7, 2)
    design = RegressionDesign.of(x, y)
    v = np.append(w, 1.0)
    per_example = (x @ w - y)[:, None] * x
    np.testing.assert_allclose(design.gradient_map.T @ v, per_example.mean(axis=0), 1e-13)
    spread = np.sum((design.dispersion_root @ v) ** 2)
    np.testing.assert_allclose(spread, per_example.var(axis=0).sum(), 1e-12)
