# The library, the configuration files as the user wrote them, and what is wrong with one of them.

import copy
import os
import sys

SOURCE = CHECKOUT / "src"
sys.path.insert(0, str(SOURCE))
# Packages of the user's own lie beside their configuration file or on PYTHONPATH.
beside = [Path(name).resolve().parent for name in workflow.overwrite_configfiles]
inherited = [
    Path(name) for name in os.getenv("PYTHONPATH", "").split(os.pathsep) if name
]
OWN_FOLDERS = [folder for folder in [*beside, *inherited] if folder != SOURCE]
sys.path += map(str, OWN_FOLDERS)
# Jobs find the library here whether or not it is installed in their environment.
searched = dict.fromkeys(map(str, [SOURCE, *OWN_FOLDERS]))
os.environ.update(PYTHONPATH=os.pathsep.join(searched))

from pipeline_lib.errors import PipelineError
from pipeline_lib.kernel_cache import kernel_cache
from pipeline_lib.study.files import located, read_config

cache = kernel_cache(
    SOURCE / "pipeline_lib", Path(".snakemake/numba").resolve(), os.environ
)
if cache is not None:
    os.environ.update(NUMBA_CACHE_DIR=str(cache))
    if workflow.is_main_process:
        print(f"note: compiled kernels are kept in {cache}", file=sys.stderr)


def stop(message):
    """End in one line, before a job has started."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(1)


# Snakemake starts scripts through a shell and does not quote the interpreter.
if " " in sys.executable:
    stop(
        f"{sys.executable!r}: Snakemake cannot run scripts with an interpreter whose path has a "
        "space; have the environment elsewhere, as in: make study VENV=/tmp/venv"
    )
here = Path.cwd()
try:
    written = [CHECKOUT / "config.yaml", *map(Path, workflow.overwrite_configfiles)]
    FILES = [
        read_config(path.relative_to(here) if path.is_relative_to(here) else path)
        for path in written
    ]
except PipelineError as error:
    stop(error)

# What the user sets beside config.yaml: in a module its own `config:`, which Snakemake takes
# instead of config.yaml, and otherwise what comes from --configfile and --config.
CHANGES = copy.deepcopy(
    config
    if workflow.modifier.skip_configfile
    else workflow.config_settings.overwrite_config
)
