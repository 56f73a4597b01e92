"""Processes that tests of this folder kill."""

import multiprocessing
import os
import sys
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext

import pytest


@pytest.fixture(scope="session")
def children() -> ForkServerContext:
    """Makes processes as forks of one that has imported the tests: an import takes ten seconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        [f"tests.training.{name}" for name in ("test_block_checkpoints", "test_epoch_checkpoints")]
    )
    with pytest.MonkeyPatch.context() as patch:
        # The path of this process reaches the forks alone, after all imports.
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        forkserver.ensure_running()
    return context
