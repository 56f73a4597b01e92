"""``python -m pipeline_lib.new my_study`` writes a folder with a study of one's own that runs.

It has a configuration, a network, a data set and a README with the command; a minute on two cores.
"""

import argparse
import re
import sys
from pathlib import Path

from pipeline_lib.artifacts.files import write_text
from pipeline_lib.errors import ConfigError, PipelineError
from pipeline_lib.imports import is_used

_TEMPLATES = Path(__file__).with_name("new_study")
_SNAKEFILE = Path(__file__).resolve().parents[2] / "Snakefile"


def write_study(folder: Path) -> list[Path]:
    """Write the files of a study named as ``folder``, which is not there yet; their paths.

    Raises ConfigError if the folder is there or its name cannot be that of a package.
    """
    name = folder.name
    if not re.fullmatch("[a-z][a-z0-9_]*", name):
        raise ConfigError(
            f"{name!r} is no name of a study; allowed: a-z, 0-9 and _, a letter first"
        )
    if is_used(name):
        raise ConfigError(f"{name!r} is a package that the pipeline uses; choose another name")
    if folder.exists():
        raise ConfigError(f"{folder}: it is there already; choose another name")
    words = {"NAME": name, "PYTHON": sys.executable, "SNAKEFILE": str(_SNAKEFILE)}
    texts = {
        folder / "config.yaml": "config.yaml",
        folder / "README.md": "README.md",
        folder / name / "networks.py": "networks.py.txt",
        folder / name / "data.py": "data.py.txt",
    }
    for path, template in texts.items():
        text = (_TEMPLATES / template).read_text(encoding="utf-8")
        write_text(path, re.sub("NAME|PYTHON|SNAKEFILE", lambda found: words[found[0]], text))
    package = folder / name / "__init__.py"
    write_text(package, f'"""The parts of the study {name}."""\n')
    return [*texts, package]


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m pipeline_lib.new", description=__doc__)
    parser.add_argument("folder", type=Path, help="the folder to write; its name is the study's")
    folder = parser.parse_args(arguments).folder.resolve()
    try:
        files = write_study(folder)
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for path in files:
        print(path)
    print(f"run it as {folder / 'README.md'} says")
    return 0


if __name__ == "__main__":
    sys.exit(main())
