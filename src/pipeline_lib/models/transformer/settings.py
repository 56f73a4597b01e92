"""Transformers that classify reviews as a kind of model: their settings and what they can do.

The one network so far is XLNet.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from pipeline_lib.artifacts.block_tables import BlockTables
from pipeline_lib.artifacts.checkpoint import Checkpoint
from pipeline_lib.artifacts.files import read_provenance
from pipeline_lib.errors import ConfigError
from pipeline_lib.sampling.names import FINITE, Sampling
from pipeline_lib.seeding import seed_sequence
from pipeline_lib.study.block import Block
from pipeline_lib.study.cost import BlockCost, Speed
from pipeline_lib.study.experiment import EpochExperiment, Experiment
from pipeline_lib.study.experiment_checks import check_batch_sizes
from pipeline_lib.study.model import Model, TrainingData, Weights
from pipeline_lib.study.optimizers import OPTIMIZERS
from pipeline_lib.study.section import AtLeastTwo, Count, NotNegative, Share, Whole, section


@section
class Transformer(Model):
    """A transformer that classifies reviews of Yelp: the network of Sections 4.4 and B.4."""

    kind: Literal["transformer"]
    dataset: Literal["reviews"]
    """Reviews of Yelp."""
    d_model: AtLeastTwo
    """Width of the layers, an even multiple of `n_head`."""
    n_layer: Count
    """Number of layers."""
    n_head: Count
    """Attention heads of each layer."""
    d_inner: Count
    """Width of the hidden layer between the attention of one layer and that of the next."""
    dropout: Share
    """Share of the activations that dropout sets to 0 in training."""
    training_examples: AtLeastTwo
    """Reviews to train on, half of them good and half bad. A smaller source gives fewer."""
    validation_examples: AtLeastTwo
    """Reviews to validate on."""
    subset_seed: NotNegative
    """Seed of the split."""
    vocabulary: Annotated[Whole, Field(ge=64)]
    """Largest number of word pieces in the vocabulary."""
    tokens: Annotated[Whole, Field(ge=8)]
    """Tokens of a review. Longer reviews are cut, shorter ones padded with zeros."""

    in_epochs: ClassVar[bool] = True
    weights_depend_on: ClassVar[tuple[str, ...]] = ("d_model", "n_layer", "n_head", "d_inner")
    samplings: ClassVar[tuple[Sampling, ...]] = FINITE
    optimizers: ClassVar[tuple[str, ...]] = OPTIMIZERS
    clips: ClassVar[bool] = True
    may_have: ClassVar[tuple[str, ...]] = ("rao_blackwell",)
    cpu_core: ClassVar[Speed] = Speed(30e9, 0.01)  # half of what was seen, 70 GFLOP/s
    # An assumption: 615 operations of a replica, as counted, of 10 microseconds each.
    gpu: ClassVar[Speed] = Speed(10e12, 6e-3, "turn")

    @property
    def sizes(self) -> dict[str, Any]:
        """What the network is made with, beside its vocabulary."""
        names = ("d_model", "n_layer", "n_head", "d_inner", "dropout")
        return {name: getattr(self, name) for name in names}

    def check(self, where: str, experiment: Experiment) -> None:
        if self.d_model % self.n_head or self.d_model % 2:
            raise ConfigError(
                f"{where}.model.d_model: {self.d_model} with n_head {self.n_head}; "
                "allowed: an even multiple of n_head"
            )
        for name in ("training_examples", "validation_examples"):
            if getattr(self, name) % 2:
                raise ConfigError(
                    f"{where}.model.{name}: {getattr(self, name)} has no two halves, one of each "
                    "label; allowed: even numbers"
                )
        check_batch_sizes(
            where, experiment.batch_sizes, self.training_examples, "training examples"
        )

    def known_examples(self) -> int:
        return self.training_examples

    def sources(self, experiment: str) -> Mapping[str, str]:
        return {"data": f"data/reviews/{experiment}.parquet"}

    def weight_sources(self, experiment: str) -> Mapping[str, str]:
        return {"origin": f"data/reviews/{experiment}.json"}

    def draw_weights(
        self, experiment: Experiment, init: int, sources: Mapping[str, Path]
    ) -> Weights:
        from pipeline_lib.models.transformer.block import initial_weights

        drawn = experiment.initial_weights
        assert drawn.scale is not None
        # As wide as the vocabulary turned out.
        vocabulary = json.loads(sources["origin"].read_text(encoding="utf-8"))["vocabulary"]
        stream = seed_sequence(drawn.seed, "initial_weights", init)
        return dict(initial_weights(self.sizes, vocabulary, drawn.scale, stream))

    def load(self, experiment: Experiment, sources: Mapping[str, Path]) -> TrainingData:
        from pipeline_lib.data.reviews_table import read_tokens

        reviews = sources["data"]
        sets = {split: read_tokens(reviews, split) for split in ("training", "validation")}
        origin = read_provenance(reviews)
        n_rows = len(sets["training"].labels)
        return TrainingData(sets, origin["source"], origin["data_sha256"], n_rows)

    def train(
        self,
        block: Block,
        weights: Weights,
        data: TrainingData,
        checkpoint: Checkpoint | None = None,
    ) -> BlockTables:
        from pipeline_lib.models.transformer.block import Dropout, transformer_block
        from pipeline_lib.models.transformer.memory import CHUNK
        from pipeline_lib.training.epoch_plan import EpochPlan

        assert isinstance(block.experiment, EpochExperiment)
        return transformer_block(
            weights,
            Dropout(self.sizes, block.stream("dropout")),
            data.examples,
            EpochPlan.of(block, len(data.examples["training"].labels), CHUNK),
            block.hardware.device,
            checkpoint,
        )

    def cost(self, experiment: Experiment, batch_size: int, threads: int) -> BlockCost | None:
        from pipeline_lib.models.transformer.cost import block_cost

        return block_cost(self, experiment, batch_size)
