"""The claim of order for an experiment of the user's own: is var(g_t) decreasing in b?"""

import pandas as pd

from pipeline_lib.claims.comparisons import shared_steps, whole_gradient
from pipeline_lib.claims.ordering import decide
from pipeline_lib.claims.verdict import Claim, Finding, finding


def decreasing_variance(
    variance: pd.DataFrame, experiment: str, alpha: float = 0.05, artefact: str | None = None
) -> Finding:
    """Whether ``var(g_t | F_0)`` of all layers falls strictly in b at every recorded iteration.

    ``variance`` is the artefact of that name. Two batch sizes are compared at the iterations that
    are recorded at both: of the same number of epochs the larger has fewer. With every example in
    the batch the variance is 0 but for rounding, and what is left is still compared.
    """
    rows = whole_gradient(variance)
    comparisons = shared_steps(rows)
    ordering = decide(comparisons, alpha)
    sizes = ", ".join(map(str, sorted(rows["b"].unique())))
    n_steps = comparisons["step"].nunique() if len(comparisons) else 0
    claim = Claim(
        experiment,
        "own experiment",
        "The variance of the stochastic gradient decreases strictly in b at every iteration.",
        "One-sided tests of neighbouring batch sizes at every recorded iteration that both reach, "
        f"Holm's adjustment for all of them, level {alpha:g}.",
    )
    return finding(
        claim,
        ordering.verdict,
        f"b = {sizes}, {n_steps:,} iterations. {ordering.describe()}",
        exact=False,
        n_comparisons=ordering.n_comparisons,
        p_value=ordering.p_value,
        scale_needed=ordering.scale_needed(),
        artefact=artefact,
    )
