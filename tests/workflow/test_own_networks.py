"""Networks that others wrote, run from a folder: the variance at step 0 is that of plain torch."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn
from torch.nn import functional

from checkout import copy_of, snakemake_from
from pipeline_lib.artifacts.files import read_provenance, read_table
from pipeline_lib.artifacts.weights import read_weights
from pipeline_lib.estimation.statistics import ALL
from pipeline_lib.sampling.epochs import EpochSampler
from pipeline_lib.seeding import seed_sequence
from pipeline_lib.study.model import COUPLED, MEAN

pytest.importorskip("sklearn")
NAMES = ("resnet18", "lstm", "bert")
SEED = 20200428  # of config.yaml
BATCH = 8


@pytest.fixture(scope="module")
def folder(repository, tmp_path_factory) -> Path:
    """The folder of a user who has made what is read below, at the example's smallest scale.

    Of one batch size: a job of these networks takes up to ten seconds of a processor.
    """
    root = tmp_path_factory.mktemp("networks")
    checkout, mine = copy_of(repository, root / "checkout"), root / "mine"
    ignored = shutil.ignore_patterns(".*", "results", "logs", "benchmarks")
    shutil.copytree(repository / "examples/networks", mine, ignore=ignored)
    configuration = yaml.safe_load((mine / "config.yaml").read_text())
    for changed in configuration["scales"]["smoke"].values():
        changed["batch_sizes"] = [BATCH]
    (mine / "config.yaml").write_text(yaml.safe_dump(configuration))
    targets = (f"results/smoke/figures/{name}_variance.svg" for name in NAMES)
    done = snakemake_from(checkout, mine, "--config", "scale=smoke", "--", *targets)
    assert done.returncode == 0, done.stderr
    return mine


def resnet() -> nn.Module:
    from torchvision.models import resnet18

    module = resnet18(num_classes=10)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.track_running_stats = False
            part.running_mean = part.running_var = part.num_batches_tracked = None
    return module


def lstm() -> nn.Module:
    from networks_study.networks import LastState

    return LastState()


def bert() -> nn.Module:
    from transformers import BertConfig, BertForSequenceClassification

    file = Path(sys.modules["networks_study"].__file__ or "").parents[1] / "config.yaml"
    experiment = yaml.safe_load(file.read_text())["experiments"]["bert"]
    settings = experiment["model"]["arguments"]["make_model"]["config"]
    return BertForSequenceClassification(BertConfig(**settings))


def smoothed(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(outputs, targets, label_smoothing=0.1)


@pytest.mark.parametrize(
    ("name", "make", "loss", "dataset", "training", "runs", "kind"),
    [
        ("resnet18", resnet, functional.cross_entropy, "images", 16, 2, COUPLED),
        ("lstm", lstm, smoothed, "rows", 32, 6, MEAN),
        ("bert", bert, functional.cross_entropy, "words", 32, 6, MEAN),
    ],
)
def test_variance_at_step_0(
    folder, monkeypatch, name, make, loss, dataset, training, runs, kind
) -> None:
    monkeypatch.syspath_prepend(folder)
    from networks_study import data

    (x, y), _ = getattr(data, dataset)(training, 8)
    results = folder / "results/smoke"
    weights = read_weights(results / f"weights/experiment={name}/init=0.safetensors")
    module = make().train()
    module.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
    order = EpochSampler(training, BATCH, runs, stream_of(name)).order(0)[:, :BATCH]
    gradients = []
    for chosen in order:
        if isinstance(x, dict):
            outputs = module(**{key: torch.from_numpy(part[chosen]) for key, part in x.items()})
            outputs = outputs.logits
        else:
            outputs = module(torch.from_numpy(x[chosen]).float())
        parts = torch.autograd.grad(
            loss(outputs, torch.from_numpy(y[chosen])), list(module.parameters())
        )
        gradients.append(torch.cat([part.flatten() for part in parts]).double().numpy())
    expected = np.var(gradients, axis=0, ddof=1).sum()
    path = results / f"variance/{name}.parquet"
    rows = read_table(path, "variance")
    first = rows[(rows["tensor"] == ALL) & (rows["step"] == 0) & (rows["b"] == BATCH)]
    assert first["variance"].item() == pytest.approx(expected, rel=2e-3)
    assert read_provenance(path)["loss"] == kind
    figure = (results / f"figures/{name}_variance.svg").read_text()
    assert ("not a mean over examples" in figure) == (kind != MEAN)


def stream_of(name: str) -> np.random.SeedSequence:
    return seed_sequence(SEED, "batches", name, 0, BATCH, 0)
