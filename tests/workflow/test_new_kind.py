"""A kind of model of one's own, as docs/extending.md writes it, through the whole pipeline."""

import re
from pathlib import Path

import numpy as np
import pytest

from checkout import copy_of, snakemake_from
from pipeline_lib.artifacts.checkpoint import Checkpoint, StoppedError
from pipeline_lib.artifacts.files import read_table
from pipeline_lib.models import MODELS
from pipeline_lib.study.block import Block
from pipeline_lib.study.config import load_study

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/extending.md"


def blocks_of_page() -> dict[str, str]:
    """The files that the page shows, by the name in their first line."""
    found = re.findall(r"```\w+\n# (\S+)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return dict(found)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A user's folder with the files of the page."""
    folder: Path = tmp_path_factory.mktemp("kind")
    for name, text in blocks_of_page().items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    (folder / "my_kinds/__init__.py").touch()
    return folder


@pytest.fixture(scope="module")
def results(repository, folder) -> Path:
    """The results of the page's command."""
    checkout = copy_of(repository, folder / "checkout")
    done = snakemake_from(checkout, folder, configuration="mine.yaml")
    assert done.returncode == 0, done.stderr
    return folder / "results/quick"


def exact_variance(b: int, steps: int, rate: float = 0.1, p: int = 5) -> np.ndarray:
    """var(g_t | F_0): p/b of the step's own noise and what the weights have gathered."""
    weights = np.zeros(steps)
    for t in range(1, steps):
        weights[t] = (1 - rate) ** 2 * weights[t - 1] + rate**2 * p / b
    return weights + p / b


def test_its_variances_are_the_exact_ones(results) -> None:
    table = read_table(results / "variance/quadratic.parquet", "variance")
    chosen = table[
        (table["quantity"] == "stochastic_gradient") & (table["estimator"] == "rao_blackwell")
    ]
    assert set(chosen["b"]) == {1, 4, 16}
    for b, rows in chosen.groupby("b"):
        exact = exact_variance(b, 30)[rows["step"].to_numpy()]
        # 40 runs: the part that is estimated is at most a fifth of the whole.
        assert np.allclose(rows["variance"], exact, rtol=0.15)


def test_it_has_its_figure_and_its_verdict(results) -> None:
    assert (results / "figures/quadratic_variance.svg").stat().st_size > 0
    assert "quadratic" in (results / "verdicts/quadratic.md").read_text()


class StopsAt(Checkpoint):
    """A checkpoint at which a stop is requested at its second look."""

    looks = 0

    def save_if_due(self, state) -> bool:
        self.looks += 1
        if self.looks == 2:
            self.save(state())
            raise StoppedError("stopped")
        return False


def test_it_stops_and_goes_on_bit_for_bit(folder, tmp_path, monkeypatch) -> None:
    import yaml

    monkeypatch.syspath_prepend(folder)
    raw = yaml.safe_load((ROOT / "config.yaml").read_text())
    own = yaml.safe_load((folder / "mine.yaml").read_text())
    own["experiments"]["quadratic"]["iterations"] = 200  # three records
    raw["experiments"] |= own["experiments"]
    experiment = load_study(raw, MODELS).experiments["quadratic"]
    block = Block(experiment, 0, 4, 0, study_seed=1)
    model = experiment.model
    weights, data = model.draw_weights(experiment, 0, {}), model.load(experiment, {})
    whole = model.train(block, weights, data)
    path = tmp_path / "state.zip"
    with pytest.raises(StoppedError), StopsAt(path, {}) as checkpoint:
        model.train(block, weights, data, checkpoint)
    assert path.exists()
    with Checkpoint(path, {}) as checkpoint:
        resumed = model.train(block, weights, data, checkpoint)
    assert resumed.statistics.equals(whole.statistics)
    assert not path.exists()
