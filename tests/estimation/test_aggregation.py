"""Blocks merged into estimates with intervals; blocks that do not belong together are refused."""

import os
import re

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from blocks import regression
from pipeline_lib.artifacts.files import read_table, write_table
from pipeline_lib.artifacts.schemas import SCHEMAS
from pipeline_lib.errors import ArtifactError
from pipeline_lib.estimation.aggregation import efficiency_table, read_blocks, variance_table
from pipeline_lib.estimation.certain import Certain
from pipeline_lib.estimation.inference import variance_interval
from pipeline_lib.estimation.reliability import Estimate, precise, reliability
from pipeline_lib.estimation.statistics import STOCHASTIC, GradientRecord, statistics_rows
from pipeline_lib.estimation.variance import (
    Contributions,
    pool,
    sample_contributions,
    summarise,
    vector_moments,
)
from pipeline_lib.models.linear_regression import block as blocks_module
from pipeline_lib.seeding import seed_sequence
from pipeline_lib.training.steps import StepPlan

EXPECTED = {"experiment": "x", "config": "c0ffee"}
KEYS = ["step", "epoch", "quantity", "tensor", "estimator"]
FULL = "full_gradient"


def block_of(vectors, first_lost=None):
    """Statistics of one block of full gradients (T, R, p)."""
    moments = {(FULL, "all"): vector_moments(vectors)}
    lost = np.zeros(len(vectors), dtype=np.int64)
    if first_lost is not None:
        lost[first_lost:] = 1
    finite = np.ones(vectors.shape[:2], dtype=bool)
    return statistics_rows(GradientRecord(np.arange(len(vectors)), moments, finite), lost)


def gradients(replicas, steps=4, seed=0):
    return np.random.default_rng(seed).normal(3, 1, size=(steps, replicas, 2)) ** 3


def save(folder, frame, init=0, b=4, seed=0, **changed):
    path = folder / f"init={init}" / f"b={b}" / f"seed={seed}" / "statistics.parquet"
    block = {"init": init, "b": b, "seed": seed}
    made = {"data_sha256": "d0", "n_rows": 500, "backend": "numba cpu"}
    provenance = {**EXPECTED, **made, **block, **changed}
    write_table(path, frame, "statistics", provenance)
    return path


def read(paths):
    """`read_blocks` of files, each expected to hold the block that its folders name."""
    numbers = r"init=(\d+)/b=(\d+)/seed=(\d+)/"
    keys = [tuple(map(int, re.search(numbers, str(path)).groups())) for path in paths]
    return read_blocks(dict(zip(keys, paths, strict=True)), EXPECTED)


def test_blocks_are_grouped_by_initial_weights_and_batch_size(tmp_path):
    frames = {
        key: block_of(gradients(3, seed=i))
        for i, key in enumerate([(0, 4, 0), (0, 4, 1), (1, 4, 0), (0, 16, 0)])
    }
    paths = [save(tmp_path, frame, *key) for key, frame in frames.items()]
    groups = read(paths)
    assert {key: len(group) for key, group in groups.items()} == {(0, 4): 2, (1, 4): 1, (0, 16): 1}
    for init, b, seed in frames:
        found = groups[init, b][seed]["contribution_mean"]
        assert found.tolist() == frames[init, b, seed]["contribution_mean"].tolist()


@pytest.mark.parametrize(
    "seeds",
    [
        (0, 1, 2),
        pytest.param(
            (2, 10),
        ),
    ],
)
def test_a_group_is_ordered_by_block_whatever_the_order_of_paths(seeds, tmp_path):
    frames = {seed: block_of(gradients(3, seed=seed)) for seed in seeds}
    paths = [save(tmp_path, frame, seed=seed) for seed, frame in frames.items()]
    for order in (paths, paths[::-1]):
        (group,) = read(order).values()
        for seed, found in zip(seeds, group, strict=True):
            expected = frames[seed]["contribution_mean"].tolist()
            assert found["contribution_mean"].tolist() == expected


@pytest.mark.parametrize(("key", "value"), [("config", "0ther"), ("experiment", "y")])
def test_another_configuration_is_refused(key, value, tmp_path):
    good = save(tmp_path, block_of(gradients(3)))
    bad = save(tmp_path, block_of(gradients(3)), seed=1, **{key: value})
    with pytest.raises(ArtifactError) as caught:
        read([good, bad])
    message = str(caught.value)
    assert message.startswith(f"{bad}: ")
    assert f"{key} '{value}'" in message
    assert f"'{EXPECTED[key]}'" in message
    assert "\n" not in message


def test_a_file_without_provenance_is_refused(tmp_path):
    path = tmp_path / "statistics.parquet"
    write_table(path, block_of(gradients(3)), "statistics")
    with pytest.raises(ArtifactError, match=r"statistics\.parquet: made with experiment None"):
        read_blocks({(0, 4, 0): path}, EXPECTED)


@pytest.mark.parametrize(("key", "value"), [("data_sha256", "d1"), ("backend", "torch cuda")])
def test_blocks_of_other_data_or_device_are_refused(tmp_path, key, value):
    first = save(tmp_path, block_of(gradients(3)))
    second = save(tmp_path, block_of(gradients(3)), b=16, **{key: value})
    with pytest.raises(ArtifactError, match=f"made with {key} '{value}', but") as caught:
        read([first, second])
    assert str(first) in str(caught.value)
    assert str(second) in str(caught.value)


@pytest.mark.parametrize("changed", [{"init": 1}, {"b": 16}, {"seed": 0}, {"seed": None}])
def test_a_file_that_holds_another_block_is_refused(tmp_path, changed):
    """As when one block's file was copied over another's, whose replicas would count twice."""
    first = save(tmp_path, block_of(gradients(3)))
    held = {"init": 0, "b": 4, "seed": 1} | changed
    other = tmp_path / "other.parquet"
    save(tmp_path / "elsewhere", block_of(gradients(3)), **held).rename(other)
    with pytest.raises(ArtifactError) as caught:
        read_blocks({(0, 4, 0): first, (0, 4, 1): other}, EXPECTED)
    message = str(caught.value)
    assert message.startswith(f"{other}: holds the block")
    assert f"{tuple(held.values())}, where (0, 4, 1) belongs" in message
    assert "\n" not in message


def test_a_broken_file_is_named(tmp_path):
    path = save(tmp_path, block_of(gradients(3)))
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(ArtifactError, match=r"seed=0/statistics\.parquet: not a whole parquet"):
        read([path])
    write_table(path, pd.DataFrame({"replica": [0], "step": [0]}), "divergence", EXPECTED)
    with pytest.raises(ArtifactError, match=r"seed=0/statistics\.parquet: not of the schema"):
        read([path])
    path.unlink()
    with pytest.raises(ArtifactError, match=r"seed=0/statistics\.parquet: no such file"):
        read([path])


def test_blocks_of_other_steps_are_refused(tmp_path):
    paths = [
        save(tmp_path, block_of(gradients(3)), init=1, seed=3),
        save(tmp_path, block_of(gradients(3, steps=5)), init=1, seed=7),
    ]
    with pytest.raises(ArtifactError) as caught:
        read(paths)
    assert str(caught.value) == f"{paths[1]}: does not record the same steps as {paths[0]}"


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_estimates_are_those_of_the_pooled_contributions(level, tmp_path):
    parts = [gradients(size, seed=size) for size in (3, 5, 9)]
    paths = [save(tmp_path, block_of(part), seed=i) for i, part in enumerate(parts)]
    table = variance_table(read(paths), level)
    # Brute force, run by run: a run of a group of R weighs (R - 1)/R, and 14/17 on average.
    within = [np.square(part - part.mean(axis=1, keepdims=True)).sum(axis=2) for part in parts]
    sizes = (3, 5, 9)
    y = np.concatenate([w * r / (r - 1) for w, r in zip(within, sizes, strict=True)], axis=1)
    weight = np.concatenate([np.full(r, (r - 1) / r) for r in sizes])
    mean = (weight * y).sum(axis=1) / 14
    np.testing.assert_allclose(table["variance"], mean, 1e-12)
    m2 = 17 / 14 * (weight * (y - mean[:, None]) ** 2).sum(axis=1)
    np.testing.assert_allclose(table["std_error"], np.sqrt(m2 / (17 * 13)), 1e-11)
    assert (table["n_runs"] == 17).all()
    assert (table["dof"] == 14).all()
    assert (table["n_diverged"] == 0).all()
    assert (table["init"] == 0).all()
    assert (table["b"] == 4).all()
    assert table["step"].tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(table["max_share"], y.max(axis=1) / (17 * mean), 1e-12)
    merged = pool([summarise(sample_contributions(w)) for w in within])
    n, m2, m3 = merged.n_replicas, merged.m2, merged.m3
    interval = variance_interval(n, merged.mean, m2, m3, level, dof=14)
    np.testing.assert_allclose(table["std_error"], interval.std_error, 1e-12)
    np.testing.assert_allclose(table["ci_low"], interval.low, 1e-12)
    np.testing.assert_allclose(table["ci_high"], interval.high, 1e-12)
    assert (table["ci_low"] < table["variance"]).all()
    assert (table["variance"] < table["ci_high"]).all()
    shares, light = reliability(merged.n_replicas, merged.mean, merged.max)
    np.testing.assert_allclose(table["max_share"], shares, 1e-12)
    reliable = light & precise(Estimate(mean, interval.std_error, 14))
    assert table["reliable"].tolist() == reliable.tolist()
    assert list(table.columns) == SCHEMAS["variance"].names


def test_runs_that_tell_no_error_have_no_interval(tmp_path):
    """A pair, and runs that take two values equally often: all deviate by the same length."""
    for vectors, lost in (
        (gradients(2), True),
        (gradients(3), False),
        (np.tile([[1.0], [-1.0]], (4, 3, 1)), True),
        (np.ones((4, 6, 2)), True),  # no spread at all
    ):
        # the full gradient of the first step is known, and has a test of its own
        table = variance_table({(0, 4): [block_of(vectors)]}, 0.95)[1:]
        for name in ("std_error", "ci_low", "ci_high"):
            assert table[name].isna().all() == lost
            assert table[name].isna().any() == lost
        assert table["variance"].notna().all()
        assert not (lost and table["reliable"].any())
        write_table(tmp_path / "v.parquet", table, "variance")


def alike(replicas=6, steps=3):
    """Statistics of runs that never differ, by both estimators."""
    moments = vector_moments(np.ones((steps, replicas, 2)))
    record = GradientRecord(
        np.arange(steps),
        {(STOCHASTIC, "all"): moments, (FULL, "all"): moments},
        np.ones((steps, replicas), bool),
        {"all": np.full((steps, replicas), 0.1)},  # whose mean is rounded
    )
    return statistics_rows(record, np.zeros(steps, np.int64))


@pytest.mark.parametrize(
    ("certain", "known"),
    [
        (Certain(), {(FULL, "sample"): [0], (STOCHASTIC, "rao_blackwell"): [0]}),
        (Certain(2), {(FULL, "sample"): [0, 1], (STOCHASTIC, "rao_blackwell"): [0, 1]}),
        (
            Certain(whole_batches=True),
            {
                (FULL, "sample"): [0, 1, 2],
                (STOCHASTIC, "sample"): [0, 1, 2],
                (STOCHASTIC, "rao_blackwell"): [0, 1, 2],
            },
        ),
    ],
)
def test_no_spread_is_no_error_only_where_theory_says_so(tmp_path, certain, known):
    """Runs whose gradients are all alike may not have met the rare ones yet."""
    table = variance_table({(0, 4): [alike()]}, 0.95, lambda b: certain)
    write_table(tmp_path / "v.parquet", table, "variance")
    for _, row in table.iterrows():
        steps = known.get((row["quantity"], row["estimator"]), [])
        ends = row[["std_error", "ci_low", "ci_high"]].to_numpy(float)
        if row["step"] in steps:
            expected = [0, row["variance"], row["variance"]]
            np.testing.assert_allclose(ends, expected, rtol=1e-15, atol=1e-16)
        else:
            assert np.isnan(ends).all()
            assert not row["reliable"]


def test_pairs_tell_the_error_of_their_means():
    """Two equal contributions are one number: so many independent ones as there are pairs."""
    blocks = [block_of(gradients(2, seed=seed)) for seed in range(7)]
    table = variance_table({(0, 4): blocks}, 0.95)
    of_pairs = np.stack([block["contribution_mean"] for block in blocks])
    np.testing.assert_allclose(table["std_error"], of_pairs.std(axis=0, ddof=1) / 7**0.5, 1e-10)


def test_conditional_variances_are_independent_between_runs():
    """Of runs with one full gradient, nothing but the conditional variances errs."""
    conditional = np.random.default_rng(1).exponential(size=(1, 9))
    moments = vector_moments(np.ones((1, 9, 2)))
    record = GradientRecord(
        np.arange(1),
        {("stochastic_gradient", "all"): vector_moments(gradients(9, 1)), (FULL, "all"): moments},
        np.ones((1, 9), bool),
        {"all": conditional},
    )
    table = variance_table({(0, 4): [statistics_rows(record, np.zeros(1, np.int64))]}, 0.95)
    rows = table[table["estimator"] == "rao_blackwell"]
    np.testing.assert_allclose(rows["std_error"], conditional.std(ddof=1) / 3, 1e-12)


def test_one_dominant_run_is_flagged():
    vectors = np.random.default_rng(0).standard_normal((4, 500, 2))
    vectors[2, 7] += 1000.0
    table = variance_table({(0, 4): [block_of(vectors)]}, 0.95)
    assert table["reliable"].tolist() == [True, True, False, True]
    assert table["max_share"][2] > 0.5


def test_a_step_that_a_run_did_not_reach_has_no_estimate(tmp_path):
    whole = block_of(gradients(5, seed=1))
    broken = block_of(gradients(5, seed=2), first_lost=2)
    paths = [
        save(tmp_path, whole, seed=0),
        save(tmp_path, broken, seed=1),
        save(tmp_path, whole, 1),
    ]
    table = variance_table(read(paths), 0.95)
    mixed, alone = table[table["init"] == 0], table[table["init"] == 1]
    assert mixed["n_diverged"].tolist() == [0, 0, 1, 1]
    for name in ("variance", "std_error", "ci_low", "ci_high", "max_share"):
        assert mixed[name].isna().tolist() == [False, False, True, True]
        assert alone[name].notna().all()
    assert not mixed["reliable"][2:].any()
    assert mixed["n_runs"].tolist() == [10] * 4
    assert mixed["dof"].tolist() == [8] * 4
    write_table(tmp_path / "v.parquet", table, "variance")
    back = read_table(tmp_path / "v.parquet", "variance")
    assert back["variance"].isna().tolist() == [False, False, True, True] + [False] * 4


def test_an_empty_block_leaves_no_row(tmp_path):
    empty = SCHEMAS["statistics"].empty_table().to_pandas()
    paths = [save(tmp_path, empty, b=600), save(tmp_path, block_of(gradients(3)), b=4)]
    table = variance_table(read(paths), 0.95)
    assert table["b"].tolist() == [4] * 4
    with pytest.raises(ArtifactError, match="above the data's rows"):
        variance_table(read(paths[:1]), 0.95)


@pytest.mark.parametrize("seeds", [(0,), (0, 1), (1, 0)])
def test_an_empty_block_of_a_batch_size_within_the_data_is_refused(tmp_path, seeds):
    """Without rows its batch size would be missing from every table and figure."""
    empty, *full = seeds
    nothing = SCHEMAS["statistics"].empty_table().to_pandas()
    planted = save(tmp_path, nothing, seed=empty)
    others = [save(tmp_path, block_of(gradients(3)), seed=seed) for seed in full]
    with pytest.raises(ArtifactError) as caught:
        read([planted, *others, save(tmp_path, block_of(gradients(3)), b=16)])
    assert str(caught.value).startswith(f"{planted}: holds no rows, though b = 4 is not above")


@pytest.mark.parametrize("empty", [0, 1])
def test_blocks_of_one_batch_size_with_and_without_rows_are_refused(tmp_path, empty):
    frames = [block_of(gradients(3)), block_of(gradients(3))]
    frames[empty] = SCHEMAS["statistics"].empty_table().to_pandas()
    paths = [save(tmp_path, frame, b=600, seed=seed) for seed, frame in enumerate(frames)]
    with pytest.raises(ArtifactError, match="unlike the blocks before it") as caught:
        read(paths)
    assert str(caught.value).startswith(f"{paths[1]}: ")


def test_an_empty_block_of_a_model_without_a_data_set_is_refused(tmp_path):
    nothing = SCHEMAS["statistics"].empty_table().to_pandas()
    with pytest.raises(ArtifactError, match="holds no rows"):
        read([save(tmp_path, nothing, n_rows=None)])


def test_rows_come_by_initial_weights_and_batch_size(tmp_path):
    keys = [(1, 4), (0, 16), (0, 4)]
    paths = [save(tmp_path, block_of(gradients(3)), *key) for key in keys]
    table = variance_table(read(paths), 0.95)
    assert list(dict.fromkeys(zip(table["init"], table["b"], strict=True))) == sorted(keys)


def trained(seed, replicas=6, backend="numba"):
    rng = np.random.default_rng(0)
    x, y, w = rng.normal(size=(20, 3)), rng.normal(size=20), rng.normal(size=3)
    rates = 0.5 / (np.arange(70) + 1)
    sequence = seed_sequence(seed, "aggregation")
    plan = StepPlan(rates, 4, replicas, sequence)
    return regression((x, y, w), plan, backend).statistics


def test_trained_blocks_become_a_valid_artefact(tmp_path):
    frames = [trained(seed) for seed in (0, 1)]
    paths = [save(tmp_path, frame, seed=i) for i, frame in enumerate(frames)]
    table = variance_table(read(paths), 0.95)
    write_table(tmp_path / "v.parquet", table, "variance", EXPECTED)
    back = read_table(tmp_path / "v.parquet", "variance")
    assert len(back) == 3 * 70
    assert not back[KEYS].drop(columns="epoch").duplicated().any()
    assert back["epoch"].isna().all()
    mean = (frames[0]["contribution_mean"] + frames[1]["contribution_mean"]) / 2
    np.testing.assert_allclose(back["variance"], mean, 1e-12)
    # The first full gradient is the same in every run.
    first = back[(back["quantity"] == FULL) & (back["step"] == 0)]
    assert first[["variance", "std_error", "ci_low", "ci_high"]].to_numpy().tolist() == [[0.0] * 4]


def test_blocks_recorded_in_chunks_of_other_lengths_merge(tmp_path, monkeypatch):
    """As they are where blocks differ in size or ran on other machines."""
    paths = [save(tmp_path, trained(0), seed=0)]
    monkeypatch.setattr(blocks_module, "CHUNK_BYTES", 13 * 16 * 6 * 3)
    chunked = trained(1)
    paths.append(save(tmp_path, chunked, seed=1))
    monkeypatch.undo()
    merged = variance_table(read(paths), 0.95)
    plain = [save(tmp_path / "plain", trained(i), seed=i) for i in (0, 1)]
    assert_frame_equal(merged, variance_table(read(plain), 0.95))


def test_contributions_survive_the_file(tmp_path):
    """Nothing of a block's moments is lost between training and merging."""
    frame = trained(0)
    (group,) = read([save(tmp_path, frame)]).values()
    for name in Contributions.__dataclass_fields__:
        column = {
            "n_replicas": name,
            "dof": name,
            "conditional_mean": "conditional_variance",
            "conditional_m2": name,
        }.get(name, f"contribution_{name}")
        np.testing.assert_array_equal(group[0][column], frame[column])


def test_efficiency_is_the_ratio_of_variances_of_the_estimators():
    """Ten times the runs shrink a standard error by sqrt(10): a run is then worth ten."""
    key = {"init": 0, "quantity": "stochastic_gradient", "tensor": "all", "variance": 2.0}
    rows = [
        {"b": 4, "step": 0, "estimator": "sample", "std_error": 0.5},
        # Known exactly but for the order in which float32 were summed.
        {"b": 4, "step": 0, "estimator": "rao_blackwell", "std_error": 1e-7},
        {"b": 9, "step": 1, "estimator": "sample", "std_error": 0.0, "variance": 0.0},
        {"b": 9, "step": 1, "estimator": "rao_blackwell", "std_error": 0.0, "variance": 0.0},
        {"b": 4, "step": 1, "estimator": "sample", "std_error": np.sqrt(10.0)},
        {"b": 4, "step": 1, "estimator": "rao_blackwell", "std_error": 1.0},
        {"b": 8, "step": 1, "estimator": "sample", "std_error": np.nan},  # diverged
        {"b": 8, "step": 1, "estimator": "rao_blackwell", "std_error": np.nan},
    ]
    table = efficiency_table(pd.DataFrame([key | row for row in rows]))
    assert table[["init", "b", "step", "tensor"]].to_numpy().tolist() == [[0, 4, 1, "all"]]
    assert table["runs_worth"].item() == pytest.approx(10.0)


def test_an_estimate_is_reliable_only_if_neither_estimator_is_flagged():
    moments = {"n_replicas": 100, "dof": 99, "n_diverged": 0, "contribution_mean": 1.0}
    moments |= {"conditional_variance": 0.5, "conditional_m2": 9.0}
    calm = {"contribution_m2": 30.0, "contribution_m3": 20.0, "contribution_max": 4.0}
    wild = {"contribution_m2": 6000.0, "contribution_m3": 4e5, "contribution_max": 80.0}
    key = {"step": 0, "epoch": pd.NA, "quantity": "stochastic_gradient", "tensor": "all"}
    for sample, rao_blackwell, expected in (
        (calm, calm, True),
        (wild, calm, False),
        (calm, wild, False),
    ):
        frame = pd.DataFrame(
            [
                key | moments | sample | {"estimator": "sample"},
                key | moments | rao_blackwell | {"estimator": "rao_blackwell"},
            ]
        )
        table = variance_table({(0, 4): [frame]}, 0.95)
        assert table["reliable"].tolist() == [expected, expected]
