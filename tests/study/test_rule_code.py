"""Rules list as `code` the library modules that decide their numbers: those their scripts reach."""

import ast
import json
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"

# Modules that decide no number: files, logs and messages. The configuration's values reach a job as
# parameters, which Snakemake compares itself.
WITHOUT_NUMBERS = {"artifacts", "config", "errors", "logs", "schemas"}
# So do some names of other modules: files again, what rows of tables are called, types.
NAMES_WITHOUT_NUMBERS = {
    "initial_weights": {"read_weights", "write_weights"},
    "metric_tables": {"DISTORTED", "ERROR", "GAP", "LOSS", "TRAINING", "VALIDATION"},
    "models/base": {"Batch"},
    "statistics": {"ALL", "FULL", "STOCHASTIC"},
}

LIST_RULES = """
import json, sys
from snakemake.api import SnakemakeApi
from snakemake.settings.types import OutputSettings, Quietness, ResourceSettings
from pathlib import Path
with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
    snakefile, folder = map(Path, sys.argv[1:])
    workflow = api.workflow(ResourceSettings(cores=1), snakefile=snakefile, workdir=folder)
    rules = workflow._workflow.rules
    found = {
        rule.name: [rule.script, list(rule.input.get("code", [])), list(rule.input.keys())]
        for rule in rules
        if rule.script is not None
    }
print(json.dumps(found))
"""


class Use(NamedTuple):
    """A name of a module of the library, or all of the module."""

    module: str
    name: str | None


class Module:
    """What each top-level name of a file refers to. Annotations decide nothing and are left out."""

    def __init__(self, path: Path) -> None:
        self.definitions: dict[str, list[ast.AST]] = {}
        self.imported: dict[str, Use] = {}
        self.always: list[ast.AST] = []
        for node in ast.parse(path.read_text()).body:
            names = defined_by(node)
            if isinstance(node, ast.ImportFrom):
                self.imported |= dict(imports(node))
            for name in names:
                self.definitions.setdefault(name, []).append(node)
            if not names and not isinstance(node, ast.Import | ast.ImportFrom):
                self.always.append(node)

    def uses(self, name: str | None) -> Iterator[tuple[str | None, Use | None]]:
        """Names of this module and uses of others that ``name``, or all of the module, needs."""
        every = [node for nodes in self.definitions.values() for node in nodes]
        nodes = every if name is None else self.definitions.get(name, [])
        if name in self.imported:
            yield None, self.imported[name]
        for node in [*nodes, *self.always]:
            for part in without_annotations(node):
                if isinstance(part, ast.ImportFrom):
                    yield from ((None, use) for _, use in imports(part))
                elif isinstance(part, ast.Name) and part.id in self.imported:
                    yield None, self.imported[part.id]
                elif isinstance(part, ast.Name) and part.id in self.definitions:
                    yield part.id, None


def defined_by(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [part.id for target in node.targets for part in ast.walk(target)
                if isinstance(part, ast.Name)]  # fmt: skip
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [node.target.id]
    return []


def imports(node: ast.ImportFrom) -> Iterator[tuple[str, Use]]:
    """Local names that stand for something of the library."""
    for alias in node.names if (node.module or "").startswith("pipeline_lib") else ():
        package = (node.module or "").split(".")[1:]
        whole = "/".join([*package, alias.name])
        local = alias.asname or alias.name
        if (SOURCE / f"pipeline_lib/{whole}.py").exists():
            yield local, Use(whole, None)
        else:
            yield local, Use("/".join(package) or "__init__", alias.name)


def without_annotations(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for field, value in ast.iter_fields(node):
        if field not in ("annotation", "returns"):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from without_annotations(child)


@cache
def parsed(name: str) -> Module:
    return Module(SOURCE / f"pipeline_lib/{name}.py")


def reached(script: Path, but: Mapping[str, Collection[str]]) -> set[str]:
    """Modules that ``script`` needs, its imports' imports included, but for some names of them."""
    start = Module(script)
    left = [use for name in (None, *start.imported) for _, use in start.uses(name) if use]
    seen: set[Use] = set()
    while left:
        use = left.pop()
        if use in seen or use.module in WITHOUT_NUMBERS or use.name in but.get(use.module, ()):
            continue
        seen.add(use)
        for name, other in parsed(use.module).uses(use.name):
            left.append(other or Use(use.module, name))
    return {use.module for use in seen}


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, set[str], set[str]]]:
    """Script, listed modules and names of inputs of every rule that runs a script."""
    folder = tmp_path_factory.mktemp("rules")
    command = [sys.executable, "-c", LIST_RULES, ROOT / "Snakefile", folder]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return {
        name: (ROOT / "workflow/rules" / script, modules_of(code), set(inputs))
        for name, (script, code, inputs) in found.items()
    }


def modules_of(files: Iterable[str]) -> set[str]:
    ours = [file.partition("/pipeline_lib/")[2] for file in files]
    return {name.removesuffix(".py") for name in ours if name.endswith(".py")}


def test_rules_list_the_modules_that_decide_their_numbers(rules) -> None:
    assert len(rules) > 30
    wrong = {}
    for name, (script, listed, _) in rules.items():
        missing = reached(script, NAMES_WITHOUT_NUMBERS) - listed
        needless = listed - reached(script, {})
        if missing or needless:
            wrong[name] = f"missing {sorted(missing)}, needless {sorted(needless)}"
    assert not wrong, json.dumps(wrong, indent=1)


def test_states_of_blocks_depend_on_all_that_their_rules_are_given(rules) -> None:
    blocks = {name: rule for name, rule in rules.items() if name.startswith("train_")}
    assert len(blocks) == 5
    for name, (script, _, inputs) in blocks.items():
        text = script.read_text()
        call = next(
            node
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "block_checkpoint"
        )
        told = {ast.unparse(part) for part in ast.walk(call)}
        needed = {f"snakemake.input.{of}" for of in inputs} | {"__file__"}
        needed |= {
            f"snakemake.params.{of}"
            for of in ("allow_tf32", "config_digest", "evaluated_epochs", "learning_rates")
            if f"params.{of}" in text
        }
        assert needed <= told, (name, needed - told)


@pytest.mark.parametrize(
    ("script", "module", "used"),
    [
        ("train_block", "models/linear_kernel", True),
        ("train_block", "models/linear", True),  # imported within a function
        ("train_block", "theory/linear_regression", True),  # by an import of an import
        ("train_mlp_block", "models/linear_kernel", False),  # beside what is used of `blocks`
        ("train_xlnet_block", "blocks_epochs", False),
        ("train_xlnet_block", "logs", False),
    ],
)
def test_a_script_reaches_what_it_uses(script: str, module: str, used: bool) -> None:
    found = reached(ROOT / f"workflow/scripts/{script}.py", NAMES_WITHOUT_NUMBERS)
    assert (module in found) == used
