"""The example of an experiment of one's own, run from a folder outside the checkout."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from checkout import NOTHING, copy_of, jobs, snakemake_from, with_real_edit
from pipeline_lib.artifacts.files import read_provenance, read_table
from pipeline_lib.artifacts.weights import read_weights

pytest.importorskip("sklearn")

NAME = "digits_residual_adam"
ONLY_ONE = ("--config", "scale=smoke", f"only=[{NAME}]")


@pytest.fixture(scope="module")
def places(repository, tmp_path_factory) -> tuple[Path, Path]:
    """A checkout, and beside it a user's folder in which one experiment of the example has run."""
    root = tmp_path_factory.mktemp("own")
    checkout = copy_of(repository, root / "checkout")
    folder = root / "mine"
    shutil.copytree(
        repository / "examples/digits", folder, ignore=shutil.ignore_patterns(".*", "results")
    )
    done = snakemake_from(checkout, folder, *ONLY_ONE)
    assert done.returncode == 0, done.stderr
    return checkout, folder


def test_an_experiment_leaves_its_tables_figure_and_verdict(places) -> None:
    checkout, folder = places
    results = folder / "results/smoke"
    path = results / f"variance/{NAME}.parquet"
    variance = read_table(path, "variance")
    assert set(variance["b"]) == {8, 32}
    assert set(variance["n_runs"]) == {8}
    assert read_provenance(path)["n_rows"] == 96
    whole = variance[variance["tensor"] == "all"]
    assert whole["step"].max() >= 9
    assert (whole["variance"] > 0).all()
    metrics = read_table(results / f"metrics/{NAME}.parquet", "metric_summary")
    assert set(metrics["split"]) == {"training", "validation"}
    verdict = read_table(results / f"verdicts/{NAME}.parquet", "claims")
    assert verdict["verdict"].item() != "refuted"
    # Steps 0 and 1: the last of b = 32 would be drawn from itself.
    assert verdict["n_comparisons"].item() == 2
    assert NAME in (results / f"verdicts/{NAME}.md").read_text()
    for kind in ("svg", "png"):
        assert (results / f"figures/{NAME}_variance.{kind}").stat().st_size > 10_000
    assert not (checkout / "results").exists()


@pytest.mark.parametrize("b", [8, 32])
def test_the_variance_at_step_0_has_its_closed_form(places, monkeypatch, b) -> None:
    """(1/b - 1/n) n/(n-1) times the population variance of one example's gradient."""
    _, folder = places
    monkeypatch.syspath_prepend(folder)
    from digits_study.data import make_dataset
    from digits_study.networks import make_model

    n, module = 96, make_model(residual=True)
    (x, y), _ = make_dataset(training=n)
    results = folder / "results/smoke"
    weights = read_weights(results / f"weights/experiment={NAME}/init=0.safetensors")
    module.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
    single = []
    for i in range(n):
        loss = functional.cross_entropy(module(torch.tensor(x[[i]])), torch.tensor(y[[i]]))
        parts = torch.autograd.grad(loss, list(module.parameters()))
        single.append(torch.cat([part.flatten() for part in parts]).double().numpy())
    closed = (1 / b - 1 / n) * n / (n - 1) * np.var(single, axis=0).sum()
    rows = read_table(results / f"variance/{NAME}.parquet", "variance")
    rows = rows[(rows["tensor"] == "all") & (rows["step"] == 0) & (rows["b"] == b)]
    rows = rows[rows["quantity"] == "stochastic_gradient"]
    first = rows[rows["estimator"] == "sample"].iloc[0]
    assert abs(first["variance"] - closed) < 4 * first["std_error"] < closed


def test_one_command_makes_a_report_of_it(places) -> None:
    checkout, folder = places
    tensor = f"results/smoke/figures/{NAME}/variance_of_0.weight.png"
    path = folder / "report.html"
    # Targets come after a flag: other options take what follows as their values.
    targets = ("--report-after-run", "report_items", tensor, "--report", path.name)
    done = snakemake_from(checkout, folder, *targets, *ONLY_ONE)
    assert done.returncode == 0, done.stderr
    shown = path.read_text()
    for name in ("variance.svg", "tensors.svg", "losses.svg"):
        assert f"{NAME}_{name}" in shown
    assert f"{NAME}.html" in shown
    page = (folder / f"results/smoke/pages/own/{NAME}.html").read_text()
    assert "The variance of the stochastic gradient decreases strictly in b" in page
    assert "validation loss after epoch 1" in page
    assert (folder / tensor).stat().st_size > 10_000
    other = tensor.replace("0.weight", "nothing")
    done = snakemake_from(checkout, folder, "--keep-going", other, *ONLY_ONE)
    assert "error: figure: 'nothing' is no tensor; allowed: 0.bias, 0.weight" in done.stderr


def test_the_whole_example_is_its_own_experiments_and_nothing_of_the_paper(places) -> None:
    done = snakemake_from(*places, "--dry-run", "--forceall")
    counted = jobs(done.stdout + done.stderr)
    each = ("check_own_code", "draw_own_weights", "aggregate_variance", "summarise_metrics")
    each += ("gradient_variance", "tensors_variance", "own_losses", "decide_ordering")
    each += ("estimate_noise_scale", "noise_scale")
    assert {name: counted.pop(name) for name in each} == dict.fromkeys(each, 4)
    assert counted == {"train_network": 12, "describe_results": 1, "all": 1, "total": 54}


def test_nothing_is_done_again_although_the_checkout_has_moved(places) -> None:
    checkout, folder = places
    moved = checkout.rename(checkout.with_name("moved"))
    try:
        for _ in range(2):
            done = snakemake_from(moved, folder, "--dry-run", *ONLY_ONE)
            assert NOTHING in done.stdout + done.stderr, done.stdout
    finally:
        moved.rename(checkout)


@pytest.mark.parametrize(
    ("edited", "again"),
    [
        ("mine/digits_study/networks.py", "draw_own_weights"),
        ("checkout/src/pipeline_lib/training/update.py", "train_network"),
    ],
)
def test_edited_code_reruns_what_depends_on_it(places, edited, again) -> None:
    checkout, folder = places
    path = checkout.parent / edited
    original = path.read_text()
    path.write_text(with_real_edit(original))
    try:
        done = snakemake_from(checkout, folder, "--dry-run", *ONLY_ONE)
    finally:
        path.write_text(original)
    counted = jobs(done.stdout + done.stderr)
    assert counted[again] >= 1
    assert counted["train_network"] == 2


def test_a_module_that_keeps_state_is_refused_before_training(places, tmp_path) -> None:
    checkout, folder = places
    mine = tmp_path / "mine"
    shutil.copytree(folder, mine, ignore=shutil.ignore_patterns(".snakemake", "results", "logs"))
    network = mine / "digits_study/networks.py"
    text = network.read_text()
    assert "nn.GroupNorm(2, channels)" in text
    network.write_text(text.replace("nn.GroupNorm(2, channels)", "nn.BatchNorm2d(channels)"))
    done = snakemake_from(checkout, mine, *ONLY_ONE)
    assert done.returncode != 0
    (log,) = (path.read_text() for path in mine.glob(f"logs/smoke/checks/{NAME}.*.log"))
    assert "2.layers.1 is a BatchNorm2d with running statistics" in log
    assert "Traceback" not in log
    assert not list((mine / "results").rglob("*.parquet"))
