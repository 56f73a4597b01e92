"""E2, E3 and E11: how the variance depends on the batch size, beyond its order (Figure 1b)."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline_lib.claims.catalogue import CLAIMS
from pipeline_lib.claims.extent import swept_batch_sizes
from pipeline_lib.claims.lack_of_fit import ALPHA, lack_of_fit, obstacle
from pipeline_lib.claims.verdict import Finding, Verdict, finding, from_parts, untested
from pipeline_lib.estimation.statistics import ALL, FULL, STOCHASTIC

Floats = NDArray[np.float64]

DEGREE = 6  # of Figure 1b


def degree_six_fits(
    fits: pd.DataFrame,
    curves: pd.DataFrame,
    theory: pd.DataFrame,
    variance: pd.DataFrame,
    tolerance: float = 0.1,
    artefact: str | None = None,
) -> Finding:
    """E2 from the ``fits``, ``fitted_curves``, ``theory`` and ``variance`` of `admission_sweep`.

    The fit is the paper's: plain estimates, powers of 1/b, with a constant. The four parts: the fit
    shows no lack of fit at any step and is within ``tolerance`` of the exact variance, relatively,
    at every whole b in its range; and over that range and the fitted steps the exact variance falls
    in b, falls in t, and falls by less as b grows. Another degree, or as few batch sizes with an
    error as the fit has coefficients, tests nothing; nor do estimates of which the test of a lack
    of fit does not keep its level (`lack_of_fit.obstacle`).
    """
    fits, curves = _paper_fit(fits), _paper_fit(curves)
    lines = fits.drop_duplicates(["init", "step"])
    degrees = sorted(lines["degree"].unique())
    if degrees != [DEGREE]:
        told = ", ".join(map(str, degrees)) or "none"
        return untested(CLAIMS["E2"], f"The degree of the fit is {told}.", f"degree {DEGREE}")
    if (lines["dof"] <= 0).any():
        return untested(
            CLAIMS["E2"],
            "The fit has as many coefficients as batch sizes, and passes through every point.",
            f"at least {DEGREE + 2} batch sizes below n",
        )
    hindered = obstacle(_fitted(variance, curves))
    if hindered is not None:
        return untested(CLAIMS["E2"], *hindered)
    lack = lack_of_fit(lines["chi_squared"], lines["dof"])
    steps = sorted(lines["step"].unique())
    low, high = curves["b"].min(), curves["b"].max()
    rows = theory[
        (theory["quantity"] == STOCHASTIC)
        & (theory["tensor"] == ALL)
        & theory["step"].isin(steps)
        & theory["b"].between(low, high)
    ]
    exact = rows.pivot(index=["init", "step"], columns="b", values="variance").sort_index()
    in_b = -np.diff(exact.to_numpy(), axis=1)
    in_t = np.concatenate(
        [-np.diff(one.to_numpy(), axis=0) for _, one in exact.groupby(level="init")]
    )
    slower = -np.diff(in_b, axis=1)
    error = float(lines["max_rel_error_vs_exact"].max())
    adequate = bool((lack >= ALPHA).all())
    parts = [
        adequate and error <= tolerance,
        *(bool((d > 0).all()) for d in (in_b, in_t, slower)),
    ]
    rising = sum(
        int((np.diff(one.sort_values("b")["fitted"]) > 0).sum())
        for _, one in curves.groupby(["init", "step"])
    )
    evidence = (
        f"The smallest adjusted p of a lack of fit is {lack.min():.2g}, of {len(lack)} steps. The "
        f"fit is off the exact variance by up to {error:.2g} times its value, and rises with b "
        f"between {rising:,} of {len(curves) - len(lines):,} neighbouring points. The exact "
        f"variance falls in b in {_share(in_b)} cases, in t in {_share(in_t)}, and by less as b "
        f"grows in {_share(slower)}."
    )
    count = len(lack) + in_b.size + in_t.size + slower.size
    return finding(
        CLAIMS["E2"],
        from_parts(parts),
        evidence,
        exact=False,
        n_comparisons=count,
        p_value=float(lack.min()),
        scale_needed="more runs a batch size" if adequate and error > tolerance else None,
        artefact=artefact,
    )


def count_of_batch_sizes(stated: int = 21, low: int = 2, high: int = 500) -> Finding:
    """E3: the number of batch sizes of Figure 1b, from the rule that defines them."""
    sizes = swept_batch_sizes(low, high)
    verdict: Verdict = "confirmed" if len(sizes) == stated else "refuted"
    evidence = (
        f"There are {len(sizes)} in [{low}, {high}], none counted twice: "
        f"{', '.join(map(str, sizes))}. From 1 there would be {len(swept_batch_sizes(1, high))}, "
        f"up to 512 {len(swept_batch_sizes(low, 512))}."
    )
    return finding(CLAIMS["E3"], verdict, evidence, exact=True, n_comparisons=1)


def proportional_to_full(
    theory: pd.DataFrame, n: int, tolerance: float = 1e-6, artefact: str | None = None
) -> Finding:
    """E11: the exact ratio var(g_t) b / (n² var(∇L(w_t))) over b < n at every t ≥ 1.

    Confirmed if it is one constant (to ``tolerance``, relatively), partly if it is one at each t.
    """
    rows = theory[(theory["tensor"] == ALL) & (theory["step"] > 0) & (theory["b"] < n)]
    if rows.empty:
        return untested(CLAIMS["E11"], "There is no step after the first.", "2 iterations")
    wide = rows.pivot(index=["init", "step", "b"], columns="quantity", values="variance")
    b = wide.index.get_level_values("b").to_numpy(np.float64)
    ratio = wide[STOCHASTIC] * b / (n**2 * wide[FULL])
    by_step = ratio.groupby(level=["init", "step"])
    spread = by_step.max() / by_step.min()
    unscaled = (ratio / b).groupby(level=["init", "step"])
    plain = float((unscaled.max() / unscaled.min()).max())
    overall = float(ratio.max() / ratio.min())
    parts = [overall <= 1 + tolerance, bool((spread <= 1 + tolerance).all())]
    nearest = int(spread.index.get_level_values("step")[int(spread.to_numpy().argmin())])
    evidence = (
        f"The ratio ranges from {ratio.min():.3g} to {ratio.max():.3g} over {len(spread):,} steps "
        f"and {rows['b'].nunique()} batch sizes. At fixed t the largest value over b is "
        f"{spread.min():.3g} (t = {nearest}) to {spread.max():.3g} times the smallest; for "
        f"var(g_t)/var(∇L(w_t)), without the factor b, at most {plain:.3g} times."
    )
    return finding(
        CLAIMS["E11"],
        from_parts(parts),
        evidence,
        exact=True,
        n_comparisons=len(ratio),
        artefact=artefact,
    )


def _paper_fit(table: pd.DataFrame) -> pd.DataFrame:
    return table[
        (table["estimator"] == "sample") & (table["basis"] == "inverse_b") & table["constant"]
    ]


def _fitted(variance: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``variance`` that the fits are made from, and their leverage on these."""
    rows = variance[
        (variance["quantity"] == STOCHASTIC)
        & (variance["tensor"] == ALL)
        & (variance["estimator"] == "sample")
        & (variance["std_error"] != 0)  # known exactly, or without an error
    ]
    key = ["init", "step", "b"]
    fitted = curves[[*key, "std_error"]].rename(columns={"std_error": "fitted_error"})
    rows = rows.astype({"b": np.float64}).merge(fitted, on=key)
    return rows.assign(leverage=(rows["fitted_error"] / rows["std_error"]) ** 2)


def _share(differences: Floats) -> str:
    return f"{int((differences > 0).sum()):,} of {differences.size:,}"
