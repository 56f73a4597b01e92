"""E8: whether the order of the validation loss ends where the network over-fits (Figure 4a)."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline_lib.claims.catalogue import CLAIMS
from pipeline_lib.claims.epochs import counts, metric_comparisons
from pipeline_lib.claims.ordering import Ordering, decide, signs
from pipeline_lib.claims.p_values import WELCH
from pipeline_lib.claims.paper_settings import FIGURE_4
from pipeline_lib.claims.setting import Setting, noted, verdict_in_setting
from pipeline_lib.claims.verdict import SETTLED, Finding, Verdict, finding, untested
from pipeline_lib.estimation.metrics import LOSS, TRAINING, VALIDATION

_CURVE = ["init", "b"]


def overfitted(metrics: pd.DataFrame, alpha: float = 0.05) -> pd.DataFrame:
    """The (init, b, epoch) at which the mean validation loss has risen and that of training fallen.

    Both since the epoch of the smallest mean validation loss. The rise is significant by Welch's t
    test, Holm-adjusted over all later epochs and batch sizes, at alpha divided by the number of
    epochs, since the smallest mean is chosen among so many. The two means are of the same runs;
    losses of a run that move together make the test err on the safe side.
    """
    losses = metrics[(metrics["metric"] == LOSS)].astype({"split": str})
    training, validation = (
        losses[losses["split"] == name].set_index([*_CURVE, "epoch"])
        for name in (TRAINING, VALIDATION)
    )
    validation = validation.join(training["mean"].rename("training"), how="inner").reset_index()
    validation = validation.dropna(subset="mean")
    lowest = validation.loc[validation.groupby(_CURVE)["mean"].idxmin()]
    later = validation.merge(lowest, on=_CURVE, suffixes=("_small", "_large"))
    later = later[later["epoch_small"] > later["epoch_large"]]
    tests = later.rename(columns={f"mean_{end}": f"estimate_{end}" for end in ("small", "large")})
    tests = tests.assign(test=WELCH)
    for end in ("small", "large"):
        tests = tests.assign(**{f"exact_{end}": np.nan, f"reliable_{end}": True})
        tests[f"dof_{end}"] = tests[f"n_runs_{end}"]
    risen = signs(tests, alpha / max(validation["epoch"].nunique(), 1)) > 0
    over = later[risen & (later["training_small"] < later["training_large"]).to_numpy()]
    return over.rename(columns={"epoch_small": "epoch"})[[*_CURVE, "epoch"]].reset_index(drop=True)


def validation_loss_stops(
    metrics: pd.DataFrame,
    here: Setting,
    alpha: float = 0.05,
    stated: Setting = FIGURE_4,
    artefact: str | None = None,
) -> Finding:
    """E8 from the ``metric_summary`` artefact of `mnist`.

    Neighbouring batch sizes are compared where both over-fit, and where neither does, each as a
    family at half of alpha: either can refute. Confirmed if some comparison of the first goes
    against the order and all of the second keep it; refuted if all of the first keep it, and if one
    of the second goes against the order while none of the first does; partly if only one of the two
    halves holds.
    """
    over = overfitted(metrics, alpha)
    comparisons = metric_comparisons(metrics, [(VALIDATION, LOSS)])
    if comparisons.empty:
        return untested(CLAIMS["E8"], "There are no two means to compare.", "two batch sizes")
    small, large = (_holds(comparisons, f"b_{end}", over) for end in ("small", "large"))
    both, neither = comparisons[small & large], comparisons[~small & ~large]
    half = alpha / 2
    during, before = decide(both, half), decide(neither, half)
    found, p_value = _of_halves(before, during)
    more = during.scale_needed() if during.n_comparisons else None
    verdict, needed = verdict_in_setting(found, here, stated, more)
    if during.n_comparisons:
        evidence = (
            "Where neighbouring batch sizes both over-fit, the first time after epoch "
            f"{both['epoch'].min():,}, the validation loss {counts(both, half)}"
        )
    else:
        needed = "; ".join(text for text in ("training that over-fits", needed) if text)
        evidence = (
            "Over-fitting, a validation loss significantly above its minimum with a training loss "
            f"still lower than there, is seen at {len(over)} of {_points(metrics)} points (a batch "
            "size at an epoch), never with two neighbouring batch sizes at the same epoch"
        )
    if before.n_comparisons:
        evidence += (
            "; where neither does, from b to the next larger b the validation loss "
            f"{counts(neither, half)}"
        )
    return finding(
        CLAIMS["E8"],
        verdict,
        noted(f"{evidence}.", here.problem, stated.problem),
        exact=False,
        n_comparisons=during.n_comparisons + before.n_comparisons,
        p_value=p_value if verdict in SETTLED else None,
        scale_needed=None if verdict in ("confirmed", "refuted") else needed,
        artefact=artefact,
    )


def _of_halves(before: Ordering, during: Ordering) -> tuple[Verdict, float | None]:
    """The verdict on both halves of the claim, and the p-value that it rests on, for both."""
    verdict, p_value = _on_halves(before, during)
    return verdict, None if p_value is None else min(1.0, 2 * p_value)


def _on_halves(before: Ordering, during: Ordering) -> tuple[Verdict, float | None]:
    if during.n_against:
        if before.verdict != "confirmed":
            return "partly", during.p_against
        # None of exact values alone, of which there are none here.
        assert before.p_for is not None
        assert during.p_against is not None
        return "confirmed", max(before.p_for, during.p_against)
    if before.n_against:
        return "refuted", before.p_against
    if during.verdict == "confirmed":
        return "refuted", during.p_for
    return "not tested at this scale", None


def _holds(comparisons: pd.DataFrame, size: str, over: pd.DataFrame) -> NDArray[np.bool_]:
    if comparisons.empty:
        return np.zeros(0, np.bool_)
    keys = pd.MultiIndex.from_frame(comparisons[["init", size, "epoch"]])
    return np.asarray(keys.isin(pd.MultiIndex.from_frame(over)))


def _points(metrics: pd.DataFrame) -> int:
    return len(metrics[[*_CURVE, "epoch"]].drop_duplicates())
