"""What an experiment in epochs was, against what the paper states of it.

A smaller extent (fewer runs, epochs, initial weights, batch sizes) is less evidence on the same
question: it can refute a claim about all epochs, but not confirm it. Another problem (fewer
training examples, another network) is another question: it can do neither.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline_lib.claims.verdict import Verdict
from pipeline_lib.settings import EpochExperiment

# How a setting is told to a reader; "{}" is its value.
_WORDS = {
    "training_examples": "{} training examples",
    "validation_examples": "{} validation examples",
    "reviews": "reviews from {}",
    "d_model": "width {}",
    "n_layer": "depth {}",
    "n_head": "{} heads",
    "d_inner": "inner width {}",
    "vocabulary": "{} word pieces",
    "tokens": "{} tokens a review",
}
# Of a model, what the paper does not state.
_UNSTATED = ("kind", "dataset", "subset_seed", "dtype")


@dataclass(frozen=True)
class Setting:
    """An experiment in epochs.

    problem: model, data, optimizer and learning rate by name, as plain JSON values.
    """

    problem: Mapping[str, Any]
    batch_sizes: tuple[int, ...]
    initial_weights: int
    runs: int
    epochs: int


_MNIST = {
    "layers": [784, 1024, 512, 10],
    "training_examples": 60_000,
    "validation_examples": 10_000,
    "optimizer": "sgd",
    "learning_rate": 0.003,
}
# The legends of Figures 3b and 4 are lost; 64 and 128 are from Figure 3a, the others our choice.
FIGURE_4 = Setting(_MNIST, (64, 128, 256, 512), 1, 100, 1000)
FIGURE_3A = Setting(_MNIST, (64, 128), 5, 50, 1000)
FIGURE_5 = Setting(
    {
        "reviews": "Yelp Review Polarity",
        "training_examples": 10_000,
        "validation_examples": 1_000,
        "d_model": 384,
        "n_layer": 6,
        "n_head": 12,
        "d_inner": 4096,
        "vocabulary": 31_246,
        "tokens": 128,
        "optimizer": "adamw",
        "learning_rate": 4e-5,
    },
    (32, 64),
    1,
    100,
    20,
)


def setting_of(experiment: EpochExperiment, **data: Any) -> Setting:
    """The setting of a configured experiment; ``data`` says of its data what only the data can."""
    plain = experiment.training()
    optimizer = plain["optimizer"]
    problem = {name: value for name, value in plain["model"].items() if name not in _UNSTATED}
    problem["optimizer"] = optimizer["kind"] if optimizer else "sgd"
    problem["learning_rate"] = plain["learning_rate"]["initial"]
    return Setting(
        problem | data,
        experiment.batch_sizes,
        experiment.initial_weights.count,
        experiment.runs,
        experiment.epochs,
    )


def departures(here: Setting, stated: Setting) -> list[str]:
    """Where the problem is not the stated one: what is stated, and what it is here."""
    found = []
    for name, value in stated.problem.items():
        if here.problem.get(name) != value:
            words = _WORDS.get(name, name.replace("_", " ") + " {}")
            found.append(f"{words.format(_text(value))} (here {_text(here.problem.get(name))})")
    return found


def shortfalls(here: Setting, stated: Setting) -> list[str]:
    """What of the stated extent is lacking."""
    sizes = sorted(set(stated.batch_sizes) - set(here.batch_sizes))
    lacking = [f"b = {', '.join(map(str, sizes))}"] if sizes else []
    for name, words in (
        ("runs", "runs a batch size"),
        ("epochs", "epochs"),
        ("initial_weights", "initial weights"),
    ):
        there, most = getattr(here, name), getattr(stated, name)
        if there < most:
            lacking.append(f"{most:,} {words} (here {there:,})")
    return lacking


def judged(
    verdict: Verdict, here: Setting, stated: Setting, needed: str | None = None
) -> tuple[Verdict, str | None]:
    """The verdict on the paper's claim and what it would take, from the ``verdict`` found here.

    ``needed`` is what would settle an open verdict if the setting were the stated one.
    """
    other, short = departures(here, stated), shortfalls(here, stated)
    listed = "; ".join([*other, *short])
    full = f"the paper's {listed}" if listed else None
    if other:  # another problem speaks neither for the claim nor against it
        return "not tested at this scale", full
    if verdict == "refuted":
        return verdict, None
    if short:
        return ("partly" if verdict == "confirmed" else verdict), full
    return verdict, needed


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "-".join(map(str, value))
    if isinstance(value, int):
        return f"{value:,}"
    return "unknown" if value is None else f"{value}"
