"""E10: XLNet under Adam, variance, losses and errors in one family (Figure 5)."""

import numpy as np
import pandas as pd

from pipeline_lib.claims.catalogue import CLAIMS
from pipeline_lib.claims.comparisons import neighbours
from pipeline_lib.claims.epochs import metric_comparisons, ordered, tallies
from pipeline_lib.claims.ordering import decide
from pipeline_lib.claims.p_values import LOG_RATIO
from pipeline_lib.claims.paper_settings import FIGURE_5
from pipeline_lib.claims.setting import Setting
from pipeline_lib.claims.verdict import Finding, untested
from pipeline_lib.estimation.metrics import ERROR, LOSS, TRAINING, VALIDATION
from pipeline_lib.estimation.statistics import ALL, STOCHASTIC

_CURVES = [(split, metric) for split in (TRAINING, VALIDATION) for metric in (LOSS, ERROR)]


def with_reliability(epochs: pd.DataFrame, variance: pd.DataFrame) -> pd.DataFrame:
    """Rows of ``epoch_variance`` for the whole gradient; reliable where all steps are."""
    keys = ["init", "b", "epoch"]
    means, steps = (
        table[
            (table["tensor"] == ALL)
            & (table["quantity"] == STOCHASTIC)
            & (table["estimator"] == "sample")
        ]
        for table in (epochs, variance)
    )
    flags = steps.groupby(keys, observed=True)["reliable"].all().reset_index()
    return means.merge(flags.astype({"epoch": np.int64}), on=keys, how="left")


def decreasing_under_adam(
    epochs: pd.DataFrame,
    variance: pd.DataFrame,
    metrics: pd.DataFrame,
    here: Setting,
    alpha: float = 0.05,
    stated: Setting = FIGURE_5,
    artefact: str | None = None,
) -> Finding:
    """E10 from the ``epoch_variance``, ``variance`` and ``metric_summary`` artefacts of `yelp`.

    Variances averaged over the steps of an epoch, losses and errors after it: one family, log
    ratios for the first and Welch's t tests for the others. ``here.problem`` has ``reviews``, the
    name of the data.
    """
    claim = CLAIMS["E10"]
    variances = neighbours(with_reliability(epochs, variance), series=["init", "epoch"])
    variances = variances.assign(split="gradient", metric="variance", test=LOG_RATIO)
    parts = [part for part in (variances, metric_comparisons(metrics, _CURVES)) if len(part)]
    if not parts:
        return untested(claim, "There are no two batch sizes to compare.", "two batch sizes")
    comparisons = pd.concat(parts, ignore_index=True)
    ordering = decide(comparisons, alpha)
    model = here.problem
    evidence = (
        f"{model['reviews']}, {model['training_examples']:,} training reviews, XLNet of depth "
        f"{model['n_layer']} and width {model['d_model']}, {here.epochs} epochs, {here.runs} runs "
        f"a batch size. From b to the next larger b the {tallies(comparisons, alpha)}."
    )
    return ordered(claim, ordering, evidence, here, stated, artefact)
