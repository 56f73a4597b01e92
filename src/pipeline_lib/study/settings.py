"""The settings of a study, typed and frozen, as `pipeline_lib.study.config` reads them."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from pipeline_lib.errors import ConfigError


@dataclass(frozen=True)
class LinearRegression:
    """Least squares with an intercept on standardised features."""

    kind: Literal["linear_regression"]
    dataset: str
    features: Literal["all"] | tuple[str, ...]


@dataclass(frozen=True)
class TwoLayer:
    """A student W2 W1 of the given ``layers`` (inputs, hidden, outputs) and a teacher of the same.

    Samples are drawn online, x ~ N(0, I). Teacher entries are N(0, teacher_scale^2 / fan_in).
    ``replicas_at_once`` are trained together through all steps; a block pools such groups.
    """

    kind: Literal["two_layer"]
    layers: tuple[int, int, int]
    teacher_seed: int
    teacher_scale: float
    dtype: Literal["float32", "float64"]
    replicas_at_once: int


@dataclass(frozen=True)
class Mlp:
    """A fully connected network on MNIST: ReLU, softmax cross-entropy, biases.

    ``training_examples`` and ``validation_examples`` are class-balanced subsets, drawn with
    ``subset_seed``, unless they are all there are.
    """

    kind: Literal["mlp"]
    dataset: Literal["mnist"]
    layers: tuple[int, ...]
    training_examples: int
    validation_examples: int
    subset_seed: int
    dtype: Literal["float32", "float64"]


@dataclass(frozen=True)
class Xlnet:
    """An XLNet classifier of reviews of ``tokens`` tokens; ``vocabulary`` is the most it may have.

    ``training_examples`` and ``validation_examples`` are balanced; a smaller source gives fewer.
    """

    kind: Literal["xlnet"]
    dataset: Literal["reviews"]
    d_model: int
    n_layer: int
    n_head: int
    d_inner: int
    dropout: float
    training_examples: int
    validation_examples: int
    subset_seed: int
    vocabulary: int
    tokens: int


@dataclass(frozen=True)
class OwnModule:
    """A module, loss and data set of the user's own, each as ``package.module:name``.

    ``arguments`` are those of ``make_model`` and of ``dataset``, by these names.
    """

    kind: Literal["module"]
    make_model: str
    loss: str
    dataset: str
    dtype: Literal["float32", "float64"]
    arguments: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)


Model = LinearRegression | TwoLayer | Mlp | Xlnet | OwnModule


@dataclass(frozen=True)
class InitialWeights:
    """``count`` draws of Gaussian weights; draw ``init`` depends on ``seed`` and ``init`` alone.

    Entries are N(0, scale^2) for linear regression and N(0, scale^2 / fan_in) for networks. A
    module of the user's own draws its weights itself and has no ``scale``.
    """

    count: int
    seed: int
    scale: float | None = None


@dataclass(frozen=True)
class LearningRate:
    """``initial / (t + 1)`` (inverse_time) or ``initial`` (constant) at step t = 0, 1, ...

    ``warmup_linear`` rises linearly to ``initial`` over the share ``warmup`` of all steps and falls
    linearly to 0 after it.
    """

    schedule: Literal["inverse_time", "constant", "warmup_linear"]
    initial: float
    warmup: float = 0.0

    def exact(self, iterations: int) -> list[Fraction]:
        """The rates as rationals, reading ``initial`` as the decimal that the user wrote.

        Raises ValueError for ``warmup_linear``: see `pipeline_lib.training.optim`.
        """
        if self.schedule == "warmup_linear":
            raise ValueError("rates with a warm-up depend on the number of steps")
        initial = Fraction(str(self.initial))
        if self.schedule == "constant":
            return [initial] * iterations
        return [initial / (t + 1) for t in range(iterations)]

    def values(self, iterations: int) -> list[float]:
        """The rates in float64."""
        return [float(rate) for rate in self.exact(iterations)]


@dataclass(frozen=True)
class Optimizer:
    """AdamW; each parameter tensor's gradient is clipped at the norm ``clip_norm``.

    ``sgd`` and ``adam``, for modules of the user's own, neither clip nor decay.
    """

    kind: Literal["sgd", "adam", "adamw"]
    weight_decay: float = 0.0
    epsilon: float = 1e-8
    clip_norm: float | None = None


@dataclass(frozen=True)
class FitSettings:
    """At which steps, and to what degree in 1/b, the variance is fitted (Section 4.2)."""

    steps: tuple[int, ...]
    degree: int


@dataclass(frozen=True)
class Experiment:
    """One experiment at the chosen scale."""

    name: str
    model: Model
    initial_weights: InitialWeights
    learning_rate: LearningRate
    batch_sizes: tuple[int, ...]
    runs: int
    runs_per_block: int

    @property
    def blocks(self) -> range:
        """Block indices, called ``seed`` in the paths."""
        return range(self.runs // self.runs_per_block)

    def training(self) -> dict[str, Any]:
        """What a training block depends on beside its (init, b, seed), as plain JSON types.

        Batch sizes, the number of runs and what is done with the results afterwards are left out,
        so that changing them never invalidates a finished block.
        """
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        for unused in ("batch_sizes", "runs", "polynomial"):
            plain.pop(unused, None)
        del plain["initial_weights"]["count"]
        return plain


@dataclass(frozen=True)
class IterationExperiment(Experiment):
    """Mini-batches drawn afresh at each of ``iterations`` steps, all of which are recorded."""

    iterations: int
    polynomial: FitSettings | None = None

    def learning_rates(self) -> list[float]:
        """``alpha_t`` in float64 for t = 0 ... iterations - 1."""
        return self.learning_rate.values(self.iterations)

    def exact_learning_rates(self) -> list[str]:
        """``alpha_t`` as fractions, in writing."""
        return [str(rate) for rate in self.learning_rate.exact(self.iterations)]


@dataclass(frozen=True)
class EpochExperiment(Experiment):
    """Examples visited in ``epochs`` epochs, in an order of their own for every run and epoch.

    ``recorded_steps`` of each decade of iterations are recorded. Losses are taken after every
    ``evaluate_every`` epochs, those on the distorted images every ``distorted_every``.
    """

    epochs: int
    last_batch: Literal["keep", "drop"]
    recorded_steps: int | Literal["every"]
    evaluate_every: int
    distorted_every: int | None = None
    optimizer: Optimizer | None = None  # None is plain SGD

    def evaluated_epochs(self) -> dict[str, list[int]]:
        """By split, after how many epochs it is evaluated; the last epoch is always there."""

        def every(step: int) -> list[int]:
            return sorted({*range(0, self.epochs + 1, step), self.epochs})

        both = every(self.evaluate_every)
        if self.distorted_every is None:
            return {"training": both, "validation": both}
        # A gap needs the training error at the same epochs.
        distorted = every(self.distorted_every)
        return {
            "training": sorted({*both, *distorted}),
            "validation": both,
            "distorted": distorted,
        }


@dataclass(frozen=True)
class HeavyTails:
    """The scalar two-layer network whose estimates are held against its exact variances.

    ``w1``, ``w2``, ``target`` and ``learning_rate`` are exact rationals, in writing.
    """

    w1: str
    w2: str
    target: str
    learning_rate: str
    batch_sizes: tuple[int, ...]
    max_step: int
    polynomial_max_step: int
    run_counts: tuple[int, ...]
    repeats: int


@dataclass(frozen=True)
class Distortion:
    """Simard's elastic distortion of the validation images: displacements in pixels."""

    alpha: float
    sigma: float
    seed: int


@dataclass(frozen=True)
class Compute:
    """Where a training block runs, and how often it saves its state.

    No result depends on ``checkpoint_every_s``, seconds from one save to the next. Those of linear
    regression, two-layer networks and perceptrons do not depend on ``threads`` either; those of
    XLNet and of own modules do, by rounding.
    """

    device: Literal["auto", "cpu", "cuda"]
    threads: int
    allow_tf32: bool
    checkpoint_every_s: float


@dataclass(frozen=True)
class Study:
    """The whole configuration, with the scale applied."""

    scale: str
    seed: int
    data_dir: str | None
    experiments: Mapping[str, Experiment]
    at_paper_scale: Mapping[str, Experiment]
    distortion: Distortion
    heavy_tails: HeavyTails
    compute: Compute
    confidence_level: float
    only: tuple[str, ...] | None

    @property
    def chosen(self) -> tuple[str, ...]:
        """The experiments that are built unless a target is named."""
        return tuple(self.experiments) if self.only is None else self.only

    def require(self, *names: str) -> None:
        """ConfigError unless every experiment of ``names`` is there."""
        for name in names:
            if name not in self.experiments:
                raise ConfigError(
                    f"config: experiments.{name}: missing, but figures are drawn from it; "
                    "give it few runs if you do not need it"
                )
