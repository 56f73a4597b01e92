"""What Figures 1 and 2 cover, and what of it a study lacks."""

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline_lib.claims.paper_settings import ADMISSIONS, TWO_LAYERS
from pipeline_lib.claims.setting import Problem


@dataclass(frozen=True)
class Extent:
    """Problem, batch sizes, steps 0, …, steps − 1, runs a batch size of a figure."""

    problem: Problem
    batch_sizes: tuple[int, ...]
    steps: int
    runs: int


def swept_batch_sizes(low: int = 2, high: int = 500) -> list[int]:
    """The powers of two and the multiples of 40 in [low, high] (Section 4.2)."""
    return [b for b in range(low, high + 1) if b > 0 and (b & (b - 1) == 0 or b % 40 == 0)]


# The legend of Figure 1a is lost; 4, 16, 64 and 256 are our choice.
FIGURE_1A = Extent(ADMISSIONS, (4, 16, 64, 256), 2000, 1000)
FIGURE_1B = Extent(ADMISSIONS, tuple(swept_batch_sizes()), 40, 10_000)
FIGURE_1B_SHOWN = (10, 20, 30, 40)  # the steps whose curves Figure 1b shows
FIGURE_2 = Extent(TWO_LAYERS, (1, 2, 4, 16, 64, 256), 1000, 1000)


def missing(extent: Extent, batch_sizes: Iterable[int], steps: int) -> list[str]:
    """What of ``extent`` these sizes and this number of steps lack.

    The number of runs is no part of a claim about variances: what decides is whether every
    comparison is settled.
    """
    sizes = sorted(set(extent.batch_sizes) - set(batch_sizes))
    lacking = [f"b = {', '.join(map(str, sizes))}"] if sizes else []
    if steps < extent.steps:
        lacking.append(f"{extent.steps:,} steps (here {steps:,})")
    return lacking
