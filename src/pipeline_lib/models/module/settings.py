"""Modules of the user's own as a kind of model: their settings and what they can do."""

import dataclasses
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pipeline_lib.artifacts.block_tables import BlockTables
from pipeline_lib.artifacts.checkpoint import Checkpoint
from pipeline_lib.errors import ConfigError
from pipeline_lib.imports import (
    check_reference,
    load_object,
    named_files,
    refuse_missing,
    source_files,
)
from pipeline_lib.sampling.epochs import LastBatch
from pipeline_lib.sampling.names import FINITE, IN_EPOCHS, Sampling
from pipeline_lib.study.block import Block
from pipeline_lib.study.experiment import EpochExperiment, Experiment
from pipeline_lib.study.model import Model, TrainingData, Weights
from pipeline_lib.study.optimizers import OPTIMIZERS
from pipeline_lib.study.section import Text, section

if TYPE_CHECKING:
    from torch import nn

    from pipeline_lib.models.module.own_data import OwnData
    from pipeline_lib.training.objective import Loss, LossKind

log = logging.getLogger(__name__)


@section
class Arguments:
    """Keyword arguments of the user's own functions."""

    make_model: Mapping[str, Any] | None = None
    """Arguments of `make_model`."""
    dataset: Mapping[str, Any] | None = None
    """Arguments of `dataset`."""
    loss: Mapping[str, Any] | None = None
    """Arguments of `loss`; of a class of modules, those that make it."""


@section
class OwnModule(Model):
    """A module, a loss and a data set of your own, each named as `package.module:name`."""

    kind: Literal["module"]
    make_model: Text
    """A function or class that makes the `torch.nn.Module`."""
    loss: Text
    """`loss(outputs, targets)`, one number for a batch, or a class of such modules."""
    dataset: Text
    """A function that returns `((x, y) for training, (x, y) for validation)`, or two data sets of
    torch, or a class of these."""
    dtype: Literal["float32", "float64"]
    """Precision of weights and gradients; sums of squares are always float64."""
    arguments: Arguments = Arguments()
    """Arguments of `make_model`, `dataset` and `loss`."""
    metric: Text | None = None
    """`metric(outputs, targets)`, one number an example, whose mean is the error. Left out, it is
    the share of wrong labels where outputs are scores of classes or the logit of one."""
    batch_norm: Literal["batch_statistics", "frozen"] | None = None
    """What batch normalisation uses: the statistics of the mini-batch always, which couples its
    examples, or those that it is made with."""
    depends_on: tuple[Text, ...] = ()
    """Files and folders, such as data, whose edit runs the experiment again. Paths begin in the
    folder of the first configuration file of yours. Python modules that are imported need not be
    listed."""

    in_epochs: ClassVar[bool] = True
    weights_depend_on: ClassVar[tuple[str, ...]] = (
        "make_model",
        "loss",
        "dataset",
        "dtype",
        "arguments",
        "metric",
        "batch_norm",
    )
    samplings: ClassVar[tuple[Sampling, ...]] = FINITE
    optimizers: ClassVar[tuple[str, ...]] = OPTIMIZERS
    clips: ClassVar[bool] = True
    may_have: ClassVar[tuple[str, ...]] = ("rao_blackwell",)
    needs_scale: ClassVar[bool] = False
    draws_with_own_code: ClassVar[bool] = True

    def check(self, where: str, experiment: Experiment) -> None:
        for key, reference in self._references().items():
            check_reference(f"{where}.model.{key}", reference)

    def own_files(self, folders: Iterable[Path]) -> list[Path]:
        folders = list(folders)
        for key, reference in self._references().items():
            refuse_missing(f"config: model.{key}", reference, folders)
        named = self._references().values()
        # Of the folders, that of the configuration file comes first.
        beside = folders[0] if folders else Path.cwd()
        listed = named_files("config: model.depends_on", self.depends_on, beside)
        return sorted({path for name in named for path in source_files(name, folders)} | {*listed})

    def examine(self, experiment: Experiment, own: Collection[Path]) -> Mapping[str, Any]:
        from pipeline_lib.models.module.own_checks import check_fit
        from pipeline_lib.models.module.own_code import files_read
        from pipeline_lib.models.module.own_module import same_module

        assert isinstance(experiment, EpochExperiment)
        with files_read() as files:  # one call after the other, so that one is in memory
            first = self._data(experiment).digest()
        data = self._data(experiment)
        followed = {path.resolve() for path in own}
        for file in files:
            if file.resolve() not in followed:
                log.warning(
                    "dataset reads %s: its edits run the experiment again only if depends_on "
                    "lists it",
                    file,
                )
        if data.digest() != first:
            raise ConfigError(
                "dataset: two calls under the same seed give other examples; it is to draw from "
                "torch's, NumPy's or Python's global generators, which are seeded before each "
                "call, or from one that it seeds itself"
            )
        for init in range(experiment.initial_weights.count):
            module = self._module(experiment, init, data)
            same_module(module, self._module(experiment, init, data))
            objective = check_fit(
                module,
                self._loss(experiment),
                data,
                experiment.batch_sizes,
                _last_batch(experiment),
                self._metric(experiment),
            )
        for b in experiment.batch_sizes:
            experiment.learning_rate.values(experiment.steps(data.n, b))
        log.info("loss: %s", objective.kind)
        _check_averaged(experiment, objective.kind)
        return {"training_examples": data.n, "loss": objective.kind}

    def draw_weights(
        self, experiment: Experiment, init: int, sources: Mapping[str, Path]
    ) -> Weights:
        from pipeline_lib.models.module.own_module import weights_of

        return weights_of(self._module(experiment, init, self._data(experiment)))

    def load(self, experiment: Experiment, sources: Mapping[str, Path]) -> TrainingData:
        from pipeline_lib.models.module.own_data import as_tensors
        from pipeline_lib.models.module.own_objective import objective_of

        data = self._data(experiment)
        objective = objective_of(
            self._module(experiment, 0, data),
            self._loss(experiment),
            as_tensors(data.sets["training"]),
            self._metric(experiment),
        )
        _check_averaged(experiment, objective.kind)
        notes: dict[str, Any] = {"loss": objective.kind}
        if data.names:
            notes["labels"] = list(data.names)
        return TrainingData((data, objective), self.dataset, data.digest(), data.n, notes)

    def train(
        self,
        block: Block,
        weights: Weights,
        data: TrainingData,
        checkpoint: Checkpoint | None = None,
    ) -> BlockTables:
        from pipeline_lib.models.module.block import chunk_of, module_block
        from pipeline_lib.models.module.own_checks import check_steps
        from pipeline_lib.models.module.own_data import as_tensors
        from pipeline_lib.models.module.own_module import load_weights
        from pipeline_lib.training.epoch_plan import EpochPlan

        experiment = block.experiment
        assert isinstance(experiment, EpochExperiment)
        examples, objective = data.examples
        # Made again for what is not among the weights, then given the weights that all runs share.
        module = self._module(experiment, block.init, examples)
        load_weights(module, weights)
        plan = EpochPlan.of(block, examples.n, chunk_of(block.batch_size, objective.kind))
        # Sizes that were added since the check.
        training = as_tensors(examples.sets["training"])
        check_steps(module, objective, training, [block.batch_size], _last_batch(experiment))
        objective = dataclasses.replace(
            objective, loss=self._loss(experiment, block.hardware.device)
        )
        return module_block(
            module,
            objective,
            examples.sets,
            plan,
            block.hardware,
            checkpoint,
        )

    def _references(self) -> dict[str, str]:
        named = {key: getattr(self, key) for key in ("make_model", "loss", "dataset")}
        return named if self.metric is None else named | {"metric": self.metric}

    def _data(self, experiment: Experiment) -> "OwnData":
        from pipeline_lib.models.module.own_data import load_data

        make_dataset = self._load(experiment, "dataset")
        return load_data(make_dataset, self.arguments.dataset or {}, self.dtype)

    def _module(self, experiment: Experiment, init: int, data: "OwnData") -> "nn.Module":
        from pipeline_lib.models.module.own_data import as_tensors
        from pipeline_lib.models.module.own_module import make_module

        return make_module(
            self._load(experiment, "make_model"),
            self.arguments.make_model or {},
            self.dtype,
            experiment.initial_weights.seed,
            init,
            as_tensors(data.sets["training"])[0],
            self.batch_norm,
        )

    def _loss(self, experiment: Experiment, device: str = "cpu") -> "Loss":
        from pipeline_lib.models.module.own_loss import make_loss

        loss = self._load(experiment, "loss")
        return make_loss(loss, self.arguments.loss or {}, self.dtype, device)

    def _metric(self, experiment: Experiment) -> Callable[..., Any] | None:
        return None if self.metric is None else self._load(experiment, "metric")

    def _load(self, experiment: Experiment, key: str) -> Callable[..., Any]:
        where = f"config: experiments.{experiment.name}.model.{key}"
        return load_object(where, getattr(self, key))


def _last_batch(experiment: EpochExperiment) -> LastBatch:
    """Whether a short mini-batch ends an epoch."""
    return experiment.last_batch if experiment.sampled in IN_EPOCHS else "drop"


def _check_averaged(experiment: Experiment, loss: "LossKind") -> None:
    """ConfigError if variances are to be averaged over the examples of a loss that is no mean."""
    from pipeline_lib.training.objective import MEAN

    assert isinstance(experiment, EpochExperiment)
    if experiment.rao_blackwell is not None and loss != MEAN:
        raise ConfigError(
            f"config: experiments.{experiment.name}.rao_blackwell: the loss is {loss}, so "
            "gradients of single examples do not tell its variance; allowed: a loss that is a "
            "mean over examples, or none of this section"
        )
