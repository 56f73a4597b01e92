"""The sections of the configuration that are the same for every kind of model."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

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
