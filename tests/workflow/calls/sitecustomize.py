"""Python runs this first where its folder is on PYTHONPATH: notes what the scripts' jobs call.

The functions of the library that a job calls go to a file in CALLS_FOLDER once the script has
ended, one `module:name` a line, methods by the name of their class. What runs while a module is
imported is left out.
"""

import atexit
import os
import sys
import threading
from contextlib import AbstractContextManager
from pathlib import Path
from types import CodeType, FrameType

called: set[CodeType] = set()


def is_of_library(frame: FrameType) -> bool:
    return "/pipeline_lib/" in frame.f_code.co_filename


def is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_name == "<module>" and is_of_library(frame):
            return True
        frame = frame.f_back
    return False


def note(frame: FrameType, event: str, argument: object) -> None:
    if is_of_library(frame) and frame.f_code not in called and not is_importing(frame):
        called.add(frame.f_code)


def write(script: Path) -> None:
    names = {
        f"{code.co_filename.rpartition('/src/')[2].removesuffix('.py').replace('/', '.')}"
        f":{code.co_qualname.partition('.')[0]}"
        for code in called
    }
    # Snakemake runs a copy whose name starts with random letters and a dot.
    file = f"{script.name.partition('.')[2]}.{os.getpid()}"
    (Path(os.environ["CALLS_FOLDER"]) / file).write_text("\n".join(sorted(names)))


scripts = [Path(part) for part in sys.orig_argv if "/.snakemake/scripts/" in part]
if scripts and "CALLS_FOLDER" in os.environ:
    from pipeline_lib import logs

    untraced = logs.job_log

    def job_log(path: str | Path) -> AbstractContextManager[None]:
        """From here on; tracing the imports before would take longer than the job."""
        threading.settrace(note)
        sys.settrace(note)
        return untraced(path)

    logs.job_log = job_log
    atexit.register(write, scripts[0])
