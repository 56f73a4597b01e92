"""MNIST as an artefact, and what an experiment takes from it."""

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from pipeline_lib.artifacts.files import read_table, write_table
from pipeline_lib.data.mnist import MnistArrays
from pipeline_lib.data.mnist_table import (
    distorted_table,
    distortion_sweep,
    examples,
    mnist_table,
)
from pipeline_lib.models.initial_weights import network_weights, with_biases
from pipeline_lib.models.perceptron.block import perceptron_block
from pipeline_lib.sampling.epochs import EpochSampler
from pipeline_lib.seeding import seed_sequence
from pipeline_lib.training.epoch_plan import EpochPlan


@pytest.fixture
def mnist() -> MnistArrays:
    rng = np.random.default_rng(0)

    def images(n: int) -> np.ndarray:
        return rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)

    labels = np.arange(60, dtype=np.uint8) % 10
    return MnistArrays(images(60), labels, images(30), labels[:30], "made up", "0" * 64)


def test_pixels_and_labels_survive_the_file(mnist: MnistArrays, tmp_path: Path) -> None:
    write_table(tmp_path / "mnist.parquet", mnist_table(mnist), "mnist")
    table = read_table(tmp_path / "mnist.parquet", "mnist")
    for split, images, labels in (
        ("training", mnist.train_images, mnist.train_labels),
        ("validation", mnist.test_images, mnist.test_labels),
    ):
        x, y = examples(table, split, len(labels), seed=1, dtype="float64")
        assert_array_equal(y, labels)
        assert_allclose(x, images.reshape(len(labels), -1) / 127.5 - 1, atol=1e-6)


def test_subsets_are_balanced_nested_and_the_same_when_distorted(mnist: MnistArrays) -> None:
    table = mnist_table(mnist)
    x, y = examples(table, "training", 20, seed=1)
    assert x.dtype == np.float32
    assert_array_equal(np.bincount(y), [2] * 10)
    larger, _ = examples(table, "training", 40, seed=1)
    assert {row.tobytes() for row in x} < {row.tobytes() for row in larger}
    other, _ = examples(table, "training", 20, seed=2)
    assert not np.array_equal(x, other)
    # Distortion of strength 0 changes nothing, so the same images are taken.
    distorted = distorted_table(table, alpha=0.0, sigma=2.0, seed=4)
    plain = examples(table, "validation", 10, seed=1)
    for one, two in zip(plain, examples(distorted, "distorted", 10, seed=1), strict=True):
        assert_array_equal(one, two)


def test_distortion_belongs_to_its_seed(mnist: MnistArrays) -> None:
    table = mnist_table(mnist)
    one, again, other = (distorted_table(table, 8.0, 2.0, seed) for seed in (4, 4, 5))
    assert one.equals(again)
    assert not one["image"].equals(other["image"])
    assert_array_equal(one["label"], mnist.test_labels)


def test_network_starts_from_the_shared_weights_and_no_biases() -> None:
    weights = with_biases(network_weights([4, 3, 2], 1.4, seed=1, init=2))
    assert list(weights) == ["W1", "W2", "b1", "b2"]
    for name, weight in network_weights([4, 3, 2], 1.4, seed=1, init=2).items():
        assert_array_equal(weights[name], weight)
    assert_array_equal(weights["b1"], np.zeros(3))


def test_block_records_one_grid_and_evaluates_all_splits() -> None:
    rng = np.random.default_rng(1)

    def split(n: int) -> tuple[np.ndarray, np.ndarray]:
        return rng.standard_normal((n, 4)), rng.integers(0, 2, n)

    stream = seed_sequence(1, "batches")
    plan = EpochPlan(
        learning_rates=[0.1] * 9,
        batch_size=4,
        epochs=3,
        n_replicas=5,
        stream=stream,
        recorded=EpochSampler(10, 4, 5, stream).recorded_steps(3, "every"),
        evaluated_epochs={"training": [0, 3], "validation": [3]},
    )
    weights = with_biases(network_weights([4, 3, 2], 1.4, 1, 0))
    result = perceptron_block(weights, {"training": split(10), "validation": split(6)}, plan)
    # Three mini-batches an epoch, the last of them short and never recorded.
    assert_array_equal(result.statistics["step"].unique(), [0, 1, 3, 4, 6, 7])
    assert set(result.statistics["tensor"]) == {"W1", "W2", "b1", "b2", "all"}
    counts = result.metrics.groupby(["split", "epoch"], observed=True).size()
    assert counts.to_dict() == {
        ("training", 0): 5,
        ("training", 3): 5,
        ("validation", 3): 5,
    }


def test_sweep_holds_the_studys_own_cell(mnist: MnistArrays) -> None:
    originals, swept = distortion_sweep(mnist_table(mnist), 8.0, 2.0, seed=4, n=3)
    assert_array_equal(originals, mnist.test_images[:3])
    assert len(swept) == 9
    own = distorted_table(mnist_table(mnist), 8.0, 2.0, seed=4)["image"].iloc[:3]
    pixels = np.frombuffer(b"".join(own), np.uint8).reshape(3, 28, 28)
    assert_array_equal(np.rint(swept[8.0, 2.0]), pixels)
