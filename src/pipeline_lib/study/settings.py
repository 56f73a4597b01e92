"""The sections of the configuration that are the same for every kind of model."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline_lib.study.section import (
    UNIQUE,
    AtLeastTwo,
    BatchSizes,
    Count,
    EachOnce,
    Flag,
    InOrder,
    NotBelowZero,
    NotNegative,
    Positive,
    Rational,
    Share,
    Whole,
    section,
)


@section
class InitialWeights:
    """The weights that all runs of an experiment start from. There can be several draws."""

    count: Count
    """Number of draws. The runs from each draw are summarised apart; Figure 3a compares five."""
    seed: NotNegative
    """Seed of the draws. Draw number i depends on this seed and on i only."""
    scale: Positive | None = None
    """Standard deviation of the entries. In linear networks and perceptrons it is divided by
    sqrt(fan_in). A module of your own draws its weights itself and has no scale."""


@section
class LearningRate:
    """The learning rate at step t = 0, 1, ..."""

    schedule: Literal["inverse_time", "constant", "warmup_linear"]
    """`constant` stays at `initial`. `inverse_time` is `initial / (t + 1)`. `warmup_linear` rises
    linearly to `initial` over the share `warmup` of all steps, then falls linearly to 0."""
    initial: Positive
    """The first rate; with `warmup_linear`, the highest one."""
    warmup: Share = 0.0
    """Share of all steps over which `warmup_linear` rises."""

    def exact(self, iterations: int) -> list[Fraction]:
        """The rates as rationals, reading ``initial`` as the decimal that the user wrote.

        Raises ValueError for ``warmup_linear``, whose rates are known in floating point only.
        """
        if self.schedule == "warmup_linear":
            raise ValueError("rates with a warm-up are not known as rationals")
        initial = Fraction(str(self.initial))
        if self.schedule == "constant":
            return [initial] * iterations
        return [initial / (t + 1) for t in range(iterations)]

    def values(self, iterations: int) -> NDArray[np.float64]:
        """The rates of ``iterations`` steps, all there are, in float64.

        ``warmup_linear`` is ``initial t / w`` for t < w = round(warmup iterations) and then
        ``initial (T - t) / (T - w)`` with T = iterations, as in the fine-tuning of Yang et al.
        (2019): 0 at step 0 if there is a warm-up, and it would be 0 at step T. Raises ValueError
        unless w < T.
        """
        if self.schedule == "constant":
            return np.full(iterations, self.initial)
        if self.schedule == "inverse_time":
            return np.array([float(rate) for rate in self.exact(iterations)])
        warmup = round(self.warmup * iterations)
        if warmup >= iterations:
            raise ValueError(
                f"warm-up of {warmup} steps: allowed are 0 to {iterations - 1}, below all"
            )
        rising = [self.initial * t / warmup for t in range(warmup)]
        falling = [
            self.initial * (iterations - t) / (iterations - warmup)
            for t in range(warmup, iterations)
        ]
        return np.array(rising + falling)


@section
class Optimizer:
    """How a gradient becomes an update. Without this section runs are trained by plain SGD."""

    kind: Literal["sgd", "adam", "adamw"]
    """Name of the optimiser."""
    weight_decay: NotBelowZero = 0.0
    """Decoupled weight decay, for `adamw` only."""
    epsilon: Positive = 1e-8
    """Added to the denominator of an update by `adam` or `adamw`."""
    clip_norm: Positive | None = None
    """Largest norm of the gradient of each parameter tensor: what is longer is scaled down to it
    before the update. `adamw` needs it; the others do not clip."""


@section
class Polynomial:
    """Polynomials in 1/b and in c_b that are fitted to the variance (Section 4.2)."""

    steps: Annotated[tuple[NotNegative, ...], UNIQUE, EachOnce, InOrder]
    """Steps at which the variance is fitted."""
    degree: Annotated[Whole, Field(ge=1, le=12)]
    """Degree of the polynomials."""


@section
class HeavyTails:
    """The two-layer network of scalars: its estimated variances are compared with exact ones."""

    w1: Rational
    """Initial weight of the first layer. Fractions stand in quotes: `"3/2"`."""
    w2: Rational
    """Initial weight of the second layer."""
    target: Rational
    """Weight of the teacher, which the product of both weights is to learn."""
    learning_rate: Rational
    """Constant learning rate."""
    batch_sizes: BatchSizes
    """Batch sizes to compare."""
    max_step: Annotated[Whole, Field(ge=0, le=4)]
    """Last step whose variance is estimated."""
    polynomial_max_step: Annotated[Whole, Field(ge=0, le=4)]
    """Last step whose exact polynomial in 1/b is computed. Step 4 takes about 15 seconds."""
    run_counts: Annotated[
        Mapping[str, Annotated[tuple[AtLeastTwo, ...], UNIQUE, EachOnce, InOrder]],
        Field(json_schema_extra={"required": ["paper"]}),
    ]
    """Numbers of runs to try at each scale. A scale that is not listed uses those of `paper`."""
    repeats: AtLeastTwo
    """How many times the experiment with the fewest runs is repeated."""


@section
class Distortion:
    """The elastic distortion of the validation images (Simard et al. 2003) for Figure 3b."""

    alpha: NotBelowZero
    """Scale of the displacements, in pixels."""
    sigma: Positive
    """Standard deviation of the Gaussian that smooths them, in pixels."""
    seed: NotNegative
    """Seed of the displacements."""


@section
class Compute:
    """Where training blocks run, and how often they save their state."""

    device: Literal["auto", "cpu", "cuda"]
    """`auto` uses a GPU if there is one."""
    threads: Count
    """Threads of one training job. The results of transformers and of your own modules depend on
    it through rounding; all others do not."""
    allow_tf32: Flag
    """Whether a GPU may multiply float32 matrices with 10 bits of mantissa, which is faster."""
    checkpoint_every_s: Positive
    """Seconds from one save of a running block's state to the next. No result depends on it."""
