"""The seam: what a kind of model is to everything else.

A kind is one class, the typed `model:` section of an experiment, in a folder of its own under
`pipeline_lib.models`. The class is light: planning a study and drawing its figures read it without
importing torch. Its methods import what they need when they are called. `docs/extending.md` shows
how to add a kind.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from numpy.typing import NDArray

from pipeline_lib.artifacts.block_tables import BlockTables
from pipeline_lib.artifacts.checkpoint import Checkpoint
from pipeline_lib.imports import source_files
from pipeline_lib.sampling.names import Sampling
from pipeline_lib.study.cost import GPU, BlockCost, Speed

if TYPE_CHECKING:
    from pipeline_lib.study.block import Block
    from pipeline_lib.study.experiment import Experiment

Weights = dict[str, NDArray[Any]]

LossKind = Literal[
    "mean over examples",
    "not a mean over examples, but a weighted one",
    "not a mean over examples: they are coupled",
]
MEAN: LossKind = "mean over examples"
"""L(batch) is the mean of the losses of its examples."""
WEIGHTED: LossKind = "not a mean over examples, but a weighted one"
"""L(batch) = sum w_i L_i / sum w_i, as with class weights or ignored tokens."""
COUPLED: LossKind = "not a mean over examples: they are coupled"
"""The loss of a batch cannot be had from those of its examples, as with correlations, contrastive
losses and normalisation by the statistics of the batch."""

NoiseScale = Literal["theory", "runs"]
"""The two parts of the gradient noise scale are exact, or estimated from the runs."""


@dataclass(frozen=True)
class TrainingData:
    """What a block is trained on, and where it comes from.

    ``examples`` is what the kind's own `Model.train` takes. ``sha256`` identifies the raw data;
    it and ``n_rows`` are None where examples are drawn online. ``notes`` is what else the
    artefacts say of it, as plain JSON values by name: ``loss``, a `LossKind`, and ``labels``, those
    that were given as text.
    """

    examples: Any
    source: str
    sha256: str | None = None
    n_rows: int | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)


class Model(ABC):
    """A kind of model: subclasses are `pipeline_lib.study.section.section` classes.

    The class variables say what the kind can do. An experiment that asks for anything else is
    refused in one line before a job starts.
    """

    kind: str

    in_epochs: ClassVar[bool]
    """Trained in epochs with losses in between, or for a number of iterations."""
    samplings: ClassVar[tuple[Sampling, ...]] = ("fresh",)
    """Ways of drawing mini-batches; the first where an experiment names none."""
    optimizers: ClassVar[tuple[str, ...]] = ()
    """Kinds of the section `optimizer`; empty where there is only plain SGD."""
    clips: ClassVar[bool] = False
    """Whether gradients can be clipped."""
    exact: ClassVar[str] = ""
    """In words, which experiments have exact values of the variance; empty where none has."""
    only_batches_random: ClassVar[bool] = False
    """Whether nothing in training is random but the mini-batches; dropout is."""
    needs_scale: ClassVar[bool] = True
    """Whether `initial_weights.scale` must be there; if not, it must not."""
    may_have: ClassVar[tuple[str, ...]] = ()
    """Keys of the experiment beside those of every experiment of its length."""
    must_have: ClassVar[tuple[str, ...]] = ()
    """Such keys that cannot be left out."""
    weights_depend_on: ClassVar[tuple[str, ...]]
    """Fields that decide the initial weights, beside the section `initial_weights`."""
    draws_with_own_code: ClassVar[bool] = False
    """Whether drawing the weights runs the user's code, which is no work for a login node."""
    gains_from_gpu: ClassVar[bool] = True
    """Whether `compute.device: auto` trains it on a GPU where the job has one."""
    cpu_core: ClassVar[Speed | None] = None
    """Speed of one CPU core, as `cost` counts operations; None where the cost is not known."""
    gpu: ClassVar[Speed] = GPU
    """Speed of one GPU, likewise."""

    def check(self, where: str, experiment: "Experiment") -> None:  # noqa: B027
        """ConfigError, in one line that begins with ``where``, for what cannot be trained."""

    def uncovered(self, experiment: "Experiment") -> str | None:
        """Why there are no exact values of the variance beside the estimates, or None if there are.

        A clause that a reader of a figure understands.
        """
        return "no exact theory covers this kind of model"

    def known_examples(self) -> int | None:
        """Training examples, where the configuration says how many."""
        return None

    def noise_scale(self, experiment: "Experiment") -> NoiseScale | None:
        """Where the gradient noise scale of ``experiment`` comes from; None if it has none."""
        return "runs" if experiment.is_averaged else None

    def sources(self, experiment: str) -> Mapping[str, str]:
        """The tables that training reads, by name; paths below ``results/{scale}/``."""
        return {}

    def weight_sources(self, experiment: str) -> Mapping[str, str]:
        """The files that drawing the initial weights reads, likewise."""
        return {}

    def own_files(self, folders: Iterable[Path]) -> list[Path]:
        """Files of the user's own that results depend on, found in ``folders``."""
        return source_files(self.kind, folders) if ":" in self.kind else []

    def examine(self, experiment: "Experiment", own: Collection[Path]) -> Mapping[str, Any]:
        """Try the user's own code, before any result that depends on it is deleted.

        Called where `draws_with_own_code`, in a job of its own that all others of the experiment
        wait for. ``own`` are the files whose edit runs them again. Returned is what was found, as
        plain JSON values by name. Raises ConfigError for what cannot be trained.
        """
        return {}

    @abstractmethod
    def draw_weights(
        self, experiment: "Experiment", init: int, sources: Mapping[str, Path]
    ) -> Weights:
        """Initial weights number ``init``, the same for all runs of ``experiment``.

        ``sources`` are the files of `weight_sources`.
        """

    @abstractmethod
    def load(self, experiment: "Experiment", sources: Mapping[str, Path]) -> TrainingData:
        """The data to train on, from the files of `sources`."""

    @abstractmethod
    def train(
        self,
        block: "Block",
        weights: Weights,
        data: TrainingData,
        checkpoint: Checkpoint | None = None,
    ) -> BlockTables:
        """Train the runs of ``block`` from ``weights`` and summarise their gradients.

        Raises ArtifactError if the checkpoint is of another run, StoppedError after a requested
        stop.
        """

    def device_wanted(self, device: str) -> str:
        """What ``compute.device`` is to this kind: ``auto`` is ``cpu`` if a GPU gains nothing.

        So all blocks of an experiment are trained on the same kind of device.
        """
        return "cpu" if device == "auto" and not self.gains_from_gpu else device

    def cost(self, experiment: "Experiment", batch_size: int, threads: int) -> BlockCost | None:
        """What one block at ``batch_size`` costs, or None if that is not known."""
        return None

    def backend(self, experiment: "Experiment", device: str) -> str:
        """What computes on ``device``, as provenance states it; blocks of one table share it."""
        return f"torch {device}"
