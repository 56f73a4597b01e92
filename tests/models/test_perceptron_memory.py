"""Estimates of the memory of perceptrons against what training takes."""

import logging
import subprocess
import sys

import pytest

from pipeline_lib.errors import ConfigError
from pipeline_lib.models.perceptron.memory import BlockSize, block_bytes, replicas_that_fit

pytestmark = pytest.mark.slow

STUDY = BlockSize((784, 1024, 512, 10), 64, 60_000, n_evaluated=20_000)

# Prints by how many bytes the peak grows from a first, tiny block to the one that is measured.
MEASURE = """
import re
from pathlib import Path
import numpy as np, torch
from pipeline_lib.models.perceptron.replicas import MlpReplicas
from pipeline_lib.seeding import seed_sequence
from pipeline_lib.training.epoch_plan import EpochData, EpochPlan
from pipeline_lib.training.epochs import epoch_block

def train(layers, b, n, n_replicas):
    weights = {}
    for k in range(1, len(layers)):
        weights[f"W{k}"] = torch.randn(layers[k], layers[k - 1]) / layers[k - 1] ** 0.5
        weights[f"b{k}"] = torch.zeros(layers[k])
    x, y = np.ones((n, layers[0]), np.float32), np.zeros(n, np.int64)
    sets = {"test": (x[: n // 2].copy(), y[: n // 2])}
    stream, evaluated = seed_sequence(0, "memory"), {"test": [1]}
    plan = EpochPlan(lambda step: 1e-3, b, 1, n_replicas, stream, [0, 1], evaluated, chunk=500)
    epoch_block(lambda r: MlpReplicas(weights, len(r)), EpochData.on("cpu", x, y, sets), plan)
    # Not ru_maxrss, which starts at what the parent process took.
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", status).group(1))

before = train((3, 4, 2), 2, 10, 2)
print(train((200, 900, 500, 10), 100, 2000, 12) - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_estimate_is_near_the_measured_peak() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True
    )
    measured = int(done.stdout)
    size = BlockSize((200, 900, 500, 10), 100, 2000, n_evaluated=1000, chunk=500)
    estimate = block_bytes(size, 12)
    assert measured / 1.5 < estimate < 1.5 * measured


def test_weights_and_gradients_of_the_study() -> None:
    parameters = 784 * 1024 + 1024 + 1024 * 512 + 512 + 512 * 10 + 10
    per_replica = block_bytes(STUDY, 11) - block_bytes(STUDY, 10)
    assert per_replica == 2 * 4 * parameters + 8 * 60_000
    assert block_bytes(STUDY, 100, "cuda") > block_bytes(STUDY, 100)


def test_the_most_replicas_that_fit(caplog: pytest.LogCaptureFixture) -> None:
    limit = block_bytes(STUDY, 37)
    with caplog.at_level(logging.INFO, "pipeline_lib"):
        assert replicas_that_fit(STUDY, 100, available=limit, share=1.0) == 37
    assert len(caplog.records) == 1
    assert "37 of 100 replicas at once" in caplog.text
    assert replicas_that_fit(STUDY, 100, available=limit - 1, share=1.0) == 36
    assert replicas_that_fit(STUDY, 100, available=2**40) == 100


def test_too_little_memory_is_refused_in_one_line() -> None:
    assert replicas_that_fit(STUDY, 100, available=block_bytes(STUDY, 2), share=1.0) == 2
    with pytest.raises(ConfigError, match=r"two replicas take \d+ MiB, cpu has \d+ MiB") as error:
        replicas_that_fit(STUDY, 100, available=block_bytes(STUDY, 2) - 1, share=1.0)
    assert "\n" not in str(error.value)
