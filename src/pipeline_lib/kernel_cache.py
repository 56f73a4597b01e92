"""Where numba keeps compiled kernels if it cannot write beside the code."""

import os
from collections.abc import Mapping
from pathlib import Path


def kernel_cache(package: Path, fallback: Path, environ: Mapping[str, str]) -> Path | None:
    """The folder that numba's ``NUMBA_CACHE_DIR`` must name, or None if it finds one itself.

    Beside the code of ``package`` is where numba looks first. Where that cannot be written, as in a
    container, its next choice is the home folder, and without one it compiles nothing at all; so
    ``fallback`` is used, unless the user has named a folder.
    """
    if environ.get("NUMBA_CACHE_DIR") or os.access(package, os.W_OK):
        return None
    return fallback
