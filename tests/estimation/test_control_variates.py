"""Control variates of var(g_t | F_t): slopes, mean 0, and what they do to a linear network."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from pipeline_lib.estimation.aggregation import variance_table
from pipeline_lib.estimation.control_variates import controlled, controls, enough_runs
from pipeline_lib.estimation.inference import sidak_level, variance_interval
from pipeline_lib.estimation.statistics import ALL, ALONG, SQUARE, STOCHASTIC
from pipeline_lib.estimation.variance import summarise
from pipeline_lib.models.linear_network import block as network_block
from pipeline_lib.models.linear_network.block import Grouping, linear_network_block
from pipeline_lib.models.linear_network.deep import DeepLinearReplicas
from pipeline_lib.models.linear_network.student import Student
from pipeline_lib.models.linear_network.two_layer import TwoLayerReplicas
from pipeline_lib.sampling.gaussian import GaussianSampler
from pipeline_lib.seeding import seed_sequence
from pipeline_lib.study.optimizers import Sgd
from pipeline_lib.theory import two_layer as theory
from pipeline_lib.training.loop import Recording, train
from pipeline_lib.training.steps import StepPlan

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(7)
PAIR = {(what, name): RNG.standard_normal((6, 100)) for what in (ALONG, SQUARE) for name in "ab"}


def weights(*widths: int, seed: int = 0, scale: float = 0.3) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    sizes = zip(widths[1:], widths[:-1], strict=True)
    return [scale * rng.standard_normal((m, n)) / n**0.5 for m, n in sizes]


def student(*widths: int) -> Student:
    return Student(tuple(weights(*widths)), np.linalg.multi_dot(weights(*widths, seed=1)[::-1]))


def plan_of(b: int, runs: int, steps: int, seed: int = 3) -> StepPlan:
    rates = 0.1 / np.arange(1, steps + 1)
    return StepPlan(rates, b, runs, seed_sequence(seed, "batches", b), "online")


def estimates(statistics: pd.DataFrame, tensor: str = ALL) -> pd.DataFrame:
    table = variance_table({(0, 0): [statistics]}, 0.95)
    chosen = (table["quantity"] == STOCHASTIC) & (table["estimator"] == "rao_blackwell")
    return table[chosen & (table["tensor"] == tensor)].set_index("step")


def test_slopes_are_those_of_all_other_runs():
    values, x = RNG.standard_normal((2, 3, 15)), RNG.standard_normal((4, 3, 15))
    found = controlled(values, x, widening=0)
    for k, t, r in product(range(2), range(3), range(15)):
        others = np.arange(15) != r
        design = np.column_stack([np.ones(14), x[:, t, others].T])
        slopes = np.linalg.lstsq(design, values[k, t, others], rcond=None)[0][1:]
        assert found[k, t, r] == pytest.approx(values[k, t, r] - slopes @ x[:, t, r], rel=1e-9)


def test_what_controls_explain_is_taken_off():
    x = RNG.standard_normal((3, 2, 10))
    noise = 1e-3 * RNG.standard_normal((2, 10))
    values = 5.0 + np.einsum("q,qtr->tr", [1.0, -2.0, 0.5], x)
    assert_allclose(controlled(values + noise, x), 5.0, rtol=1e-2)
    assert_allclose(controlled(values, x), 5.0, rtol=1e-10)


def test_where_rounding_alone_would_be_left_nothing_is_taken_off():
    """One unit a layer and a small rate: the variance is a straight line in the controls."""
    plan = plan_of(4, 100, 3)
    plan = StepPlan(1e-4 * plan.learning_rates, 4, 100, plan.stream, "online")
    tables = [
        linear_network_block(student(1, 1, 1), plan, Grouping(50, "float64", controlled=of))
        for of in (True, False)
    ]
    one, other = (estimates(table.statistics) for table in tables)
    assert one["std_error"].notna().all()
    pd.testing.assert_frame_equal(one.loc[:1], other.loc[:1], check_exact=True)


def test_results_are_spread_by_the_largest_leverage():
    values, x = RNG.standard_normal((4, 20)), RNG.standard_normal((2, 4, 20))
    x[0, 1, 3] = 30.0
    plain, spread = (controlled(values, x, widening=of) for of in (0.0, 0.5))
    assert_allclose(spread.mean(axis=1), plain.mean(axis=1), rtol=1e-12)
    factor = (spread - spread.mean(1, keepdims=True)) / (plain - plain.mean(1, keepdims=True))
    for t in range(4):
        design = x[:, t].T - x[:, t].mean(axis=1)
        leverage = np.diag(design @ np.linalg.pinv(design))
        assert_allclose(factor[t], np.sqrt(1 + leverage.max() / 2), rtol=1e-9)
    assert factor[1, 0] > 1.2


def test_the_expectation_stays_whatever_depends_on_what():
    # Outcomes of one run: v depends on x in no straight line, and x has mean 0. All samples of six
    # runs, each as likely as the others, among them those in which x is constant.
    v, x = np.array([1.0, 4.0, 2.0]), np.array([-3.0, 1.0, 2.0])
    samples = np.array(list(product(range(3), repeat=6)))
    found = controlled(v[samples], x[samples][None])
    assert found.mean() == pytest.approx(v.mean(), rel=1e-12)
    # Slopes that know their own run would not do: the same with slopes of all runs.
    naive = []
    for of, xs in zip(v[samples], x[samples], strict=True):
        spread = ((xs - xs.mean()) ** 2).sum()
        slope = ((xs - xs.mean()) * of).sum() / spread if spread > 0 else 0.0
        naive.append(of.mean() - slope * xs.mean())
    assert abs(np.mean(naive) - v.mean()) > 1e-3


def test_controls_that_repeat_each_other_or_are_zero_change_nothing():
    values, x = RNG.standard_normal((3, 30)), RNG.standard_normal((2, 3, 30))
    doubled = np.concatenate([x, 1e6 * x, np.zeros((1, 3, 30))])
    assert_allclose(controlled(values, doubled), controlled(values, x), rtol=1e-9)
    assert_array_equal(controlled(values, np.zeros((2, 3, 30))), values)


def test_steps_with_lost_runs_stay_as_they_are():
    values, x = RNG.standard_normal((4, 30)), RNG.standard_normal((2, 4, 30))
    values[2, 5], x[1, 3, 0] = np.inf, np.nan
    found = controlled(values, x)
    assert_array_equal(found[2:], values[2:])
    assert_array_equal(found[:2], controlled(values[:2], x[:, :2]))
    assert not np.any(found[:2] == values[:2])


def test_numbers_at_the_end_of_the_range_stay_finite():
    values, x = 1e308 * RNG.random((2, 30)), 1e200 * RNG.standard_normal((2, 2, 30))
    with np.errstate(over="ignore", invalid="ignore"):
        assert np.isfinite(controlled(values, x)).all()


@pytest.mark.parametrize(("runs", "expected"), [(47, 0), (48, 4), (95, 4), (96, 8), (1000, 8)])
def test_controls_need_twelve_runs_each(runs, expected):
    increments = {key: RNG.standard_normal((6, runs)) for key in PAIR}
    assert controls(increments, np.full(6, 0.1)).shape == (expected, 6, runs)


def test_controls_are_sums_over_the_steps_before():
    rates = 0.3 / np.arange(1, 7)
    found = controls(PAIR, rates)
    assert_array_equal(found[:, 0], 0)
    for k, ((what, _), of) in enumerate(PAIR.items()):
        power = 1 if what == ALONG else 2
        for t in range(1, 6):
            terms = [rates[s] ** power * of[s] for s in range(t)]
            times = [rates[: s + 1].sum() for s in range(t)]
            assert_allclose(found[k, t], np.sum(terms, axis=0), rtol=1e-12)
            late = np.einsum("s,sr->r", times, terms)
            assert_allclose(found[4 + k, t], late, rtol=1e-10)


@pytest.mark.parametrize(("runs", "layers"), [(47, (5, 9, 4)), (71, (4, 6, 5, 3))])
def test_too_few_runs_are_left_as_they_are(runs, layers):
    for more in (0, 1):
        plan = plan_of(4, runs + more, 3)
        tables = [
            linear_network_block(student(*layers), plan, Grouping(50, controlled=of)).statistics
            for of in (True, False)
        ]
        assert tables[0].equals(tables[1]) == (more == 0)
        assert enough_runs(runs + more, len(layers) - 1) == (more == 1)


@pytest.mark.parametrize("rate", [1.0, 2.0, 3.0])
def test_runs_that_diverge_have_no_estimate_and_raise_no_warning(rate):
    plan = plan_of(1, 60, 12)
    plan = StepPlan(10 * rate * plan.learning_rates, 1, 60, plan.stream, "online")
    block = linear_network_block(student(5, 9, 4), plan, Grouping(20, "float64"))
    lost = block.statistics["n_diverged"] > 0
    assert block.statistics.loc[lost, "contribution_mean"].isna().all()
    assert np.isfinite(block.statistics.loc[~lost, "contribution_mean"]).any()


@pytest.mark.parametrize("b", [1, 4, 64])
@pytest.mark.parametrize("layers", [(5, 9, 4), (4, 6, 5, 3)])
def test_increments_are_what_they_say(b, layers, monkeypatch):
    """From the gradients of one step at weights that differ, by torch and by the kernel."""
    given, runs = student(*layers), 50
    seen = []
    stacks = TwoLayerReplicas if len(layers) == 3 else DeepLinearReplicas
    gradients = stacks.gradients

    def noting(self, batch):
        found = gradients(self, batch)
        seen.append(({k: g.clone() for k, g in found.items()}, self))
        return found

    def increments(by_torch):
        if by_torch:
            monkeypatch.setattr(network_block, "has_kernel", lambda tensor: False)
        plan = plan_of(b, runs, 3)
        network = network_block.Network(
            tuple(torch.as_tensor(w) for w in given.weights), torch.as_tensor(given.teacher)
        )
        (record,) = network_block._group(network, plan, True).records(0)
        return record.increments

    compiled = increments(by_torch=False)
    monkeypatch.setattr(stacks, "gradients", noting)
    by_torch = increments(by_torch=True)
    assert compiled.keys() == by_torch.keys()
    assert len(by_torch) == 2 * (len(layers) - 1)
    for key, of in by_torch.items():
        assert_allclose(compiled[key], of, rtol=1e-9, atol=1e-12)
    # The last step's definition; weights have moved on since, by the last update.
    found, stack = seen[-1]
    for name, gradient in found.items():
        stack.parameters[name] += 0.1 / 3 * gradient
    variance = stack.conditional_variance(b)
    for name, full in stack.full_gradients().items():
        g, mean = (of.flatten(1).numpy() for of in (found[name], full))
        along = np.einsum("rp,rp->r", mean, g - mean)
        square = (g**2).sum(1) - variance[name].numpy() - (mean**2).sum(1)
        assert_allclose(by_torch[ALONG, name][-1], along, rtol=1e-8, atol=1e-12)
        assert_allclose(by_torch[SQUARE, name][-1], square, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("b", [1, 8])
def test_increments_have_mean_zero(b):
    given, runs = student(5, 9, 4), 20_000
    tensors = [torch.as_tensor(w) for w in (*given.weights, given.teacher)]
    stack = TwoLayerReplicas(*tensors, runs)
    sampler = GaussianSampler(5, b, runs, torch.Generator().manual_seed(5), "inputs", torch.float64)
    (record,) = train(stack, sampler, b, [0.05, 0.05], Recording(increments=True))
    z = [of.mean(1) / of.std(1) * runs**0.5 for of in record.increments.values()]
    assert np.abs(z).max() < stats.norm.isf((1 - sidak_level(0.999, 8)) / 2)


@pytest.mark.parametrize(("b", "least"), [(1, 2.0), (4, 5.0), (64, 20.0)])
@pytest.mark.parametrize("layers", [(16, 40, 24), (12, 20, 16, 10)])
def test_a_run_is_worth_more(b, least, layers):
    """The squared standard error of the same runs, and both estimates against each other."""
    plan = plan_of(b, 200, 40)
    one, other = (
        linear_network_block(student(*layers), plan, Grouping(50, controlled=is_so)).statistics
        for is_so in (True, False)
    )
    rest = (one["estimator"] == "sample").to_numpy()
    pd.testing.assert_frame_equal(one[rest], other[rest], check_exact=True)
    ours, plain = estimates(one), estimates(other)
    ratio = (plain["std_error"] / ours["std_error"]) ** 2
    assert ratio[ratio.index > 0].median() > least
    z = (ours["variance"] - plain["variance"]) / plain["std_error"]
    assert np.abs(z[z.index > 0]).max() < stats.norm.isf((1 - sidak_level(0.999, 40 * 6)) / 2)
    # Nothing happened before the first step.
    pd.testing.assert_series_equal(ours.loc[0], plain.loc[0], check_exact=True)


def test_tensors_add_up_and_momentum_is_no_obstacle():
    plan = plan_of(4, 100, 12)
    plan = StepPlan(plan.learning_rates, 4, 100, plan.stream, "online", Sgd(momentum=0.5))
    block = linear_network_block(student(5, 9, 4), plan, Grouping(20)).statistics
    of_all, w1, w2 = (estimates(block, name) for name in (ALL, "W1", "W2"))
    assert_allclose(of_all["variance"], w1["variance"] + w2["variance"], rtol=1e-12)
    plain = linear_network_block(student(5, 9, 4), plan, Grouping(20, controlled=False)).statistics
    ratio = (estimates(plain)["std_error"] / of_all["std_error"]) ** 2
    assert ratio[1:].median() > 2


@pytest.mark.parametrize(("runs", "number"), [(48, 4), (96, 8)])
@pytest.mark.parametrize("b", [1, 2, 8])
def test_intervals_keep_their_level(b, runs, number):
    """Of experiments cut out of many runs of a small network, whose gradients have heavy tails."""
    layers, total, steps = (4, 5, 3), 24_000, 7
    given = student(*layers)
    network = network_block.Network(
        tuple(torch.as_tensor(w) for w in given.weights), torch.as_tensor(given.teacher)
    )
    plan = plan_of(b, total, steps)
    (record,) = network_block._group(network, plan, True).records(0)
    values = sum(record.conditional[name] for name in ("W1", "W2"))
    # All runs with their controls, unspread, tell the mean better than an experiment can by far.
    of_all = controlled(values, controls(record.increments, plan.learning_rates), widening=0)
    exact = theory.first_step_variance(*given.weights, given.teacher, 0.1).at(b)
    mean = sum(exact[f"g{k}"] - exact[f"population_g{k}"] for k in (1, 2))
    error = of_all[1].std() / total**0.5
    assert abs(of_all[1].mean() - mean) < 4 * error
    found = []
    for part in np.split(np.arange(total), total // runs):
        increments = {key: of[:, part] for key, of in record.increments.items()}
        x = controls(increments, plan.learning_rates)
        assert len(x) == number
        own = summarise(controlled(values[:, part], x))
        interval = variance_interval(runs, own.mean, own.m2, own.m3, conditional_m2=own.m2)
        found.append((own.mean, interval.std_error, interval.low, interval.high))
    means, errors, low, high = np.moveaxis(found, 1, 0)
    for t in (1, steps - 1):
        truth = of_all[t].mean()
        covered = np.mean((low[:, t] <= truth) & (truth <= high[:, t]))
        scatter = 3.5 * (0.92 * 0.08 / len(found)) ** 0.5
        assert 0.92 - scatter < covered
        # An experiment is as precise as it says, and on the safe side of it.
        ratio = np.sqrt(np.mean(errors[:, t] ** 2)) / means[:, t].std()
        assert 0.93 < ratio < 1.4
        deviation = (means[:, t].mean() - truth) / means[:, t].std() * len(found) ** 0.5
        assert abs(deviation) < 4
