"""The tables of docs/inference.md, simulated, and put where the page has their marks."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline_lib.calibration import unseen
from pipeline_lib.calibration.coverage import GROUPS, Groups, coverage, named
from pipeline_lib.calibration.laws import (
    gaussian,
    heavy,
    light,
    mixture,
    product,
    rare,
    scalar_network,
    trained,
)
from pipeline_lib.calibration.methods import compare
from pipeline_lib.calibration.verdicts import in_training, settled, tail_ratios, told_apart
from pipeline_lib.claims.lack_of_fit import Level
from pipeline_lib.errors import ArtifactError
from pipeline_lib.logs import progress
from pipeline_lib.seeding import seed_sequence

_MANY: Groups = (300,)


@dataclass(frozen=True)
class Sizes:
    """How often each simulation is repeated."""

    coverage: int = 4000
    experiments: int = 200
    tails: int = 100_000
    methods: int = 1000
    fits: int = 2000


def put(page: str, name: str, table: str) -> str:
    """The page with ``table`` between its marks ``<!-- name -->`` and ``<!-- end of name -->``.

    Raises:
        ArtifactError: the page does not have each mark once, in this order.
    """
    first, last = f"<!-- {name} -->", f"<!-- end of {name} -->"
    if page.count(first) != 1 or page.count(last) != 1 or page.index(first) > page.index(last):
        raise ArtifactError(
            f"the page has no marks {first} and {last}, once each and in this order"
        )
    return f"{page[: page.index(first)]}{first}\n{table}\n{page[page.index(last) :]}"


def tables(
    sizes: Sizes, seed: int, names: Iterable[str] | None = None
) -> Iterator[tuple[str, str]]:
    """Tables of the page, one after the other: the name, and the table as Markdown.

    All of `TABLES`, unless ``names`` says which. Each draws from streams of its own.
    """
    for name in TABLES if names is None else names:
        make, size = TABLES[name]
        yield name, make(getattr(sizes, size), seed)


def coverage_table(repeats: int, seed: int) -> str:
    """A row a law and grouping of runs: how often the 95 % interval holds the variance."""
    laws = [*light(), *heavy(), *trained()]
    cells = [(law, of) for law in laws for of in GROUPS if sum(of) >= law.least_runs]
    rows = []
    for law, groups in progress(cells, len(cells), "coverage"):
        found = coverage(law, groups, repeats, _stream(seed, "coverage", law.name, groups))
        shares = (
            found.covered, found.below, found.above, found.missing, found.reliable,
            found.covered_reliable, found.relied_and_missed,
        )  # fmt: skip
        rows.append([law.name, named(groups), *map(_percent, shares)])
    head = (
        "law", "runs", "holds V", "below", "above", "no interval", "reliable",
        "holds V, if reliable", "reliable, misses V",
    )  # fmt: skip
    return _markdown(head, rows)


def methods_table(repeats: int, seed: int) -> str:
    """A row a law and number of runs, a column a method: coverage at 95 %."""
    laws = (gaussian(1), gaussian(100), mixture(0.5, 1), product())
    cells = [(law, n) for law in laws for n in (6, 12, 30)]
    found = [
        compare(law, n, repeats, _stream(seed, "methods", law.name, (n,)))
        for law, n in progress(cells, len(cells), "methods")
    ]
    rows = [
        [law.name, str(n), *map(_percent, one.values())]
        for (law, n), one in zip(cells, found, strict=True)
    ]
    return _markdown(["law", "runs", *found[0]], rows)


def tails_table(repeats: int, seed: int) -> str:
    """A row a pair of laws and grouping: P(p ≤ level)/level where both variances are equal."""
    levels = (1e-2, 1e-3, 1e-4)
    alike = [gaussian(1), gaussian(8), mixture(0.5, 1), mixture(0.5, 8), mixture(1, 8), product()]
    pairs = [(law, law) for law in alike]
    pairs += [(gaussian(8), other) for other in (mixture(0.5, 8), mixture(1, 8), product(), rare())]
    groupings: Sequence[Groups] = ((4,), (8,), (12,), (30,), (25,) * 4, _MANY)
    cells = [(pair, groups) for pair in pairs for groups in groupings]
    rows = []
    for pair, groups in progress(cells, len(cells), "p-values"):
        names = pair[0].name if pair[0] is pair[1] else f"{pair[0].name} and {pair[1].name}"
        stream = _stream(seed, "tails", names, groups)
        found = tail_ratios(pair, groups, repeats, stream, levels)
        rows.append([names, named(groups), *(f"{ratio:.2f}" for ratio in found)])
    return _markdown(["laws", "runs", *(f"at {level:g}" for level in levels)], rows)


def verdicts_table(experiments: int, seed: int) -> str:
    """A row a law and grouping: what is settled that is not so, and what is that is so."""
    laws = [gaussian(1), gaussian(8), gaussian(100), *heavy()]
    cells = [(law, groups) for law in laws for groups in (*GROUPS, _MANY)]
    rows = []
    for law, groups in progress(cells, len(cells), "verdicts"):
        found = settled(law, groups, experiments, _stream(seed, "verdicts", law.name, groups))
        shares = (found.tested, found.equal, found.refuted, found.confirmed)
        rows.append([law.name, named(groups), *map(_percent, shares)])
    some: Sequence[Groups] = ((12,), (30,), (25,) * 4, _MANY)
    beside = [*heavy(), *(scalar_network(True, step) for step in (1, 2))]
    mixed = [(law, groups) for law in beside for groups in some]
    for law, groups in progress(mixed, len(mixed), "verdicts on unlike laws"):
        name = f"{gaussian(8).name}; every second size: {law.name}"
        stream = _stream(seed, "verdicts", name, groups)
        apart = told_apart([gaussian(8), law] * 2, groups, experiments, stream)
        rows.append([name, named(groups), *map(_percent, apart), "", ""])
    sizes = (8, 16, 32, 64)
    steps = [(step, groups) for step in (1, 2) for groups in some]
    for step, groups in progress(steps, len(steps), "verdicts on training"):
        name = f"two layers 1-1-1, t = {step}, b = 8 to 64, Rao–Blackwell"
        networks = [scalar_network(True, step, b) for b in sizes]
        stream = _stream(seed, "verdicts", name, groups)
        tested, *order = in_training(networks, groups, experiments, stream)
        rows.append([name, named(groups), _percent(tested), "", *map(_percent, order)])
    head = ("law", "runs", "tested", "equal: something settled", "1/b: refuted", "1/b: confirmed")
    return _markdown(head, rows)


def unseen_table(repeats: int, seed: int) -> str:
    """A row a grouping and flag: how many intervals that miss for want of rare runs it catches."""
    rows = []
    for groups in progress(unseen.GROUPS, len(unseen.GROUPS), "flags"):
        for one in unseen.flags(groups, repeats, _stream(seed, "unseen", "flags", groups)):
            above = f"{one.threshold:.2f}" if math.isfinite(one.threshold) else ""
            shares = (one.caught, one.reliable, one.holds)
            rows.append([named(groups), one.name, above, *map(_percent, shares)])
    head = ("runs", "flag", "fires above", "misses caught", "relied on", "holds V, if relied on")
    return _markdown(head, rows)


def levels_table(levels: Iterable[Level]) -> str:
    """A row a law and number of runs: how often a true fit is tested, and found lacking."""
    rows = [
        [law, f"{runs:,}", f"{experiments:,}", _percent(tested), _percent(rejected)]
        for law, runs, experiments, tested, rejected in levels
    ]
    return _markdown(("law", "runs", "experiments", "tested", "rejected"), rows)


# By name: what makes a table, and the field of `Sizes` that says how often it repeats.
TABLES: Mapping[str, tuple[Callable[[int, int], str], str]] = {
    "coverage": (coverage_table, "coverage"),
    "unseen": (unseen_table, "coverage"),
    "methods": (methods_table, "methods"),
    "tails": (tails_table, "tails"),
    "verdicts": (verdicts_table, "experiments"),
}


def _stream(seed: int, table: str, law: str, groups: Groups) -> np.random.Generator:
    return np.random.default_rng(seed_sequence(seed, "calibration", table, law, *groups))


def _percent(share: float) -> str:
    return "" if math.isnan(share) else f"{100 * share:.1f}"


def _markdown(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    names = list(head)
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
