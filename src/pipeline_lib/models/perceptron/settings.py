"""Fully connected networks as a kind of model: their settings and what they can do."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from pipeline_lib.artifacts.block_tables import BlockTables
from pipeline_lib.artifacts.checkpoint import Checkpoint
from pipeline_lib.artifacts.files import read_provenance, read_table
from pipeline_lib.errors import ConfigError
from pipeline_lib.sampling.names import FINITE, Sampling
from pipeline_lib.study.block import Block
from pipeline_lib.study.cost import BlockCost, Speed
from pipeline_lib.study.experiment import Experiment
from pipeline_lib.study.experiment_checks import check_batch_sizes
from pipeline_lib.study.model import Model, TrainingData, Weights
from pipeline_lib.study.optimizers import OPTIMIZERS
from pipeline_lib.study.section import Count, NotNegative, section

IMAGES = {"training": 60_000, "validation": 10_000}  # of MNIST


@section
class Perceptron(Model):
    """A fully connected network on MNIST, with ReLU, biases and softmax cross-entropy."""

    kind: Literal["perceptron"]
    dataset: Literal["mnist"]
    """The images of MNIST."""
    layers: Annotated[tuple[Count, ...], Field(min_length=2)]
    """Widths: 784 inputs, any hidden layers, 10 outputs."""
    training_examples: Count
    """Images to train on, at most 60,000. Fewer are a class-balanced subset."""
    validation_examples: Count
    """Images to validate on, at most 10,000. Fewer are a class-balanced subset."""
    subset_seed: NotNegative
    """Seed of the subsets."""
    dtype: Literal["float32", "float64"]
    """Precision of weights and gradients; sums of squares are always float64."""

    in_epochs: ClassVar[bool] = True
    only_batches_random: ClassVar[bool] = True
    weights_depend_on: ClassVar[tuple[str, ...]] = ("layers",)
    samplings: ClassVar[tuple[Sampling, ...]] = FINITE
    optimizers: ClassVar[tuple[str, ...]] = OPTIMIZERS
    clips: ClassVar[bool] = True
    may_have: ClassVar[tuple[str, ...]] = ("rao_blackwell",)
    must_have: ClassVar[tuple[str, ...]] = ("distorted_every",)
    cpu_core: ClassVar[Speed] = Speed(30e9, 1e-4)  # half of what was seen, 66 to 100 GFLOP/s

    def check(self, where: str, experiment: Experiment) -> None:
        if self.layers[0] != 784 or self.layers[-1] != 10:
            raise ConfigError(
                f"{where}.model.layers: {list(self.layers)} does not fit MNIST; "
                "allowed: 784 inputs, any hidden layers, 10 outputs"
            )
        counts = {"training": self.training_examples, "validation": self.validation_examples}
        for split, most in IMAGES.items():
            if (count := counts[split]) > most:
                raise ConfigError(
                    f"{where}.model.{split}_examples: {count} is above the {most} images; "
                    f"allowed: 1 to {most}"
                )
        check_batch_sizes(
            where, experiment.batch_sizes, self.training_examples, "training examples"
        )

    def known_examples(self) -> int:
        return self.training_examples

    def sources(self, experiment: str) -> Mapping[str, str]:
        return {
            "data": f"data/{self.dataset}.parquet",
            "distorted": f"data/{self.dataset}_distorted.parquet",
        }

    def draw_weights(
        self, experiment: Experiment, init: int, sources: Mapping[str, Path]
    ) -> Weights:
        from pipeline_lib.models.initial_weights import network_weights, with_biases

        drawn = experiment.initial_weights
        assert drawn.scale is not None
        return dict(with_biases(network_weights(self.layers, drawn.scale, drawn.seed, init)))

    def load(self, experiment: Experiment, sources: Mapping[str, Path]) -> TrainingData:
        from pipeline_lib.data.mnist_table import examples

        tables = {name: read_table(path, "mnist") for name, path in sources.items()}
        n_training, n_validation = self.training_examples, self.validation_examples
        of_split = {
            "training": (tables["data"], n_training),
            "validation": (tables["data"], n_validation),
            "distorted": (tables["distorted"], n_validation),
        }
        sets = {
            split: examples(table, split, n, self.subset_seed, self.dtype)
            for split, (table, n) in of_split.items()
        }
        origin = read_provenance(sources["data"])
        return TrainingData(sets, origin["source"], origin["data_sha256"], n_training)

    def train(
        self,
        block: Block,
        weights: Weights,
        data: TrainingData,
        checkpoint: Checkpoint | None = None,
    ) -> BlockTables:
        from pipeline_lib.models.perceptron.block import perceptron_block
        from pipeline_lib.models.perceptron.cost import CHUNK
        from pipeline_lib.training.epoch_plan import EpochPlan

        plan = EpochPlan.of(block, len(data.examples["training"][0]), CHUNK)
        return perceptron_block(weights, data.examples, plan, block.hardware, checkpoint)

    def cost(self, experiment: Experiment, batch_size: int, threads: int) -> BlockCost | None:
        from pipeline_lib.models.perceptron.cost import block_cost

        return block_cost(self, experiment, batch_size, threads)
