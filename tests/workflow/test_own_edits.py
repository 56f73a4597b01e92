"""What a mistake or an edit in a user's folder costs: nothing that was trained and still holds."""

import shutil
from pathlib import Path

import pytest
import yaml

from checkout import NOTHING, copy_of, jobs, snakemake
from own_study import MINE, PARTS

N = 16  # training examples
TARGET = "results/quick/verdicts/mine.md"
# The name of what is imported is known only when the code runs.
SCALED = PARTS.replace("return nn.Linear(3, 1)", "return scaled(nn.Linear(3, 1))") + (
    """
def scaled(module):
    import importlib

    factor = importlib.import_module("_".join(["my", "factor"])).FACTOR
    with torch.no_grad():
        module.weight.mul_(factor)
    return module


def squares(outputs, targets):
    return (outputs[:, 0] - targets).square().mean()
"""
)


def configured(batch_sizes: list[int], **model: object) -> str:
    mine = yaml.safe_load(yaml.safe_dump(MINE))
    experiment = mine["experiments"]["mine"]
    experiment["model"] |= {"loss": "parts:squares", "depends_on": ["table.csv"], **model}
    experiment["batch_sizes"] = batch_sizes
    return yaml.safe_dump(mine)


class Folder:
    """A user's folder, and beside it the checkout."""

    def __init__(self, root: Path) -> None:
        self.root, self.checkout, self.mine = root, root / "checkout", root / "mine"

    def fill(self, repository: Path) -> None:
        copy_of(repository, self.checkout)
        self.mine.mkdir()
        self.write("parts.py", "import torch\n" + SCALED)
        self.write("my_factor.py", "FACTOR = 2.0\n")
        self.write("table.csv", "1,2\n")
        self.write("mine.yaml", configured([4]))

    def copied(self, root: Path) -> "Folder":
        return Folder(Path(shutil.copytree(self.root, root, symlinks=True)))

    def write(self, name: str, text: str) -> None:
        (self.mine / name).write_text(text)

    def run(self, *arguments: str):
        snakefile = ("--snakefile", str(self.checkout / "Snakefile"))
        options = (*snakefile, "--configfile", "mine.yaml", *arguments)
        return snakemake(self.mine, *options, "--", TARGET)

    def planned(self) -> dict[str, int]:
        """What a dry run lists, without the jobs that are always among it."""
        done = self.run("--dry-run")
        assert done.returncode == 0, done.stderr
        output = done.stdout + done.stderr
        return {} if NOTHING in output else jobs(output)

    def trained(self) -> dict[str, bytes]:
        """Weights and blocks, as they lie there."""
        results = self.mine / "results/quick"
        files = [*results.glob("weights/**/*.safetensors"), *results.glob("runs/**/*.parquet")]
        return {f"{path} {path.stat().st_mtime_ns}": path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def ready(repository, tmp_path_factory) -> Folder:
    """A folder in which everything has run; nothing is to be done in a copy of it."""
    folder = Folder(tmp_path_factory.mktemp("edits"))
    folder.fill(repository)
    done = folder.run()
    assert done.returncode == 0, done.stderr
    copy = folder.copied(tmp_path_factory.mktemp("copies") / "copy")
    assert copy.planned() == {}
    return folder


@pytest.fixture
def folder(ready, tmp_path) -> Folder:
    """A copy for one test."""
    return ready.copied(tmp_path / "copy")


def last_line(done) -> str:
    return [line for line in done.stderr.splitlines() if line.strip()][-1]


def test_a_batch_size_above_the_examples_deletes_nothing(folder) -> None:
    before = folder.trained()
    assert before
    folder.write("mine.yaml", configured([4, N + 1]))
    done = folder.run()
    assert done.returncode != 0
    line = line_of(folder, "batch_sizes")
    assert last_line(done).startswith(
        f"error: config: experiments.mine.batch_sizes (mine.yaml, line {line}): {N + 1} is above "
        f"the {N} training examples"
    )
    assert "Job stats" not in done.stderr
    # Nor where the number of examples is found out only by a job.
    parts = (folder.mine / "parts.py").read_text()
    folder.write("parts.py", parts + "\nMORE = 1\n")
    done = folder.run()
    assert done.returncode != 0
    assert last_line(done).startswith(f"error: batch_sizes: {N + 1} is above the {N} training")
    assert folder.trained() == before
    folder.write("parts.py", parts)
    folder.write("mine.yaml", configured([4, N]))
    # The new size is trained, the old one is not.
    planned = folder.planned()
    assert planned["train_network"] == 1
    assert not {"check_own_code", "draw_own_weights"} & planned.keys()


def test_code_that_fails_deletes_nothing(folder) -> None:
    before, parts = folder.trained(), (folder.mine / "parts.py").read_text()
    folder.write("parts.py", parts.replace("scaled(nn.Linear", "scaled(Linear"))
    done = folder.run()
    assert done.returncode != 0
    assert last_line(done).startswith("error: make_model: calling it fails: NameError: name 'Lin")
    assert folder.trained() == before
    folder.write("parts.py", parts)
    assert folder.planned() == {}
    assert folder.trained() == before


def test_a_module_that_is_imported_in_any_way_is_followed(folder) -> None:
    folder.write("my_factor.py", "FACTOR = 3.0\n")
    planned = folder.planned()
    each = ("check_own_code", "draw_own_weights", "train_network")
    assert {name: planned.get(name) for name in each} == dict.fromkeys(each, 1)
    assert folder.run().returncode == 0
    assert folder.planned() == {}
    folder.write("my_factor.py", "FACTOR = 2.0\n")
    again = folder.planned()
    assert (again["draw_own_weights"], again["train_network"]) == (1, 1)


def test_a_file_that_is_listed_is_followed_and_sought_beside_the_configuration(folder) -> None:
    folder.write("table.csv", "1,3\n")
    assert folder.planned()["train_network"] == 1
    shutil.move(folder.mine / "table.csv", folder.checkout / "table.csv")
    done = folder.run()
    told = f"depends_on (mine.yaml, line {line_of(folder, 'depends_on')}): 'table.csv' is no file"
    assert told in last_line(done)
    assert f"in {folder.mine}; allowed: paths that begin in the folder of the" in last_line(done)


def line_of(folder: Folder, key: str) -> int:
    lines = (folder.mine / "mine.yaml").read_text().splitlines()
    return next(number for number, line in enumerate(lines, start=1) if key in line)
