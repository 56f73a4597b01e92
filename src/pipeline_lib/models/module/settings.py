"""Modules of the user's own as a kind of model: their settings and what they can do."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pipeline_lib.artifacts.block_tables import BlockTables
from pipeline_lib.artifacts.checkpoint import Checkpoint
from pipeline_lib.imports import check_reference, load_object, source_files
from pipeline_lib.sampling.names import FINITE, Sampling
from pipeline_lib.study.block import Block
from pipeline_lib.study.experiment import EpochExperiment, Experiment
from pipeline_lib.study.model import Model, TrainingData, Weights
from pipeline_lib.study.optimizers import OPTIMIZERS
from pipeline_lib.study.section import Text, section


@section
class Arguments:
    """Keyword arguments of the user's own functions."""

    make_model: Mapping[str, Any] | None = None
    """Arguments of `make_model`."""
    dataset: Mapping[str, Any] | None = None
    """Arguments of `dataset`."""


@section
class OwnModule(Model):
    """A module, a loss and a data set of your own, each named as `package.module:name`."""

    kind: Literal["module"]
    make_model: Text
    """A function or class that makes the `torch.nn.Module`."""
    loss: Text
    """`loss(outputs, targets)`, the mean over the examples of a batch."""
    dataset: Text
    """A function that returns `((x, y) for training, (x, y) for validation)`."""
    dtype: Literal["float32", "float64"]
    """Precision of weights and gradients; sums of squares are always float64."""
    arguments: Arguments = Arguments()
    """Arguments of `make_model` and `dataset`."""

    in_epochs: ClassVar[bool] = True
    weights_depend_on: ClassVar[tuple[str, ...]] = (
        "make_model",
        "loss",
        "dataset",
        "dtype",
        "arguments",
    )
    samplings: ClassVar[tuple[Sampling, ...]] = FINITE
    optimizers: ClassVar[tuple[str, ...]] = OPTIMIZERS
    clips: ClassVar[bool] = True
    needs_scale: ClassVar[bool] = False
    draws_with_own_code: ClassVar[bool] = True

    def check(self, where: str, experiment: Experiment) -> None:
        for key in ("make_model", "loss", "dataset"):
            check_reference(f"{where}.model.{key}", getattr(self, key))

    def own_files(self, folders: Iterable[Path]) -> list[Path]:
        folders = list(folders)
        named = (self.make_model, self.loss, self.dataset)
        return sorted({path for name in named for path in source_files(name, folders)})

    def draw_weights(
        self, experiment: Experiment, init: int, sources: Mapping[str, Path]
    ) -> Weights:
        from pipeline_lib.models.module.own_module import (
            check_fit,
            load_sets,
            make_module,
            weights_of,
        )

        own = {key: self._load(experiment, key) for key in ("make_model", "loss", "dataset")}
        drawn = experiment.initial_weights
        arguments = self.arguments.make_model or {}
        module = make_module(own["make_model"], arguments, self.dtype, drawn.seed, init)
        sets = load_sets(own["dataset"], self.arguments.dataset or {}, self.dtype)
        check_fit(module, own["loss"], sets, experiment.batch_sizes[-1])
        return weights_of(module)

    def load(self, experiment: Experiment, sources: Mapping[str, Path]) -> TrainingData:
        from pipeline_lib.models.module.own_module import load_sets, sets_digest

        make_dataset = self._load(experiment, "dataset")
        sets = load_sets(make_dataset, self.arguments.dataset or {}, self.dtype)
        return TrainingData(sets, self.dataset, sets_digest(sets), len(sets["training"][0]))

    def train(
        self,
        block: Block,
        weights: Weights,
        data: TrainingData,
        checkpoint: Checkpoint | None = None,
    ) -> BlockTables:
        from pipeline_lib.models.module.block import chunk_of, module_block
        from pipeline_lib.models.module.own_module import load_weights, make_module
        from pipeline_lib.training.epoch_plan import EpochPlan

        experiment, n = block.experiment, len(data.examples["training"][0])
        assert isinstance(experiment, EpochExperiment)
        # Made again for what is not among the weights, then given the weights that all runs share.
        module = make_module(
            self._load(experiment, "make_model"),
            self.arguments.make_model or {},
            self.dtype,
            experiment.initial_weights.seed,
            block.init,
        )
        load_weights(module, weights)
        return module_block(
            module,
            self._load(experiment, "loss"),
            data.examples,
            EpochPlan.of(block, n, chunk_of(block.batch_size)),
            block.hardware,
            checkpoint,
        )

    def _load(self, experiment: Experiment, key: str) -> Callable[..., Any]:
        where = f"config: experiments.{experiment.name}.model.{key}"
        return load_object(where, getattr(self, key))
