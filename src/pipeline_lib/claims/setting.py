"""What an experiment was, against what the paper states of it.

A smaller extent (fewer epochs, initial weights, batch sizes) is less evidence on the same question:
it can refute a claim about all epochs, but not confirm it. Another problem (fewer training
examples, another network) is another question: it can do neither. Where the learning rates depend
on the number of epochs, fewer of them are another problem. The number of runs is part of neither:
with few, comparisons are left open, and that is all.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from pipeline_lib.claims.verdict import Finding, Verdict
from pipeline_lib.study.experiment import EpochExperiment, Experiment
from pipeline_lib.study.optimizers import Sgd

OTHER_PROBLEM = "The setting here is not the paper's, so this does not decide its claim."
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
    "features": "features: {}",
    "rows": "{} rows",
    "schedule": "{} learning rates",
    "learning_rate": "initial or peak learning rate {}",
    "clip_norm": "gradients clipped at {}",
    "eps": "epsilon {}",
    "sampling": "mini-batches drawn {}",
    "schedule_epochs": "learning rates over {} epochs",
    "distortion": "distorted images of {}",
}
# Of a model, what the paper does not state.
_UNSTATED = ("kind", "dataset", "subset_seed", "dtype")


Problem = Mapping[str, Any]
"""Model, data, optimizer and learning rates by name, as plain JSON values."""


@dataclass(frozen=True)
class Setting:
    """An experiment in epochs; its problem is that of `problem_of`."""

    problem: Problem
    batch_sizes: tuple[int, ...]
    initial_weights: int
    runs: int
    epochs: int
    evaluate_every: int | None = 1  # epochs; None if nothing depends on it, or if never
    distorted_every: int | None = None
    recorded_steps: int | Literal["every"] = "every"  # a decade of iterations


def problem_of(experiment: Experiment, **data: Any) -> Problem:
    """The problem of a configured experiment; ``data`` says of its data what only the data can."""
    plain = experiment.training()
    rate = plain["learning_rate"]
    if isinstance(experiment, EpochExperiment) and rate["schedule"] == "warmup_linear":
        data = {"schedule_epochs": experiment.epochs, **data}
    return {
        **{name: value for name, value in plain["model"].items() if name not in _UNSTATED},
        **_updates(experiment),
        "sampling": plain["sampling"],
        "learning_rate": rate["initial"],
        "schedule": rate["schedule"],
        **data,
    }


def _updates(experiment: Experiment) -> dict[str, Any]:
    """How the weights are updated: the optimiser with its arguments, and where it clips."""
    optimizer, clipping = experiment.optimizer, experiment.clipping
    name: str = optimizer.kind
    if isinstance(optimizer, Sgd) and not experiment.is_plain:
        given = [f"{key} {value}" for key, value in optimizer.arguments().items() if value]
        clipped = [] if clipping is None else [f"gradients clipped at {_text(clipping.norm)}"]
        name = f"sgd with {', '.join([*given, *clipped])}"
    norm = None if clipping is None else clipping.norm
    whole = clipping is not None and clipping.of == "whole"
    clip = f"{norm} of the whole" if whole else norm
    return {**optimizer.arguments(), "optimizer": name, "clip_norm": clip}


def setting_of(experiment: EpochExperiment, **data: Any) -> Setting:
    """The setting of a configured experiment; for ``data`` see `problem_of`."""
    return Setting(
        problem_of(experiment, **data),
        experiment.batch_sizes,
        experiment.initial_weights.count,
        experiment.runs,
        experiment.epochs,
        None if experiment.evaluate_every == "never" else experiment.evaluate_every,
        None if experiment.distorted_every == "never" else experiment.distorted_every,
        experiment.recorded_steps,
    )


def departures(here: Problem, stated: Problem) -> list[str]:
    """Where the problem is not the stated one: what is stated, and what it is here."""
    found = []
    for name, value in stated.items():
        if here.get(name) != value:
            words = _WORDS.get(name, name.replace("_", " ") + " {}")
            found.append(f"{words.format(_text(value))} (here {_text(here.get(name))})")
    return found


def shortfalls(here: Setting, stated: Setting) -> list[str]:
    """What of the stated extent is lacking; epochs only where no learning rate depends on them."""
    sizes = sorted(set(stated.batch_sizes) - set(here.batch_sizes))
    lacking = [f"b = {', '.join(map(str, sizes))}"] if sizes else []
    for name, words in (
        ("epochs", "epochs"),
        ("initial_weights", "initial weights"),
    ):
        there, most = getattr(here, name), getattr(stated, name)
        if there < most and f"schedule_{name}" not in stated.problem:
            lacking.append(f"{most:,} {words} (here {there:,})")
    for name, words in (
        ("evaluate_every", "losses"),
        ("distorted_every", "gaps"),
    ):
        there, most = getattr(here, name), getattr(stated, name)
        if most is not None and (there is None or there > most):
            lacking.append(f"{words} every {_times(most)} (here {_times(there)})")
    if _often(here) < _often(stated):
        most, there = stated.recorded_steps, here.recorded_steps
        lacking.append(f"{most} recorded steps a decade (here {there})")
    return lacking


def noted(evidence: str, here: Problem, stated: Problem) -> str:
    """The evidence, with a warning if it is about another problem than the paper's."""
    return f"{evidence} {OTHER_PROBLEM}" if departures(here, stated) else evidence


def instance(
    found: Finding, here: Problem, stated: Problem, short: Sequence[str] = (), whose: str = "paper"
) -> Finding:
    """The finding of a claim about every problem, made on one of them.

    Any problem decides it, and the evidence says if it is not the stated one. ``short`` says which
    of the steps are lacking at which the claim is known to fail, if it does.
    """
    other = departures(here, stated)
    if other:
        told = f"An instance other than the {whose}'s {'; '.join(other)}."
        found = replace(found, evidence=f"{found.evidence} {told}")
    return capped(found, f"the {whose}'s {'; '.join(short)}") if short else found


def on_instance(found: Finding) -> Finding:
    """The finding of a theorem, which says that no other instance than this has been looked at."""
    if not (found.exact and found.verdict == "confirmed"):
        return found
    return replace(found, evidence=f"{found.evidence} It holds on this instance, exactly.")


def capped(found: Finding, needed: str) -> Finding:
    """The finding of less than the claim is about, which confirms it in part at most."""
    if found.verdict != "confirmed":
        return found
    return replace(found, verdict="partly", scale_needed=needed)


def left_open(found: Finding, here: Problem, stated: Problem) -> Finding:
    """The finding, whatever it is, left open if it is of another problem than the stated one."""
    other = departures(here, stated)
    if not other:
        return found
    return replace(
        found,
        verdict="not tested at this scale",
        evidence=noted(found.evidence, here, stated),
        p_value=None,
        scale_needed=f"the paper's {'; '.join(other)}",
    )


def verdict_in_setting(
    verdict: Verdict, here: Setting, stated: Setting, needed: str | None = None
) -> tuple[Verdict, str | None]:
    """The verdict on the paper's claim and what it would take, from the ``verdict`` found here.

    ``needed`` is what would settle an open verdict if the setting were the stated one.
    """
    other, short = departures(here.problem, stated.problem), shortfalls(here, stated)
    listed = "; ".join([*other, *short])
    full = f"the paper's {listed}" if listed else None
    if other:  # another problem speaks neither for the claim nor against it
        return "not tested at this scale", full
    if verdict == "refuted":
        return verdict, None
    if short:
        return ("partly" if verdict == "confirmed" else verdict), full
    return verdict, needed


def _times(epochs: int | None) -> str:
    return "never" if epochs is None else "epoch" if epochs == 1 else f"{epochs:,} epochs"


def _often(setting: Setting) -> float:
    steps = setting.recorded_steps
    return math.inf if steps == "every" else steps


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "-".join(map(str, value))
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:g}"
    return "unknown" if value is None else f"{value}"
