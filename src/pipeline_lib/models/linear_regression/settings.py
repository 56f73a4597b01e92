"""Linear regression as a kind of model: its settings and what it can do."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal, get_args

from pipeline_lib.artifacts.block_tables import BlockTables
from pipeline_lib.artifacts.checkpoint import Checkpoint
from pipeline_lib.artifacts.files import read_provenance
from pipeline_lib.data.admissions import Feature
from pipeline_lib.errors import ConfigError
from pipeline_lib.sampling.names import IN_EPOCHS, Sampling
from pipeline_lib.study.block import Block
from pipeline_lib.study.cost import BlockCost, Speed
from pipeline_lib.study.experiment import Experiment, IterationExperiment
from pipeline_lib.study.experiment_checks import check_batch_sizes
from pipeline_lib.study.model import Model, NoiseScale, TrainingData, Weights
from pipeline_lib.study.optimizers import OPTIMIZERS
from pipeline_lib.study.section import UNIQUE, EachOnce, section

# Examples at the canonical source; a smaller stand-in is noticed when the data is there, and batch
# sizes that it cannot serve are then left out with a note.
ROWS = {"admissions": 500}


@section
class LinearRegression(Model):
    """Least squares with an intercept on standardised features."""

    kind: Literal["linear_regression"]
    dataset: Literal["admissions"]
    """The table Graduate Admissions."""
    features: Literal["all"] | Annotated[tuple[Feature, ...], UNIQUE, EachOnce]
    """Features to use: `all` seven, or a list of some."""

    in_epochs: ClassVar[bool] = False
    gains_from_gpu: ClassVar[bool] = False
    only_batches_random: ClassVar[bool] = True
    samplings: ClassVar[tuple[Sampling, ...]] = (
        "fresh",
        "with_replacement",
        "epochs",
        "shuffled_once",
    )
    optimizers: ClassVar[tuple[str, ...]] = OPTIMIZERS
    clips: ClassVar[bool] = True
    exact: ClassVar[str] = "plain SGD on mini-batches drawn `fresh` or `with_replacement`"
    weights_depend_on: ClassVar[tuple[str, ...]] = ("features",)
    may_have: ClassVar[tuple[str, ...]] = ("polynomial",)
    # About half of what a core of an AMD EPYC server gave at the paper's shapes in short runs, as
    # for the other kinds; 2.6 to 5.7 GFLOP/s of processor time, the lowest at small batch sizes.
    cpu_core: ClassVar[Speed] = Speed(1.3e9, 0.0)

    @property
    def n_weights(self) -> int:
        """p, the features and the intercept."""
        return 1 + len(get_args(Feature) if self.features == "all" else self.features)

    def check(self, where: str, experiment: Experiment) -> None:
        rows = ROWS[self.dataset]
        check_batch_sizes(where, experiment.batch_sizes, rows, f"rows of {self.dataset}")

    def uncovered(self, experiment: Experiment) -> str | None:
        if experiment.sampled in IN_EPOCHS:
            return "mini-batches in epochs have no exact theory"
        if not experiment.is_plain:
            return "the exact theory is that of plain SGD"
        return None

    def noise_scale(self, experiment: Experiment) -> NoiseScale | None:
        return "theory" if self.uncovered(experiment) is None else "runs"

    def sources(self, experiment: str) -> Mapping[str, str]:
        return {"data": f"data/{self.dataset}.parquet"}

    weight_sources = sources

    def draw_weights(
        self, experiment: Experiment, init: int, sources: Mapping[str, Path]
    ) -> Weights:
        from pipeline_lib.data.admissions import read_design
        from pipeline_lib.models.initial_weights import gaussian_weights

        drawn, design = experiment.initial_weights, read_design(sources["data"], self.features)
        assert drawn.scale is not None
        _refuse_sizes_above(len(design.target), experiment)
        shape = (len(design.names),)
        return dict(gaussian_weights({"weights": shape}, drawn.scale, drawn.seed, init))

    def load(self, experiment: Experiment, sources: Mapping[str, Path]) -> TrainingData:
        from pipeline_lib.data.admissions import read_design

        origin = read_provenance(sources["data"])
        design = read_design(sources["data"], self.features)
        _refuse_sizes_above(len(design.target), experiment)
        return TrainingData(design, origin["source"], origin["data_sha256"], origin["n_rows"])

    def train(
        self,
        block: Block,
        weights: Weights,
        data: TrainingData,
        checkpoint: Checkpoint | None = None,
    ) -> BlockTables:
        from pipeline_lib.models.linear_regression.block import regression_block
        from pipeline_lib.training.steps import StepPlan

        assert isinstance(block.experiment, IterationExperiment)
        return regression_block(
            data.examples.features,
            data.examples.target,
            weights["weights"],
            StepPlan.of(block),
            block.hardware,
            checkpoint,
        )

    def cost(self, experiment: Experiment, batch_size: int, threads: int) -> BlockCost | None:
        from pipeline_lib.models.linear_regression.cost import block_cost

        return block_cost(self, experiment, batch_size)

    def backend(self, experiment: Experiment, device: str) -> str:
        # On the CPU the compiled kernel is far faster than torch, but it knows plain SGD alone.
        fused = device == "cpu" and experiment.is_plain
        return "numba cpu" if fused else f"torch {device}"


def _refuse_sizes_above(rows: int, experiment: Experiment) -> None:
    """ConfigError if no batch size can be drawn from the rows at hand; one is enough."""
    smallest = min(experiment.batch_sizes)
    if smallest > rows:
        raise ConfigError(
            f"config: experiments.{experiment.name}.batch_sizes: every size, from {smallest} "
            f"on, is above the {rows} rows at hand; allowed: one of at most {rows}"
        )
