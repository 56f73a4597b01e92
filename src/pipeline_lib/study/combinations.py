"""What combines with what: every kind of model with every key of its training that it can have."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import NamedTuple

from pipeline_lib.sampling.names import Sampling
from pipeline_lib.study.learning_rate import SCHEDULES
from pipeline_lib.study.model import Model
from pipeline_lib.study.settings import CLIPPED


class Combination(NamedTuple):
    """One way to train a kind of model; ``clipping`` is that of `Clipping.of`, None without.

    Learning rates combine with all of them: a schedule is a number a step.
    """

    sampling: Sampling
    optimizer: str
    clipping: str | None


def combinations(kind: type[Model]) -> Iterator[Combination]:
    """Every combination of this kind of model, its default first."""
    optimizers = kind.optimizers or ("sgd",)
    clippings = (None, *CLIPPED) if kind.clips else (None,)
    for one in product(kind.samplings, optimizers, clippings):
        yield Combination(*one)


def combination_table(kinds: Mapping[str, type[Model]]) -> str:
    """The combinations as a Markdown table, a row a kind of model."""
    rows = [
        "| `model.kind` | length | `sampling` | `optimizer.kind` | `clipping.of` | exact values |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, kind in kinds.items():
        cells = (
            _names([name]),
            _names(["epochs" if kind.in_epochs else "iterations"]),
            _names(kind.samplings),
            _names(kind.optimizers) or "plain `sgd`",
            _names(CLIPPED) if kind.clips else "none",
            kind.exact or "none",
        )
        rows.append(f"| {' | '.join(cells)} |")
    rows.append("")
    rows.append(
        f"With each of them goes every `learning_rate.schedule`: {_names(SCHEDULES)}, yours."
    )
    return "\n".join(rows)


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
