"""Environments for conda hold what the lock files hold; that of light rules has no PyTorch."""

import re
import subprocess
import sys

import pytest
import yaml
from packaging.requirements import Requirement


@pytest.fixture
def envs(repository):
    return repository / "envs"


def pins(lock):
    """The lines of a lock file that name a package."""
    return re.findall(r"^[a-z0-9].*$", lock.read_text(), re.IGNORECASE | re.MULTILINE)


@pytest.mark.parametrize(
    ("lock", "environment", "more_than"),
    [("requirements.lock", "pipeline.yaml", 100), ("light.lock", "light.yaml", 50)],
)
def test_conda_gets_the_pins_of_the_lock_file(envs, lock, environment, more_than):
    locked = pins(envs / lock)
    *_, listed = yaml.safe_load((envs / environment).read_text())["dependencies"]
    assert len(locked) > more_than
    # As requirements, so that a pin that pip could not read fails too.
    assert list(map(Requirement, listed["pip"])) == list(map(Requirement, locked))
    assert all(str(Requirement(pin).specifier).startswith("==") for pin in listed["pip"])


def test_the_files_are_as_make_lock_writes_them(envs, tmp_path):
    for name in ("pin_conda.py", "requirements.lock", "light.lock"):
        (tmp_path / name).write_text((envs / name).read_text())
    subprocess.run([sys.executable, str(tmp_path / "pin_conda.py")], check=True)
    for name in ("pipeline.yaml", "light.yaml"):
        assert (tmp_path / name).read_text() == (envs / name).read_text()


def test_the_light_environment_is_part_of_the_whole_one_without_pytorch(envs):
    whole, light = (
        {Requirement(pin).name: Requirement(pin).specifier for pin in pins(envs / name)}
        for name in ("requirements.lock", "light.lock")
    )
    assert light.items() <= whole.items()
    assert not {"torch", "torchvision", "transformers", "triton", "marimo"} & light.keys()


# Imports what scripts import when they start, as where these packages are not installed.
START = """
import ast, importlib, sys

class Absent:
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "transformers"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent)
for script in sys.argv[1:]:
    for node in ast.walk(ast.parse(open(script, encoding="utf-8").read())):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            for alias in node.names:
                getattr(module, alias.name, None) or importlib.import_module(
                    f"{node.module}.{alias.name}"
                )
"""


def test_scripts_of_light_rules_start_without_pytorch(repository):
    light, heavy = set(), set()
    for path in (repository / "workflow/rules").glob("*.smk"):
        for rule in re.split(r"(?m)^(?=rule |use rule )", path.read_text()):
            script = re.search(r"scripts/(\w+\.py)", rule)
            if script is not None:
                (light if "envs/light.yaml" in rule else heavy).add(script[1])
    assert heavy == {"train_block.py", "draw_weights.py", "check_own_code.py"}
    scripts = [repository / "workflow/scripts" / name for name in sorted(light)]
    assert len(scripts) > 20
    subprocess.run([sys.executable, "-c", START, *scripts], check=True)
