"""The gradient noise scale: its interval against simulation, its parts against enumeration."""

from itertools import combinations, product

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from pipeline_lib.artifacts.files import read_table, write_table
from pipeline_lib.errors import ArtifactError
from pipeline_lib.estimation.aggregation import read_blocks
from pipeline_lib.estimation.certain import Certain
from pipeline_lib.estimation.noise_moments import (
    merge_noise,
    merged_noise,
    noise_rows,
    summarise_noise,
)
from pipeline_lib.estimation.noise_scale import noise_scale, noise_scale_table, ratio_interval
from pipeline_lib.estimation.statistics import ALL
from pipeline_lib.theory.linear_regression import exact_moments
from pipeline_lib.training.averaged import Draw, averaged_report
from pipeline_lib.training.labelled import ExampleMoments
from pipeline_lib.training.report import gather_record

MADE = {"experiment": "x", "config": "c0ffee"}


def covered(moments, truth):
    """The share of intervals that hold ``truth``, of those that there are: nearly all."""
    low, high = ratio_interval(moments)
    known = np.isfinite(high)
    assert known.mean() > 0.9
    return ((low <= truth) & (truth <= high))[known].mean()


def frame(trace, sq_gradient, first_lost=None, tensor="all"):
    """Rows of a block from x and y (T, R)."""
    lost = np.zeros(len(trace), dtype=np.int64)
    if first_lost is not None:
        lost[first_lost:] = 1
    return noise_rows(np.arange(len(trace)), {tensor: (trace, sq_gradient)}, lost)


def test_moments_of_parts_merge_to_those_of_all_runs():
    rng = np.random.default_rng(0)
    x, y = rng.gamma(2, size=(2, 3, 11))
    cuts = [slice(0, 2), slice(2, 3), slice(3, 8), slice(8, 11)]
    merged = merge_noise([summarise_noise(x[:, cut], y[:, cut]) for cut in cuts])
    whole = summarise_noise(x, y)
    for name, values in whole.columns().items():
        assert_allclose(getattr(merged, name), values, rtol=1e-12, atol=1e-14, err_msg=name)
    assert_allclose(
        whole.product_m2, [11 * np.cov(*xy, ddof=0)[0, 1] for xy in zip(x, y, strict=True)]
    )
    frames = [frame(x[:, cut], y[:, cut]) for cut in cuts]
    pd.testing.assert_frame_equal(merged_noise(frames), frame(x, y), rtol=1e-12)


def test_the_ends_solve_the_equation_of_fieller():
    rng = np.random.default_rng(1)
    x, y = rng.gamma(1, size=(2, 50, 5))
    moments = summarise_noise(x, y)
    low, high = ratio_interval(moments, 0.9)
    quantile = stats.t.ppf(0.95, 4)
    distance = np.abs(moments.sq_gradient) / np.sqrt(moments.sq_gradient_m2 / 20)
    assert_array_equal(np.isfinite(high), distance > quantile)
    assert 5 < np.isfinite(high).sum() < 50
    for end in (np.where(low > 0, low, np.nan), high):
        contrast = x - end[:, None] * y
        t = contrast.mean(axis=1) / (contrast.std(axis=1, ddof=1) / np.sqrt(5))
        known = np.isfinite(t)
        assert known.any()
        assert_allclose(np.abs(t[known]), quantile, rtol=1e-9)
    ratio = noise_scale(moments.trace, moments.sq_gradient)
    known = np.isfinite(high)
    assert ((low <= ratio) & (ratio <= high))[known].all()


@pytest.mark.parametrize("n_runs", [4, 8, 30])
def test_coverage_of_gaussian_parts_is_the_level(n_runs):
    # 20,000 intervals: one standard error of the coverage is 0.0015.
    rng = np.random.default_rng(n_runs)
    shared, x, y = rng.standard_normal((3, 20_000, n_runs))
    moments = summarise_noise(60 + 6 * (x + shared), 5 + 0.4 * (y + shared))
    assert covered(moments, 12) == pytest.approx(0.95, abs=0.006)


@pytest.mark.parametrize("n_runs", [4, 8, 30])
def test_coverage_of_skewed_parts_is_near_the_level(n_runs):
    # Squared lengths of Gaussian vectors in 20 dimensions, such as |grad L|^2 around a mean of 0.
    rng = np.random.default_rng(n_runs)
    x, y = rng.chisquare(20, size=(2, 20_000, n_runs)) / 20
    assert 0.93 < covered(summarise_noise(50 * (x + y), 3 * y), 100 / 3) < 0.96


@pytest.mark.parametrize("n_runs", [4, 8, 30])
def test_runs_of_linear_regression_cover_its_exact_values(n_runs):
    rng = np.random.default_rng(5)
    n, p, b, groups = 12, 2, 3, 4000
    x, y, start = rng.normal(size=(n, p)), rng.normal(size=n), 2 * rng.normal(size=p)
    rates = [0.2, 0.2, 0.1, 0.1]
    exact = exact_moments(x, y, start, rates, [b])
    truth = (exact.example_variance / exact.sq_gradient)[:, 0]
    weights = np.broadcast_to(start, (groups * n_runs, p))
    for step, rate in enumerate(rates):
        gradients = x * (weights @ x.T - y)[:, :, None]  # (runs, n, p)
        full = gradients.mean(axis=1)
        trace = gradients.var(axis=1, ddof=1).sum(axis=1)
        square = (full**2).sum(axis=1)
        rows = frame(trace.reshape(groups, n_runs), square.reshape(groups, n_runs))
        # The rows stand for many experiments, not for steps: only the first step is certain.
        shared = 0 if step else groups
        table = noise_scale_table({(0, b): [rows]}, 0.95, lambda b, n=shared: Certain(n))
        if step:
            known = table["ci_high"].notna()
            hit = (table["ci_low"] <= truth[step]) & (truth[step] <= table["ci_high"])
            assert known.mean() > 0.9
            assert 0.92 < hit[known].mean() < 0.97
            # Of few runs those with the smaller errors pass: docs/noise_scale.md.
            passed = hit[table["reliable"]].mean()
            assert 0.82 < passed < 0.93 if n_runs == 4 else 0.93 < passed < 0.97
        else:  # all runs still share their weights
            assert table["reliable"].all()
            for end in ("ci_low", "ci_high"):
                assert_allclose(table[end], truth[0], rtol=1e-9)
            unknown = noise_scale_table({(0, b): [rows]}, 0.95, lambda b: Certain(0))
            assert unknown[["ci_low", "ci_high"]].isna().all(axis=None)
            assert not unknown["reliable"].any()
        chosen = rng.random((len(weights), n)).argsort(axis=1)[:, :b]
        drawn = np.take_along_axis(gradients, chosen[:, :, None], axis=1).mean(axis=1)
        weights = weights - rate * drawn


def test_parts_equal_those_of_two_batches_in_expectation():
    """Appendix A of arXiv 1812.06162, over all pairs of batches of two sizes."""
    rng = np.random.default_rng(2)
    gradients = rng.normal(size=(5, 3)) + 1
    n, small, big = 5, 2, 4
    trace = gradients.var(axis=0, ddof=1).sum()
    square = (gradients.mean(axis=0) ** 2).sum()

    def mean_square(batches):
        return np.mean([(gradients[list(batch)].mean(axis=0) ** 2).sum() for batch in batches])

    def two_batches(of_small, of_big):
        noise = (of_small - of_big) / (1 / small - 1 / big)
        return noise, (big * of_big - small * of_small) / (big - small)

    noise, signal = two_batches(*(mean_square(combinations(range(n), b)) for b in (small, big)))
    assert noise == pytest.approx(trace, rel=1e-12)
    # Without replacement it is that of the distribution which the n examples are a sample of.
    assert signal == pytest.approx(square - trace / n, rel=1e-12)
    noise, signal = two_batches(*(mean_square(product(range(n), repeat=b)) for b in (small, big)))
    # Examples drawn with replacement vary with the divisor n.
    assert noise == pytest.approx(trace * (n - 1) / n, rel=1e-12)
    assert signal == pytest.approx(square, rel=1e-12)


@pytest.mark.parametrize("m", [4, 5])
@pytest.mark.parametrize("chosen", [2, 3, 4])
def test_parts_from_random_examples_are_unbiased(chosen, m):
    gradients = {
        "W1": torch.randn(m, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)),
        "W2": torch.randn(m, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2)),
    }
    subsets = [list(subset) for subset in combinations(range(m), chosen)]
    examples = ExampleMoments(
        {name: torch.stack([g[s].mean(dim=0) for s in subsets]) for name, g in gradients.items()},
        {
            name: torch.stack([g[s].square().sum(dim=1).mean() for s in subsets])
            for name, g in gradients.items()
        },
        {},
    )
    record = gather_record(np.array([0]), [averaged_report(examples, Draw(2, chosen, m), True)])
    numbers = {name: gradient.numpy() for name, gradient in gradients.items()}
    numbers[ALL] = np.concatenate(list(numbers.values()), axis=1)
    for name, all_examples in numbers.items():
        trace = all_examples.var(axis=0, ddof=1).sum()
        square = (all_examples.mean(axis=0) ** 2).sum()
        assert record.trace[name].mean() == pytest.approx(trace, rel=1e-12)
        assert record.sq_gradient[name].mean() == pytest.approx(square, rel=1e-12)


def test_exact_parts_equal_the_enumeration_of_all_sequences():
    rng = np.random.default_rng(3)
    x, y, start = rng.normal(size=(5, 2)), rng.normal(size=5), rng.normal(size=2)
    rates = [0.5, 0.3, 0.2]
    for b in range(1, 6):
        exact = exact_moments(x, y, start, rates, [b])
        weights = [start]
        for step, rate in enumerate(rates):
            gradients = np.array([x * (x @ w - y)[:, None] for w in weights])
            trace = gradients.var(axis=1, ddof=1).sum(axis=1).mean()
            square = (gradients.mean(axis=1) ** 2).sum(axis=1).mean()
            assert exact.example_variance[step, 0] == pytest.approx(trace, rel=1e-12)
            assert exact.sq_gradient[step, 0] == pytest.approx(square, rel=1e-12)
            batches = [list(batch) for batch in combinations(range(5), b)]
            weights = [
                w - rate * of_w[batch].mean(axis=0)
                for w, of_w in zip(weights, gradients, strict=True)
                for batch in batches
            ]


def save(folder, rows, seed=0):
    path = folder / f"seed_{seed}.parquet"
    block = {"init": 0, "b": 4, "seed": seed, "data_sha256": "d0", "n_rows": 50, "backend": "cpu"}
    write_table(path, rows, "noise", MADE | block)
    return (0, 4, seed), path


def test_blocks_become_one_table(tmp_path):
    rng = np.random.default_rng(4)
    x, y = 40 + rng.normal(size=(3, 20)), 2 + 0.1 * rng.normal(size=(3, 20))
    files = dict(
        save(tmp_path, frame(x[:, cut], y[:, cut]), seed)
        for seed, cut in enumerate((slice(0, 12), slice(12, 20)))
    )
    table = noise_scale_table(read_blocks(files, MADE, "noise"), 0.95)
    write_table(tmp_path / "table.parquet", table, "noise_scale", MADE)
    table = read_table(tmp_path / "table.parquet", "noise_scale")
    assert_allclose(table["noise_scale"], x.mean(axis=1) / y.mean(axis=1), rtol=1e-12)
    low, high = ratio_interval(summarise_noise(x, y))
    assert_allclose(table[["ci_low", "ci_high"]], np.column_stack([low, high]), rtol=1e-10)
    assert table["n_runs"].tolist() == [20] * 3
    assert table["reliable"].all()
    assert not table["exact"].any()


def test_blocks_of_other_steps_are_refused(tmp_path):
    part = np.ones((3, 2))
    files = dict([save(tmp_path, frame(part, part)), save(tmp_path, frame(part[1:], part[1:]), 1)])
    with pytest.raises(ArtifactError, match="does not record the same steps"):
        read_blocks(files, MADE, "noise")


def test_without_any_rows_there_is_no_table():
    empty = frame(np.ones((1, 2)), np.ones((1, 2))).iloc[:0]
    with pytest.raises(ArtifactError, match="no block holds an estimate"):
        noise_scale_table({(0, 4): [empty]}, 0.95)


@pytest.mark.parametrize(
    "square",
    [
        pytest.param([4.0, -3.0, 5.0, -2.0], id="not told from 0"),
        pytest.param([-1.0, -1.1, -0.9, -1.0], id="negative"),
        pytest.param([0.0, 0.0, 0.0, 0.0], id="0"),
    ],
)
def test_without_a_bounded_interval_there_is_none(square):
    rows = frame(np.array([[8.0, 9.0, 10.0, 9.0]]), np.array([square]))
    (row,) = noise_scale_table({(0, 4): [rows]}, 0.95).itertuples()
    assert np.isnan([row.ci_low, row.ci_high]).all()
    assert np.isnan(row.noise_scale) == (np.mean(square) <= 0)
    assert not row.reliable


def test_one_run_that_carries_a_part_is_not_relied_on():
    light = 10 + np.random.default_rng(6).normal(size=(1, 100))
    heavy = light.copy()
    heavy[0, 0] = 1000
    for x, y in ((heavy, light), (light, heavy)):
        assert not noise_scale_table({(0, 4): [frame(x, y)]}, 0.95)["reliable"].any()
    assert noise_scale_table({(0, 4): [frame(light, light[:, ::-1])]}, 0.95)["reliable"].all()


def test_two_runs_are_too_few_to_rely_on():
    rows = frame(np.array([[8.0, 8.1]]), np.array([[2.0, 2.1]]))
    assert not noise_scale_table({(0, 4): [rows]}, 0.95)["reliable"].any()


def test_lost_runs_leave_missing_numbers():
    rng = np.random.default_rng(7)
    x, y = 9 + rng.normal(size=(2, 4, 10))
    table = noise_scale_table({(0, 4): [frame(x, y, first_lost=2), frame(x, y)]}, 0.95)
    lost = table["step"] >= 2
    numbers = ["trace", "sq_gradient", "noise_scale", "ci_low", "ci_high"]
    assert table.loc[lost, numbers].isna().all().all()
    assert table.loc[~lost, numbers].notna().all().all()
    assert_array_equal(table["reliable"], ~lost)
    assert_array_equal(table["n_diverged"], lost)


def test_numbers_beyond_the_range_have_no_noise_scale():
    huge = np.array([[1e200, 2e200, 3e200]])
    with np.errstate(over="ignore", invalid="ignore"):  # as where records become rows
        rows = pd.concat([frame(huge, huge), frame(1e108 * huge, huge)], ignore_index=True)
    table = noise_scale_table({(0, 4): [rows]}, 0.95)
    assert table["noise_scale"].isna().tolist() == [False, True]
    assert table["ci_high"].isna().all()
    assert not table["reliable"].any()


def test_alike_gradients_have_no_noise():
    rows = frame(np.zeros((1, 5)), np.array([[1.0, 2.0, 1.5, 1.0, 2.0]]))
    (row,) = noise_scale_table({(0, 4): [rows]}, 0.95).itertuples()
    assert (row.noise_scale, row.ci_low, row.ci_high) == (0, 0, 0)
