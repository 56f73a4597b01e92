"""Write the pins of requirements.lock into pipeline.yaml; `make lock` calls it.

Conda copies the file to a folder of its own before it reads it, where a path to requirements.lock
would lead nowhere.
"""

import json
from pathlib import Path

ENVS = Path(__file__).resolve().parent
HEAD = """\
# For `--software-deployment-method conda`: the packages of .venv. Written by `make lock`.
channels: [conda-forge]
dependencies:
  - python=3.11
  - pip
  - pip:
"""


def conda_environment(lock: str) -> str:
    """The text of pipeline.yaml for the text of requirements.lock: each pin with its marker."""
    lines = [line.strip() for line in lock.splitlines()]
    pins = [line for line in lines if line and not line.startswith("#")]
    return HEAD + "".join(f"      - {json.dumps(pin)}\n" for pin in pins)


if __name__ == "__main__":
    lock = (ENVS / "requirements.lock").read_text()
    (ENVS / "pipeline.yaml").write_text(conda_environment(lock))
