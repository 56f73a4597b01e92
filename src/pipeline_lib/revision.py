"""The commit of a checkout, for a report to state."""

import subprocess
from pathlib import Path


def revision(folder: Path) -> str:
    """Short hash of the commit checked out in ``folder``, ``-dirty`` appended if it was changed.

    `unknown` where ``folder`` is not the top of a git checkout, or git is not installed.
    """
    if not (folder / ".git").exists():
        return "unknown"
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()
