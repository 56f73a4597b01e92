"""The line below figures of an experiment of the user's own."""

from collections.abc import Mapping
from typing import Any

from pipeline_lib.figures.numbers import scale_note
from pipeline_lib.study.model import MEAN


def own_note(params: Any, provenance: Mapping[str, Any]) -> str:
    """Name, runs, length and examples, and what kind of loss it is unless it is a mean.

    ``params`` are those of the figure's rule, with ``runs``, ``length`` and ``made_with``, and
    ``provenance`` is that of the table which is drawn.
    """
    numbers = {
        "runs": params.runs,
        **params.length,
        "training examples": provenance.get("n_rows"),
    }
    scale = scale_note({what: (count, count) for what, count in numbers.items() if count})
    note = f"{params.made_with['experiment']}: {scale}"
    loss = provenance.get("loss", MEAN)
    return note if loss == MEAN else f"{note}\nloss: {loss}"
