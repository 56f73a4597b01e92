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
    """The weights that all runs of an experiment start from; there can be several draws."""

    count: Count
    """Number of draws. Each one is an experiment of its own; Figure 3a compares five."""
    seed: NotNegative
    """Seed of the draws. Draw number i depends on this seed and on i alone."""
    scale: Positive | None = None
    """Standard deviation of the entries: times 1/sqrt(fan_in) in linear networks and perceptrons,
    as it stands in linear regression and transformers. A module of your own draws its weights
    itself and has no scale."""


@section
class LearningRate:
    """The learning rate of step t = 0, 1, ..."""

    schedule: Literal["inverse_time", "constant", "warmup_linear"]
    """`constant` is `initial`; `inverse_time` is `initial / (t + 1)`; `warmup_linear` rises
    linearly to `initial` over the share `warmup` of all steps and falls linearly to 0 after it."""
    initial: Positive
    """The first rate, or with `warmup_linear` the highest."""
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
        (2019): 0 at step 0 if there is a warm-up, and it would be 0 at step T.
        """
        if self.schedule == "constant":
            return np.full(iterations, self.initial)
        if self.schedule == "inverse_time":
            return np.array([float(rate) for rate in self.exact(iterations)])
        warmup = round(self.warmup * iterations)
        rising = [self.initial * t / warmup for t in range(warmup)]
        falling = [
            self.initial * (iterations - t) / (iterations - warmup)
            for t in range(warmup, iterations)
        ]
        return np.array(rising + falling)


@section
class Optimizer:
    """How a gradient becomes an update; without this section it is plain SGD."""

    kind: Literal["sgd", "adam", "adamw"]
    """The optimiser."""
    weight_decay: NotBelowZero = 0.0
    """Decoupled weight decay of adamw."""
    epsilon: Positive = 1e-8
    """Added to the denominator of adam and adamw."""
    clip_norm: Positive | None = None
    """Norm down to which each parameter tensor's gradient is clipped before an adamw step."""


@section
class Polynomial:
    """Fits of the variance by a polynomial in 1/b and in c_b (Section 4.2)."""

    steps: Annotated[tuple[NotNegative, ...], UNIQUE, EachOnce, InOrder]
    """Recorded steps at which to fit."""
    degree: Annotated[Whole, Field(ge=1, le=12)]
    """Degree of the polynomial."""


@section
class HeavyTails:
    """The scalar two-layer network, whose estimated variances are held against its exact ones."""

    w1: Rational
    """Initial weight of the first layer, a fraction in quotes."""
    w2: Rational
    """Initial weight of the second layer."""
    target: Rational
    """What the product of both weights is to learn."""
    learning_rate: Rational
    """Constant learning rate."""
    batch_sizes: BatchSizes
    """Batch sizes to compare."""
    max_step: Annotated[Whole, Field(ge=0, le=4)]
    """Last step whose variance is estimated."""
    polynomial_max_step: Annotated[Whole, Field(ge=0, le=4)]
    """Last step whose exact polynomial in 1/b is computed; step 4 takes some 15 seconds."""
    run_counts: Mapping[str, Annotated[tuple[AtLeastTwo, ...], UNIQUE, EachOnce, InOrder]]
    """Numbers of runs to try, by scale; a scale that is not listed takes those of `paper`."""
    repeats: AtLeastTwo
    """How often the experiment with the fewest runs is repeated."""


@section
class Distortion:
    """Simard's elastic distortion of the validation images: the test set of Figure 3b."""

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
    """`auto` takes a GPU where there is one."""
    threads: Count
    """Threads of one training job. Results of transformers and of your own modules depend on it by
    rounding, others not at all."""
    allow_tf32: Flag
    """On a GPU: products of float32 with 10 bits of mantissa, which are faster."""
    checkpoint_every_s: Positive
    """Seconds between saves of a running block's state. No result depends on it."""
