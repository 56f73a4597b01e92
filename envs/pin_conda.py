"""Write the pins of the lock files into environments for conda; `make lock` calls it.

Conda copies such a file to a folder of its own before it reads it, where a path to a lock file
would lead nowhere.
"""

import json
from pathlib import Path

ENVS = Path(__file__).resolve().parent
ENVIRONMENTS = {
    "pipeline.yaml": ("requirements.lock", "the packages of .venv"),
    "light.yaml": ("light.lock", "what rules use that need no PyTorch"),
}
HEAD = """\
# For `--software-deployment-method conda`: {packages}. Written by `make lock`.
channels: [conda-forge]
dependencies:
  - python=3.11
  - pip
  - pip:
"""


def conda_environment(lock: str, packages: str) -> str:
    """The text of an environment for the text of a lock file: each pin with its marker."""
    lines = [line.strip() for line in lock.splitlines()]
    pins = [line for line in lines if line and not line.startswith("#")]
    head = HEAD.format(packages=packages)
    return head + "".join(f"      - {json.dumps(pin)}\n" for pin in pins)


if __name__ == "__main__":
    for name, (lock, packages) in ENVIRONMENTS.items():
        text = conda_environment((ENVS / lock).read_text(), packages)
        (ENVS / name).write_text(text)
