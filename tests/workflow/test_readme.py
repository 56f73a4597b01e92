"""Every command and every snippet of the documentation, executed as it is printed.

They are read out of the pages, so a new one is covered by itself. What counts as a command: each
line of a code block without a language (fenced or indented), and inline code that begins with one
of PROGRAMS and names something to do. Blocks in Python are snippets; blocks in other languages
(text, yaml, bibtex) are neither.

They run in a copy of the tree, at the scale `smoke`: its `config.yaml` says so, and `results/quick`
is executed as `results/smoke`. The study is not run again for them: the copy has the results of the
one that all tests share, with which `make study` must find nothing to do. A command that several
pages print is executed once. Of the digits one experiment is run; test_own_experiment.py runs that
with the other network and optimizer. `snakemake` and `python` are those of the running interpreter.
`/path/to/checkout` is the copy; `mine.yaml` is a small override in the checkout, and the
configuration that the page shows in `docs/own_experiment.md`. `executed` says which commands are
not carried out but only checked; every other one is.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from checkout import NOTHING, copy_of

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", *sorted(f"docs/{path.name}" for path in ROOT.glob("docs/*.md")))
PAGES += ("examples/digits/README.md",)
OWN_PAGE = "docs/own_experiment.md"

# Where a page says that its commands are given; all others are given in the checkout.
PLACES = {OWN_PAGE: "../mine", "examples/digits/README.md": "examples/digits"}
IN_THE_CHECKOUT = ("make ", ".ci/run")

PROGRAMS = ("make", "snakemake", "python", ".ci/run")

# Long, or in need of a cluster or of the whole tree; `.ci/run` calls check and test.
NOT_HERE = {"test", "test-fast", "test-cluster", "bench", "calibrate", "check", "gpu-check", "lock"}
NOT_HERE |= {"findings"}  # of the scale quick alone

OVERRIDE = """\
experiments: {admission_sweep: {polynomial: {degree: 5}}}
scales: {weekend: {admission: {runs: 100, runs_per_block: 50}}}
"""
OWN_SCALE = "weekend"

NETWORK = """from torch import nn

def make_model(width):
    return nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, 3))
"""
METRICS = """def error(outputs, targets):
    return (outputs.argmax(dim=-1) != targets).double()
"""
DATA = """import numpy as np

def make_dataset():
    generator = np.random.default_rng(1)
    x = generator.normal(size=(192, 4)).astype("float32")
    y = x[:, :3].argmax(axis=1)
    return (x[:160], y[:160]), (x[160:], y[160:])
"""


def blocks(text: str) -> list[tuple[str, str, str]]:
    """A page as (prose | code, language, text), in its order; an indented block has no language."""
    found: list[tuple[str, str, list[str]]] = [("prose", "", [])]
    fenced, blank = False, True
    for line in text.splitlines():
        kind, _, lines = found[-1]
        indented = line.startswith("    ") and (blank or (kind == "code" and not fenced))
        if line.startswith("```"):
            fenced = not fenced
            found.append(("code", line[3:].strip(), []) if fenced else ("prose", "", []))
        elif fenced:
            lines.append(line)
        elif indented and kind == "prose":
            found.append(("code", "", [line[4:]]))
        elif indented:
            lines.append(line[4:])
        elif kind == "code":
            found.append(("prose", "", [line]))
        else:
            lines.append(line)
        blank = not line.strip()
    assert not fenced, "a fence is not closed"
    return [(kind, language, "\n".join(lines)) for kind, language, lines in found]


def commands(text: str) -> list[str]:
    """The commands of a page in its order, each once, without their comments."""
    found = []
    for kind, language, content in blocks(text):
        if kind == "prose":
            spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", content)]
            inline = re.compile(rf"({'|'.join(map(re.escape, PROGRAMS[:-1]))}) .*|\.ci/run")
            found += [span for span in spans if inline.fullmatch(span)]
        elif not language:
            lines = content.replace("\\\n", " ").splitlines()
            found += [re.sub(r"(^|\s)#.*", "", line).strip() for line in lines]
    return list(dict.fromkeys(filter(None, found)))


def snippets(text: str) -> list[str]:
    return [content for _, language, content in blocks(text) if language == "python"]


def executed(command: str) -> str:
    """What runs in place of a command: itself, or a check where it cannot be carried out here.

    A Slurm profile, the paper's scale and a scale of one's own are planned only, but `plan` only
    counts and is run.
    """
    program, *words = command.split()
    if program == ".ci/run":
        return "test -x .ci/run && bash -n .ci/run"
    if program == "make" and NOT_HERE & set(words):
        return command.replace("make", "make --dry-run", 1)
    too_large = {"scale=paper", "scale=overnight", f"scale={OWN_SCALE}"} & set(
        words
    ) and "plan" not in words
    if program == "snakemake" and (too_large or any(word.endswith("slurm") for word in words)):
        return command.replace("snakemake", "snakemake --dry-run", 1)
    return command


CASES = [(page, command) for page in PAGES for command in commands((ROOT / page).read_text())]
# That of docs/extending.md defines a kind of model: tests/workflow/test_new_kind.py uses it.
SNIPPETS = [
    (page, text)
    for page in PAGES
    if page != "docs/extending.md"
    for text in snippets((ROOT / page).read_text())
]


class Checkout:
    """A copy of the tree in which commands are given as a reader would."""

    def __init__(self, root: Path, study: Path, data: str | None) -> None:
        self.root = copy_of(ROOT, root / "checkout")
        for name in (".snakemake", "raw_data", "results"):
            shutil.copytree(study / name, self.root / name, symlinks=True)
        self._succeeded: set[tuple[str, str]] = set()
        for name in ("Makefile", "README.md", "pyproject.toml"):
            shutil.copy(ROOT / name, self.root / name)
        for name in (".ci", "docs", "examples"):
            ignored = shutil.ignore_patterns("results", "logs", ".snakemake", "__py*")
            shutil.copytree(ROOT / name, self.root / name, ignore=ignored)
        self._change("config.yaml", "scale: .*", "scale: smoke")
        self._change("examples/digits/config.yaml", "only: .*", "only: [digits_plain_sgd]")
        self._install()
        (self.root / "mine.yaml").write_text(OVERRIDE)
        self._write_own_experiment(root / "mine")
        # Without what a `make test` around this hands to the makes within.
        unwanted = re.compile("DATA_DIR|M(AKE|FLAGS).*")
        self.environment = {
            k: value for k, value in os.environ.items() if not unwanted.fullmatch(k)
        }
        if data is not None:
            self.environment["DATA_DIR"] = data
        self.environment["PATH"] = f"{self.root / '.venv/bin'}:{os.environ['PATH']}"

    def _change(self, name: str, pattern: str, line: str) -> None:
        """Put a line in the place of the one that matches."""
        path = self.root / name
        text, n_changed = re.subn(rf"(?m)^{pattern}$", line, path.read_text())
        assert n_changed == 1
        path.write_text(text)

    def _install(self) -> None:
        """An environment as `make` would install it: the running one, with the copy's library."""
        programs = self.root / ".venv/bin"
        programs.mkdir(parents=True)
        for name, module in (("python", ""), ("snakemake", "-m snakemake")):
            path = f'PYTHONPATH="{self.root / "src"}${{PYTHONPATH:+:$PYTHONPATH}}"'
            line = f'{path} exec "{sys.executable}" {module} "$@"'
            (programs / name).write_text(f"#!/bin/sh\n{line}\n")
            (programs / name).chmod(0o755)
        (self.root / ".venv/.installed").touch()  # newer than the list of packages

    def _write_own_experiment(self, folder: Path) -> None:
        """What docs/own_experiment.md asks of its reader."""
        page = blocks((ROOT / OWN_PAGE).read_text())
        [shown] = [content for _, language, content in page if language == "yaml"]
        (folder / "my_pkg").mkdir(parents=True)
        (folder / "mine.yaml").write_text(shown)
        (folder / "my_pkg/networks.py").write_text(NETWORK)
        (folder / "my_pkg/data.py").write_text(DATA)
        (folder / "my_pkg/metrics.py").write_text(METRICS)
        (folder / "tables").mkdir()
        (folder / "tables/train.csv").write_text("x,y\n")

    def run(self, command: str, place: str = ".") -> subprocess.CompletedProcess[str]:
        """The command in a folder that is named from the checkout; fails with its output."""
        command = command.replace("results/quick", "results/smoke")
        command = command.replace("/path/to/checkout", str(self.root))
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.root / place,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=3600,  # so that nothing hangs; a busy machine may be slow
        )
        assert done.returncode == 0, f"$ {command}\n{done.stdout}\n{done.stderr}"
        return done

    def run_once(self, command: str, place: str) -> None:
        """The command, unless another page had it before."""
        if (command, place) not in self._succeeded:
            self.run(command, place)
            self._succeeded.add((command, place))


@pytest.fixture(scope="module")
def study(tmp_path_factory, smoke_study, data_dir) -> Checkout:
    """A copy in which `make study` has run."""
    checkout = Checkout(tmp_path_factory.mktemp("readme"), smoke_study, data_dir)
    done = checkout.run("make study")
    assert NOTHING in done.stdout + done.stderr
    return checkout


@pytest.mark.parametrize(("page", "command"), CASES, ids=[": ".join(case) for case in CASES])
def test_command_succeeds(study, page, command):
    place = "." if command.startswith(IN_THE_CHECKOUT) else PLACES.get(page, ".")
    study.run_once(executed(command), place)


@pytest.mark.parametrize(("page", "text"), SNIPPETS, ids=[page for page, _ in SNIPPETS])
def test_snippet_prints_something(study, page, text):
    (study.root / PLACES.get(page, ".") / "snippet.py").write_text(
        text.replace("results/quick", "results/smoke")
    )
    assert study.run("python snippet.py", PLACES.get(page, ".")).stdout.strip()


def test_pages_hold_commands_and_snippets():
    """The extraction sees what is known to be there."""
    assert ("README.md", "make study") in CASES
    assert ("README.md", "snakemake --cores all fig1b") in CASES
    assert ("docs/cluster.md", "make test-cluster") in CASES  # inline
    assert ("docs/errata.md", "python -m pipeline_lib.claims T2") in CASES  # indented
    assert len(SNIPPETS) >= 3


def test_only_what_cannot_run_here_is_replaced():
    replaced = {command for _, command in CASES if executed(command) != command}
    allowed = re.compile(
        r"make (test|test-fast|calibrate|check|bench|findings|gpu-check|test-cluster)|\.ci/run|"
        r".*(scale=(paper|overnight|weekend)|slurm).*"
    )
    assert [command for command in replaced if not allowed.fullmatch(command)] == []
    assert executed("snakemake --cores 2 fig1a") == "snakemake --cores 2 fig1a"
    assert executed("frobnicate --profile slurm") == "frobnicate --profile slurm"


@pytest.mark.parametrize("page", PAGES)
def test_relative_links_and_images_exist(page):
    text = (ROOT / page).read_text()
    prose = "\n".join(content for kind, _, content in blocks(text) if kind == "prose")
    targets = re.findall(r"\]\(([^)\s]+)\)", prose)
    relative = [target for target in targets if not target.startswith(("http:", "https:", "#"))]
    missing = [
        target
        for target in relative
        if not ((ROOT / page).parent / target.partition("#")[0]).exists()
    ]
    assert missing == []


@pytest.mark.parametrize("page", PAGES)
def test_files_of_the_repository_that_are_named_exist(page):
    text = (ROOT / page).read_text()
    prose = "\n".join(content for kind, _, content in blocks(text) if kind == "prose")
    folders = "docs|src|workflow|slurm|profiles|tests|envs|bench|examples"
    named = set(re.findall(rf"`((?:{folders})/[\w./-]*)`", prose))
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def result_names() -> list[str]:
    """The tables, folders and files that the page on results names in its table."""
    table = (ROOT / "docs/results.md").read_text().split("| table | what |\n|---|---|\n")[1]
    rows = table.split("\n\n")[0].splitlines()
    named = [name for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])]
    return [name for name in named if name != "verdicts"]  # of experiments of one's own


@pytest.mark.parametrize("name", result_names())
def test_results_that_are_named_exist(study, name):
    """A name without an ending is a folder or a table; results/README.md describes the columns."""
    results = study.root / "results/smoke"
    assert [*results.glob(name), *results.glob(f"{name}.parquet")], name
