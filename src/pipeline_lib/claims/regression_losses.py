"""H4 and H5: expected losses of linear regression, on held-out rows and after equal epochs."""

from fractions import Fraction

import numpy as np
import pandas as pd

from pipeline_lib.claims.catalogue import CLAIMS
from pipeline_lib.claims.enumeration import SmallRegression, is_nonnegative_definite
from pipeline_lib.claims.ordering import ROUNDING
from pipeline_lib.claims.verdict import Finding, Verdict, finding, from_instances
from pipeline_lib.theory.regression_moments import Optimiser, covariance_coefficients

_OPTIMISERS = {
    "SGD": Optimiser(0, 0),
    "momentum 9/10 with weight decay 1/10": Optimiser(Fraction(9, 10), Fraction(1, 10)),
}


def held_out_loss_falls(
    problem: SmallRegression, losses: pd.DataFrame | None, artefact: str | None = None
) -> Finding:
    """H4: the coefficients of Cov w_t in c_b in fractions, and the ``test_loss`` artefact.

    E L_test − L_test(E w_t) = ½ tr(H_test Cov w_t) for every test set, so nonnegative definite
    coefficients prove the order for that problem; the losses on held-out rows are an instance.
    """
    definite = [
        is_nonnegative_definite(one)
        for optimiser in _OPTIMISERS.values()
        for row in covariance_coefficients(
            problem.x, problem.y, problem.w0, problem.learning_rates, optimiser
        )
        for one in row
    ]
    evidence = (
        f"{sum(definite)} of {len(definite)} coefficients of Cov w_t in c_b have no negative "
        f"eigenvalue ({' and '.join(_OPTIMISERS)}; n = {problem.n}, t up to "
        f"{len(problem.learning_rates)}): on any test set the expected loss falls in b."
    )
    falls = rises = 0
    if losses is not None:
        late = losses[losses["step"] > 0]
        wide = late.pivot(index=["optimiser", "step"], columns="b", values="test_noise").to_numpy()
        apart = np.abs(np.diff(wide, axis=1)) > ROUNDING * np.abs(wide[:, :-1])
        falls = int(((np.diff(wide, axis=1) < 0) & apart).sum())
        rises = int(((np.diff(wide, axis=1) > 0) & apart).sum())
        gap = late.assign(part=late["test_noise"] - late["training_noise"])
        signs = gap.pivot(index=["optimiser", "step"], columns="b", values="part").to_numpy()
        up = int((np.diff(signs, axis=1) > 0).sum())
        evidence += (
            f" On held-out rows of the admission data it falls from b to b + 1 in {falls:,} of "
            f"{wide.shape[0] * (wide.shape[1] - 1):,} cases and rises in {rises:,}; the "
            f"generalization gap, which has no such theorem, rises in {up:,}."
        )
    return finding(
        CLAIMS["H4"],
        from_instances([*definite, rises == 0]),
        evidence,
        exact=True,
        n_comparisons=len(definite) + falls + rises,
        artefact=artefact,
    )


def monotone_after_equal_epochs(losses: pd.DataFrame, artefact: str | None = None) -> Finding:
    """H5 from the ``equal_epochs`` artefact: both schemes in epochs, after the last epoch."""
    last = int(losses["epoch"].max())
    rows = losses[(losses["epoch"] == last) & losses["scheme"].isin(["epochs", "shuffled_once"])]
    kinds: dict[str, list[str]] = {"falls in b": [], "rises in b": [], "does neither": []}
    monotone, shown = [], ""
    for (scheme, rate), curve in rows.groupby(["scheme", "learning_rate"], observed=True):
        values = curve.sort_values("b").set_index("b")["loss"]
        steps = np.diff(values.to_numpy())
        apart = np.abs(steps) > ROUNDING * values.to_numpy()[1:]
        up, down = bool((apart & (steps > 0)).any()), bool((apart & (steps < 0)).any())
        monotone.append(not (up and down))
        kind = "does neither" if up and down else "rises in b" if up else "falls in b"
        kinds[kind].append(f"{scheme} at α = {rate:g}")
        if up and down and not shown:
            listed = ", ".join(f"{loss:.4g} at b = {b}" for b, loss in values.items())
            shown = f" For {scheme} at α = {rate:g} it is {listed}."
    told = "; ".join(f"{kind} for {', '.join(which)}" for kind, which in kinds.items() if which)
    verdict: Verdict = from_instances(monotone)
    evidence = f"After {last} epochs the exact expected loss {told}.{shown}"
    return finding(
        CLAIMS["H5"],
        verdict,
        evidence,
        exact=True,
        n_comparisons=len(monotone),
        artefact=artefact,
    )
