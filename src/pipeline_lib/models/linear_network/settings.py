"""Linear networks as a kind of model: their settings and what they can do."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from pipeline_lib.artifacts.block_tables import BlockTables
from pipeline_lib.artifacts.checkpoint import Checkpoint
from pipeline_lib.sampling.names import Sampling
from pipeline_lib.study.block import Block
from pipeline_lib.study.cost import BlockCost, Speed
from pipeline_lib.study.experiment import Experiment
from pipeline_lib.study.model import Model, NoiseScale, TrainingData, Weights
from pipeline_lib.study.optimizers import OPTIMIZERS
from pipeline_lib.study.section import AtLeastTwo, Count, NotNegative, Positive, section


@section
class LinearNetwork(Model):
    """A linear network that learns a teacher of the same shape from samples x ~ N(0, I).

    Samples are drawn online: the loss is the expectation over x, and its gradient is known. With
    24 runs a layer in each block, or more, control variates make the second estimate more precise.
    """

    kind: Literal["linear_network"]
    layers: Annotated[tuple[Count, ...], Field(min_length=3)]
    """Widths: inputs, one or more hidden layers, outputs."""
    teacher_seed: NotNegative
    """Seed of the teacher's weights."""
    teacher_scale: Positive
    """The teacher's entries are N(0, teacher_scale^2 / fan_in)."""
    dtype: Literal["float32", "float64"]
    """Precision of weights and gradients; sums of squares are always float64."""
    replicas_at_once: AtLeastTwo
    """Runs that are trained together through all steps; a block pools such groups. About 25 runs
    of the paper's network fit a processor's cache."""

    in_epochs: ClassVar[bool] = False
    gains_from_gpu: ClassVar[bool] = False
    samplings: ClassVar[tuple[Sampling, ...]] = ("online",)
    optimizers: ClassVar[tuple[str, ...]] = OPTIMIZERS
    clips: ClassVar[bool] = True
    exact: ClassVar[str] = "t = 0 always; t = 1 of two layers under plain SGD"
    weights_depend_on: ClassVar[tuple[str, ...]] = ("layers", "teacher_seed", "teacher_scale")
    cpu_core: ClassVar[Speed] = Speed(35e9, 1e-5)  # half of what was seen, 76 to 80 GFLOP/s

    def uncovered(self, experiment: Experiment) -> str | None:
        return None  # at t = 0 at least: see `exact_steps`

    def noise_scale(self, experiment: Experiment) -> NoiseScale | None:
        return "runs"  # each tells tr Sigma(w_t) in closed form

    def exact_steps(self, experiment: Experiment) -> int:
        """How many steps, from t = 0 on, have exact values.

        At the initial weights nothing depends on the optimiser. One step further the theory is that
        of two layers under plain SGD.
        """
        return 2 if len(self.layers) == 3 and experiment.is_plain else 1

    def draw_weights(
        self, experiment: Experiment, init: int, sources: Mapping[str, Path]
    ) -> Weights:
        from pipeline_lib.models.initial_weights import network_weights

        drawn = experiment.initial_weights
        assert drawn.scale is not None
        student = network_weights(self.layers, drawn.scale, drawn.seed, init)
        teacher = network_weights(self.layers, self.teacher_scale, self.teacher_seed, 0)
        return {**student, **{f"teacher_{name}": weight for name, weight in teacher.items()}}

    def load(self, experiment: Experiment, sources: Mapping[str, Path]) -> TrainingData:
        return TrainingData(None, "online Gaussian samples")

    def train(
        self,
        block: Block,
        weights: Weights,
        data: TrainingData,
        checkpoint: Checkpoint | None = None,
    ) -> BlockTables:
        from pipeline_lib.models.linear_network.block import Grouping, linear_network_block
        from pipeline_lib.models.linear_network.student import Student
        from pipeline_lib.training.steps import StepPlan

        return linear_network_block(
            Student.of(weights),
            StepPlan.of(block),
            Grouping(self.replicas_at_once, self.dtype),
            block.hardware,
            checkpoint,
        )

    def cost(self, experiment: Experiment, batch_size: int, threads: int) -> BlockCost | None:
        from pipeline_lib.models.linear_network.cost import block_cost

        return block_cost(self, experiment, batch_size, threads)
