"""Losses and errors of runs become means with intervals; checked by hand and by simulation."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pipeline_lib.artifacts.files import read_table, write_table
from pipeline_lib.artifacts.schemas import SCHEMAS
from pipeline_lib.errors import ArtifactError
from pipeline_lib.estimation.metrics import metric_summary, read_metrics

EXPECTED = {"experiment": "mnist", "config": "c0ffee"}
KEY = ["split", "metric", "epoch"]


def metrics(values, loss=lambda error: 10 * error):
    """Rows of ``metrics`` from errors by (split, epoch), each an array over replicas."""
    parts = [
        pd.DataFrame(
            {
                "replica": np.arange(len(error), dtype=np.int32),
                "epoch": np.int32(epoch),
                "split": split,
                "loss": loss(np.asarray(error, dtype=float)),
                "error": np.asarray(error, dtype=float),
            }
        )
        for (split, epoch), error in values.items()
    ]
    return pd.concat(parts, ignore_index=True)


def save(folder, frame, init=0, b=64, seed=0, **changed):
    path = folder / f"init={init}" / f"b={b}" / f"seed={seed}" / "metrics.parquet"
    block = {"init": init, "b": b, "seed": seed}
    made = {"data_sha256": "d0", "n_rows": 320, "backend": "torch cpu"}
    write_table(path, frame, "metrics", {**EXPECTED, **made, **block, **changed})
    return path


def summary_of(values, level=0.95, **options):
    return metric_summary({(0, 64): metrics(values, **options).assign(seed=0)}, level)


def test_mean_and_interval_by_hand():
    """Errors 0.1, 0.2, 0.6: mean 0.3, s² = (0.04 + 0.01 + 0.09)/2 = 0.07."""
    table = summary_of({("validation", 2): [0.1, 0.2, 0.6]}).set_index(KEY)
    row = table.loc["validation", "error", 2]
    assert row["mean"] == pytest.approx(0.3, rel=1e-14)
    assert row["std_error"] == pytest.approx(np.sqrt(0.07 / 3), rel=1e-14)
    # With 2 degrees of freedom Student's t has the quantile (2p - 1)/√(2p(1 - p)).
    half_width = 0.95 / np.sqrt(2 * 0.975 * 0.025) * np.sqrt(0.07 / 3)
    assert row["ci_low"] == pytest.approx(0.3 - half_width, rel=1e-12)
    assert row["ci_high"] == pytest.approx(0.3 + half_width, rel=1e-12)
    assert (row["n_runs"], row["n_diverged"]) == (3, 0)
    assert table.loc["validation", "loss", 2]["mean"] == pytest.approx(3.0, rel=1e-14)


def test_the_gap_is_paired_at_epochs_that_have_both():
    """Runs differ widely but their gaps are 0.01 and 0.03: an unpaired error would be 20 times."""
    table = summary_of(
        {
            ("training", 0): [0.9, 0.9],
            ("training", 1): [0.5, 0.5],
            ("training", 4): [0.10, 0.50],
            ("validation", 1): [0.3, 0.3],
            ("distorted", 0): [0.9, 0.9],
            ("distorted", 2): [0.4, 0.4],
            ("distorted", 4): [0.11, 0.53],
        }
    )
    gaps = table[table["metric"] == "gap"].set_index("epoch")
    assert gaps.index.tolist() == [0, 4]
    assert (gaps["split"] == "distorted").all()
    assert gaps.loc[0, ["mean", "std_error", "ci_low", "ci_high"]].tolist() == [0.0] * 4
    assert gaps.loc[4, "mean"] == pytest.approx(0.02, rel=1e-12)
    assert gaps.loc[4, "std_error"] == pytest.approx(0.01, rel=1e-12)


@pytest.mark.parametrize("missing", ["training", "distorted"])
def test_there_is_no_gap_without_both_splits(missing):
    values = {(split, 1): [0.1, 0.2] for split in ("training", "validation", "distorted")}
    del values[missing, 1]
    assert sorted(set(summary_of(values)["metric"])) == ["error", "loss"]


def test_a_diverged_run_leaves_no_mean(tmp_path):
    values = {
        ("training", 1): [0.1, 0.2, 0.3],
        ("training", 2): [0.1, np.nan, 0.3],
        ("distorted", 1): [0.2, 0.2, np.nan],
        ("distorted", 2): [0.2, 0.3, np.nan],
    }
    table = summary_of(values)
    lost = table.set_index(KEY)["n_diverged"]
    assert lost.loc["training", "error"].tolist() == [0, 1]
    assert lost.loc["training", "loss"].tolist() == [0, 1]
    assert lost.loc["distorted", "error"].tolist() == [1, 1]
    # Replica 1 is lost in one of the errors, replica 2 in the other.
    assert lost.loc["distorted", "gap"].tolist() == [1, 2]
    assert (table["n_runs"] == 3).all()
    for name in ("mean", "std_error", "ci_low", "ci_high"):
        assert (table[name].isna() == (table["n_diverged"] > 0)).all()
    write_table(tmp_path / "m.parquet", table, "metric_summary")
    back = read_table(tmp_path / "m.parquet", "metric_summary")
    assert back["mean"].isna().tolist() == table["mean"].isna().tolist()


def test_one_run_has_a_mean_without_an_error():
    table = summary_of({("training", 1): [0.25]})
    assert table["mean"].tolist() == [0.25, 2.5]
    assert table[["std_error", "ci_low", "ci_high"]].isna().all(axis=None)


@pytest.mark.slow
@pytest.mark.parametrize("level", [0.8, 0.95])
@pytest.mark.parametrize("n_runs", [4, 8])
def test_the_interval_covers_at_its_level(level, n_runs):
    """Gaussian errors, an epoch for each of 4,000 experiments; the gap shares its run."""
    experiments = 4000
    rng = np.random.default_rng(5)
    training = 0.3 + 0.05 * rng.normal(size=(experiments, n_runs))
    distorted = training + 0.1 + 0.02 * rng.normal(size=(experiments, n_runs))
    values = {("training", epoch): row for epoch, row in enumerate(training)}
    values |= {("distorted", epoch): row for epoch, row in enumerate(distorted)}
    table = summary_of(values, level)
    truth = {("training", "error"): 0.3, ("distorted", "error"): 0.4, ("distorted", "gap"): 0.1}
    for (split, metric), mean in truth.items():
        rows = table[(table["split"] == split) & (table["metric"] == metric)]
        assert len(rows) == experiments
        covered = int(((rows["ci_low"] <= mean) & (mean <= rows["ci_high"])).sum())
        assert stats.binomtest(covered, experiments, level).pvalue > 1e-3


def test_blocks_are_put_together_by_initial_weights_and_batch_size(tmp_path):
    """Replica 0 of one block is another run than replica 0 of the next."""
    errors = {(0, 64, 0): [0.1, 0.2], (0, 64, 1): [0.3, 0.6], (1, 64, 0): [0.5, 0.7]}
    files = {
        key: save(tmp_path, metrics({("training", 3): error}), *key)
        for key, error in errors.items()
    }
    frames = read_metrics(dict(reversed(files.items())), EXPECTED)
    assert sorted(frames) == [(0, 64), (1, 64)]
    assert frames[0, 64]["seed"].tolist() == [0, 0, 1, 1]
    table = metric_summary(frames, 0.95)
    assert list(table.columns) == SCHEMAS["metric_summary"].names
    means = table[table["metric"] == "error"].set_index("init")
    assert means["mean"].tolist() == pytest.approx([0.3, 0.6])
    assert means["n_runs"].tolist() == [4, 2]
    write_table(tmp_path / "m.parquet", table, "metric_summary", EXPECTED)
    assert len(read_table(tmp_path / "m.parquet", "metric_summary")) == len(table)


def test_blocks_that_do_not_belong_together_are_refused(tmp_path):
    good = save(tmp_path, metrics({("training", 3): [0.1, 0.2]}))
    other = save(tmp_path, metrics({("training", 3): [0.1]}), seed=1, config="0ther")
    with pytest.raises(ArtifactError, match=r"seed=1/metrics\.parquet: made with config '0ther'"):
        read_metrics({(0, 64, 0): good, (0, 64, 1): other}, EXPECTED)
    with pytest.raises(ArtifactError, match=r"seed=0/metrics\.parquet: holds the block"):
        read_metrics({(0, 64, 0): good, (0, 64, 1): good}, EXPECTED)


@pytest.mark.parametrize("other", [("training", 4), ("validation", 3)])
def test_blocks_of_other_epochs_are_refused(tmp_path, other):
    first = save(tmp_path, metrics({("training", 3): [0.1, 0.2]}))
    second = save(tmp_path, metrics({other: [0.1, 0.2]}), seed=1)
    with pytest.raises(ArtifactError) as caught:
        read_metrics({(0, 64, 0): first, (0, 64, 1): second}, EXPECTED)
    assert str(caught.value) == f"{second}: does not evaluate the same epochs as {first}"


def test_a_block_that_lacks_an_evaluation_of_one_replica_is_refused(tmp_path):
    values = {("training", 3): [0.1, 0.2], ("training", 4): [0.1]}
    path = save(tmp_path, metrics(values))
    with pytest.raises(ArtifactError) as caught:
        read_metrics({(0, 64, 0): path}, EXPECTED)
    assert str(caught.value) == f"{path}: its replicas do not evaluate the same epochs"


def test_an_empty_block_is_refused(tmp_path):
    """Beside a full one its runs would be missing from every mean."""
    full = save(tmp_path, metrics({("training", 3): [0.1, 0.2]}))
    empty = save(tmp_path, SCHEMAS["metrics"].empty_table().to_pandas(), seed=1)
    with pytest.raises(ArtifactError, match=r"seed=1/metrics\.parquet: holds no rows"):
        read_metrics({(0, 64, 0): full, (0, 64, 1): empty}, EXPECTED)


def test_nothing_to_summarise_is_refused():
    with pytest.raises(ArtifactError, match="no block"):
        metric_summary({}, 0.95)
