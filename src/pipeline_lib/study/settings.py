"""The sections of the configuration that are the same for every kind of model."""

import math
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Annotated, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from pipeline_lib.errors import ConfigError
from pipeline_lib.imports import REFERENCE, load_object, one_line
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
    Number,
    Positive,
    Rational,
    Share,
    Text,
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


SCHEDULES = ("constant", "inverse_time", "warmup_linear", "cosine", "step")
"""Learning-rate schedules by name; beside them a function of the user's own."""
_TRIED_STEPS = 300  # of a function of the user's own, before a job starts


@section
class LearningRate:
    """The learning rate at step t = 0, 1, ..."""

    schedule: (
        Literal["constant", "inverse_time", "warmup_linear", "cosine", "step"]
        | Annotated[Text, Field(pattern=REFERENCE)]
    )
    """`constant` stays at `initial`. `inverse_time` is `initial / (t + 1)`. `warmup_linear` and
    `cosine` rise linearly to `initial` over the share `warmup` of all steps; then the first falls
    linearly to 0 and the second as half a cosine to `final`. `step` multiplies by `factor` after
    each share `every` of all steps. `package.module:function` names a function of your own: the
    rate is `initial` times what it returns for the step t."""
    initial: Annotated[Number, Field(gt=0, le=1e6)]
    """The first rate; with a warm-up, the highest one."""
    warmup: Share = 0.0
    """Share of all steps over which `warmup_linear` and `cosine` rise."""
    final: NotBelowZero = 0.0
    """The rate to which `cosine` falls."""
    every: Annotated[Number, Field(gt=0, lt=1)] | None = None
    """Share of all steps from one drop of `step` to the next."""
    factor: Annotated[Number, Field(gt=0, lt=1)] | None = None
    """What a drop of `step` multiplies the rate by."""

    @property
    def is_own(self) -> bool:
        """Whether the schedule is a function of the user's own."""
        return ":" in self.schedule

    def mistake(self) -> tuple[str, str] | None:
        """A key that does not go with the schedule, and what is wrong with it."""
        for key, default, schedules in (
            ("warmup", 0.0, ("warmup_linear", "cosine")),
            ("final", 0.0, ("cosine",)),
            ("every", None, ("step",)),
            ("factor", None, ("step",)),
        ):
            value = getattr(self, key)
            if value != default and self.schedule not in schedules:
                return key, (
                    f"{value} is not for the schedule {self.schedule}; "
                    f"allowed: none, or the schedule {' or '.join(schedules)}"
                )
            if value is None and self.schedule in schedules:
                return key, "missing; the schedule step needs it"
        if self.final > self.initial:
            return "final", f"{self.final} is above initial; allowed: 0 to {self.initial}"
        return None

    def exact(self, iterations: int) -> list[Fraction]:
        """The rates as rationals, reading numbers as the decimals that the user wrote.

        Raises ValueError where rates are known in floating point only: `warmup_linear`, `cosine`
        and functions of the user's own.
        """
        initial = Fraction(str(self.initial))
        if self.schedule == "constant":
            return [initial] * iterations
        if self.schedule == "inverse_time":
            return [initial / (t + 1) for t in range(iterations)]
        if self.schedule == "step":
            factor = Fraction(str(self.factor))
            return [initial * factor**drops for drops in self._drops(iterations)]
        raise ValueError(f"rates of the schedule {self.schedule} are not known as rationals")

    def values(self, iterations: int) -> NDArray[np.float64]:
        """The rates of ``iterations`` steps, all there are, in float64.

        With T = iterations and w = round(warmup T), the rate rises as ``initial t / w`` for t < w.
        Then `warmup_linear` is ``initial (T - t) / (T - w)``, as in the fine-tuning of Yang et al.
        (2019), and `cosine` is ``final + (initial - final) (1 + cos(pi (t - w) / (T - w))) / 2``
        (Loshchilov & Hutter, 2017). `step` drops for the k-th time at t = ceil(k every T).

        Raises ConfigError unless w < T, and if a function of the user's own fails or returns no
        rate.
        """
        if self.schedule == "constant":
            return np.full(iterations, self.initial)
        if self.schedule == "inverse_time":
            initial = Fraction(str(self.initial))
            # Quotients of integers are rounded once, as those of `exact` are.
            return np.array(
                [initial.numerator / (initial.denominator * t) for t in range(1, iterations + 1)]
            )
        if self.schedule == "step":
            return np.array([float(rate) for rate in self.exact(iterations)])
        if self.is_own:
            return self._own_values("config: learning_rate.schedule", range(iterations))
        warmup = self.warmup_steps("config: learning_rate.warmup", iterations)
        rising = [self.initial * t / warmup for t in range(warmup)]
        left = iterations - warmup
        if self.schedule == "warmup_linear":
            falling = [self.initial * (left - t) / left for t in range(left)]
        else:
            height = self.initial - self.final
            falling = [
                self.final + height * (1 + math.cos(math.pi * t / left)) / 2 for t in range(left)
            ]
        return np.array(rising + falling)

    def starts_at_zero(self, iterations: int) -> bool:
        """Whether the first of ``iterations`` rates, and no other at first, is 0: a warm-up's.

        A function of the user's own is not called, and said not to start so.
        """
        return self.warmup_steps("config: learning_rate.warmup", iterations) > 0

    def warmup_steps(self, where: str, iterations: int) -> int:
        """How many of ``iterations`` steps are warm-up.

        Raises ConfigError, in one line that begins with ``where``, the key, if all are.
        """
        warmup = round(self.warmup * iterations)
        if warmup >= iterations:
            raise ConfigError(
                f"{where}: {self.warmup} takes all steps, {iterations}; "
                "allowed: a share that leaves at least one"
            )
        return warmup

    def _drops(self, iterations: int) -> list[int]:
        """How often `step` has dropped at each step."""
        every = Fraction(str(self.every))
        return [math.floor(t / (every * iterations)) for t in range(iterations)]

    def try_own(self, where: str, iterations: int) -> None:
        """ConfigError if a function of the user's own fails on some of so many steps.

        Tried are the first and the last step and a few hundred between them.
        """
        steps = np.unique(np.linspace(0, iterations - 1, _TRIED_STEPS).astype(np.int64))
        self._own_values(where, steps.tolist())

    def _own_values(self, where: str, steps: Sequence[int]) -> NDArray[np.float64]:
        function = load_object(where, self.schedule)
        try:
            rates = np.array([self.initial * float(function(t)) for t in steps])
        except Exception as error:
            raise ConfigError(f"{where}: {self.schedule} fails: {one_line(error)}") from error
        bad = np.nonzero(~(np.isfinite(rates) & (rates >= 0)))[0]
        if len(bad):
            raise ConfigError(
                f"{where}: {self.schedule} gives a rate of {rates[bad[0]]} at step "
                f"{steps[bad[0]]}; "
                "allowed: finite numbers of at least 0"
            )
        return rates


ClippedNorm = Literal["tensor", "whole"]
CLIPPED: tuple[ClippedNorm, ...] = get_args(ClippedNorm)


@section
class Clipping:
    """Gradients that are too long are shortened before each step."""

    norm: Positive
    """The norm down to which a replica's gradient is shortened."""
    of: ClippedNorm
    """Whose norm that is: that of each parameter tensor's gradient by itself, or of the whole."""


_EXAMPLES = r"^(all|([2-9]|[1-9][0-9]+) b)$"


def _number_of_examples(text: str) -> str:
    if not re.fullmatch(_EXAMPLES, text):
        raise PydanticCustomError(
            "told",
            ": '{text}' is not allowed; allowed: a number of at least 2, all, or mini-batches, "
            "such as 16 b",
            {"text": text},
        )
    return text


@section
class RaoBlackwell:
    """A second estimate of the variance of the stochastic gradient, from fewer runs.

    At each recorded step the gradients of single examples tell the variance over all mini-batches
    that could have been drawn there. Of the runs only the variance of their expected gradients is
    left to estimate."""

    examples: (
        AtLeastTwo
        | Annotated[
            Text,
            Field(json_schema_extra={"pattern": _EXAMPLES}),
            AfterValidator(_number_of_examples),
        ]
    )
    """How many of the examples that a mini-batch is drawn from are used, at random: a number,
    `all`, or so many mini-batches, as `16 b`. The estimate is unbiased for any number, more
    precise the more they are, and takes about as long as training on them once."""

    def most(self, batch_size: int) -> int | None:
        """Examples that are used at a batch size, if so many are left; None if it is all."""
        if self.examples == "all":
            return None
        if isinstance(self.examples, int):
            return self.examples
        return batch_size * int(self.examples.removesuffix(" b"))


@section
class Polynomial:
    """Polynomials in 1/b and in c_b that are fitted to the variance (Section 4.2) of 3 or more
    runs."""

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
    """`auto` trains networks on a GPU if there is one, on Slurm if the job was given one. Linear
    regression and linear networks gain nothing there and are trained on CPU. A job that was given
    a GPU which it cannot use fails and says why."""
    threads: Count
    """Threads of one training job. The results of transformers and of your own modules depend on
    it through rounding; all others do not."""
    allow_tf32: Flag
    """Whether a GPU may multiply float32 matrices with 10 bits of mantissa, which is faster."""
    tf32_in_evaluations: Flag
    """The same for losses and errors alone, which no gradient sees."""
    checkpoint_every_s: Positive
    """Seconds from one save of a running block's state to the next. No result depends on it."""
