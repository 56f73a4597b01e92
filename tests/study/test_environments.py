"""The environment for conda holds what .venv holds."""

import re
import subprocess
import sys

import pytest
import yaml
from packaging.requirements import Requirement


@pytest.fixture
def envs(repository):
    return repository / "envs"


def test_conda_gets_the_pins_of_the_lock_file(envs):
    lock = (envs / "requirements.lock").read_text()
    locked = re.findall(r"^[a-z0-9].*$", lock, re.IGNORECASE | re.MULTILINE)
    *_, listed = yaml.safe_load((envs / "pipeline.yaml").read_text())["dependencies"]
    assert len(locked) > 100
    # As requirements, so that a pin that pip could not read fails too.
    assert list(map(Requirement, listed["pip"])) == list(map(Requirement, locked))
    assert all(str(Requirement(pin).specifier).startswith("==") for pin in listed["pip"])


def test_the_file_is_as_make_lock_writes_it(envs, tmp_path):
    for name in ("pin_conda.py", "requirements.lock"):
        (tmp_path / name).write_text((envs / name).read_text())
    subprocess.run([sys.executable, str(tmp_path / "pin_conda.py")], check=True, timeout=60)
    assert (tmp_path / "pipeline.yaml").read_text() == (envs / "pipeline.yaml").read_text()
