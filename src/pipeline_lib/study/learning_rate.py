"""The section `learning_rate` of an experiment, and the rates that it gives."""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline_lib.errors import ConfigError
from pipeline_lib.imports import REFERENCE, load_object, one_line
from pipeline_lib.study.section import NotBelowZero, Number, Share, Text, section

# By name; beside them a function of the user's own.
SCHEDULES = ("constant", "inverse_time", "warmup_linear", "cosine", "step")


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
