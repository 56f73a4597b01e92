"""Numbers as figures, their notes and captions write them, without matplotlib or pandas.

Powers of ten are Unicode superscripts: they stay text in an SVG file and in a caption alike.
"""

from collections.abc import Mapping
from typing import Any

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def power_of_ten(exponent: int) -> str:
    """10 with a superscript: 10⁷, 10⁻⁴."""
    return "10" + str(exponent).translate(_SUPERSCRIPTS)


def number(value: float) -> str:
    """A count exactly, a measured value with three digits: 2,560, 10⁷, 0.05, 4.27 × 10⁹.

    Whole numbers of type int are exact: with commas, or as a power of ten from a million on where
    three digits say all of it. A float takes a power of ten outside [0.001, 10,000).
    """
    mantissa, exponent = f"{value:.2e}".split("e")
    if isinstance(value, int):
        hundredths = round(100 * float(mantissa))
        if abs(value) < 10**6 or hundredths * 10 ** (int(exponent) - 2) != value:
            return f"{value:,}"
    elif value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{float(f'{value:.3g}'):,.10g}".replace("-", "−")
    digits = f"{float(mantissa):g}"
    power = power_of_ten(int(exponent))
    return power if digits == "1" else f"{digits} × {power}"


def percent(share: float) -> str:
    """A share of 1 in per cent, with three digits: 0.05 is 5 %."""
    return f"{number(float(100 * share))} %"


def interval_of(level: float) -> str:
    """An interval by its confidence level, which is never rounded to 100 %: 99.9 % interval."""
    return f"{100 * level:.12g} % interval"


def scale_note(numbers: Mapping[str, tuple[int, int]]) -> str:
    """Numbers of things, such as runs: each here and in the paper, which is named if it differs."""
    parts = []
    for what, (here, paper) in numbers.items():
        in_paper = "" if here == paper else f" (paper: {number(paper)})"
        parts.append(f"{number(here)} {what.removesuffix('s') if here == 1 else what}{in_paper}")
    return ", ".join(parts)


def image_note(scale: Any, runs: str = "runs") -> str:
    """`scale_note` of a study on images; ``scale`` has what `scale_of` gives a rule's params."""
    return scale_note(
        {
            runs: (scale.runs, scale.paper_runs),
            "epochs": (scale.epochs, scale.paper_epochs),
            "training images": (scale.examples, scale.paper_examples),
        }
    )


def sample_note(
    runs: int, paper_runs: int, rows: int | None = None, paper_rows: int | None = None
) -> str:
    """Runs for each b and rows n of the data, here and in the paper; no rows where data are drawn.

    ``paper_rows`` None: the paper's number is not known or the same.
    """
    note = scale_note({"runs": (runs, paper_runs)})
    if rows is None:
        return note
    differs = paper_rows not in (None, rows)
    return f"{note}, n = {number(rows)}" + (
        f" (paper: {number(paper_rows or 0)})" if differs else ""
    )
