"""E1 to E4, E11 and E12 on small tables made by the library, and on planted ones."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from pipeline_lib.claims.batch_dependence import (
    count_of_batch_sizes,
    degree_six_fits,
    proportional_to_full,
)
from pipeline_lib.claims.experiments import (
    Figure,
    decreasing_in_two_layers,
    decreasing_on_admissions,
    stated_p_values,
)
from pipeline_lib.claims.extent import Extent, swept_batch_sizes
from pipeline_lib.claims.lack_of_fit import least_runs
from pipeline_lib.estimation.aggregation import variance_table
from pipeline_lib.fits.tables import fit_tables
from pipeline_lib.models.linear_regression.block import regression_block
from pipeline_lib.seeding import seed_sequence
from pipeline_lib.theory.linear_regression import exact_moments
from pipeline_lib.theory.tables import theory_table
from pipeline_lib.training.steps import StepPlan

N, RUNS, STEPS = 60, 200, 10
SIZES = (2, 4, 8, 12, 16, 24, 32, 48)
PROBLEM = {"rows": N}
EXTENT = Extent(PROBLEM, SIZES, STEPS, RUNS)


@pytest.fixture(scope="module")
def regression():
    """A small regression: `variance` of 200 runs at eight batch sizes, `theory` at all."""
    rng = np.random.default_rng(11)
    x = np.column_stack([np.ones(N), rng.standard_normal((N, 2))])
    y, w = rng.standard_normal(N), rng.standard_normal(3)
    rates = 0.3 / (1 + np.arange(STEPS))
    plans = {b: StepPlan(rates, b, RUNS, seed_sequence(1, "claims", b)) for b in SIZES}
    blocks = {(0, b): [regression_block(x, y, w, plan).statistics] for b, plan in plans.items()}
    theory = theory_table(exact_moments(x, y, w, rates, np.arange(1, N + 1)), 0)
    return variance_table(blocks, 0.95), theory


def test_e1_is_exact_where_theory_is_given(regression):
    variance, theory = regression
    found = decreasing_on_admissions(variance, theory, extent=EXTENT, artefact="v.parquet")
    assert (found.verdict, found.exact, found.p_value) == ("confirmed", True, None)
    assert found.n_comparisons == (len(SIZES) - 1) * (STEPS + STEPS - 1)
    assert "and 0 against" in found.evidence
    assert found.artefact == "v.parquet"


def test_e1_at_a_smaller_extent_is_only_partly_shown(regression):
    found = decreasing_on_admissions(*regression, extent=Extent(PROBLEM, (2, 64), 2000, 1000))
    assert found.verdict == "partly"
    assert found.scale_needed == "b = 64 and 2,000 steps (here 10)"  # exact values need no runs


def test_e1_with_planted_violations(regression):
    variance, theory = regression
    planted = theory.copy()
    at = (planted["b"] == 8) & (planted["step"] == 5)
    planted.loc[at, "variance"] *= 4
    assert decreasing_on_admissions(variance, planted, extent=EXTENT).verdict == "refuted"
    # exact values that fall, with runs that rise: somebody is wrong
    swapped = variance.replace({"b": {2: 48, 48: 2}})
    found = decreasing_on_admissions(swapped, theory, extent=EXTENT)
    assert found.verdict == "partly"
    assert "disagree" in found.scale_needed


def layers(variance):
    return pd.concat([variance.assign(tensor=name) for name in ("W1", "W2")], ignore_index=True)


def test_e4_by_tests_alone(regression):
    variance, _ = regression
    rows = layers(variance[variance["b"].isin([2, 8, 32])])
    extent = Extent(PROBLEM, (2, 8, 32), STEPS, RUNS)
    found = decreasing_in_two_layers(rows, None, extent=extent)
    assert (found.verdict, found.exact) == ("confirmed", False)
    assert found.p_value < 0.05
    assert "as in the figure: confirmed" in found.evidence

    planted = rows.replace({"b": {2: 8, 8: 2}})
    assert decreasing_in_two_layers(planted, None, extent=extent).verdict == "refuted"

    heavy = rows.assign(reliable=rows["b"] > 2)
    found = decreasing_in_two_layers(heavy, None, extent=extent)
    assert found.verdict == "partly"
    assert found.scale_needed == "runs that see the tail of the gradients"
    # of fewer runs than the paper's, what is settled is settled
    more = dataclasses.replace(extent, runs=1000)
    found = decreasing_in_two_layers(rows, None, extent=more)
    assert (found.verdict, found.scale_needed) == ("confirmed", None)
    longer = dataclasses.replace(extent, steps=1000)
    found = decreasing_in_two_layers(rows, None, extent=longer)
    assert (found.verdict, found.scale_needed) == ("partly", "1,000 steps (here 10)")
    assert decreasing_in_two_layers(planted, None, extent=longer).verdict == "refuted"


@pytest.fixture(scope="module")
def fits(regression):
    """Fits to the runs, said to be of as many as the test of a lack of fit needs."""
    variance, theory = regression
    error = variance["std_error"] * np.sqrt(RUNS / 10_000)
    many = variance.assign(n_runs=10_000, dof=9_999, std_error=error, reliable=True)
    return (*fit_tables(many, theory, N, [3, 6, 9], 6), theory, many)


def test_e2_is_not_tested_of_fewer_runs_than_the_test_needs(regression, fits):
    table, curves, theory, many = fits
    variance, _ = regression
    least = least_runs()
    assert least is not None
    assert least > RUNS
    good = table.assign(max_rel_error_vs_exact=0.01, chi_squared=1.0)
    for chi_squared in (1.0, 1e3):
        found = degree_six_fits(good.assign(chi_squared=chi_squared), curves, theory, variance)
        assert (found.verdict, found.p_value) == ("not tested at this scale", None)
        assert f"At {RUNS} runs a batch size the test of a lack of fit rejects" in found.evidence
        assert found.scale_needed == f"{least:,} runs a batch size (here {RUNS})"
    # of enough runs, but with one estimate that is not relied on, or that scatters
    b, step = many["b"] == 24, many["step"] == 6
    flagged = many.assign(reliable=~(b & step))
    wide = many.assign(std_error=many["std_error"].mask(b & step, many["variance"] / 40))
    for rough in (flagged, wide):
        found = degree_six_fits(good, curves, theory, rough)
        assert (found.verdict, found.p_value) == ("not tested at this scale", None)
        assert "1 are flagged, or scatter and" in found.evidence
    # at other steps and of the other estimator nothing is fitted
    beside = many.assign(reliable=many["step"].isin([3, 6, 9]) & (many["estimator"] == "sample"))
    assert degree_six_fits(good, curves, theory, beside).verdict == "confirmed"


def test_e2_needs_an_adequate_and_an_accurate_fit(fits):
    table, curves, theory, variance = fits
    accurate = table.assign(max_rel_error_vs_exact=0.01, chi_squared=1.0)
    found = degree_six_fits(accurate, curves, theory, variance)
    assert found.verdict == "confirmed"
    n_sizes = 48 - 2 + 1
    assert found.n_comparisons == 3 + 3 * (n_sizes - 1) + 2 * n_sizes + 3 * (n_sizes - 2)
    inaccurate = accurate.assign(max_rel_error_vs_exact=0.5)
    rough = degree_six_fits(inaccurate, curves, theory, variance)
    assert (rough.verdict, rough.scale_needed) == ("partly", "more runs a batch size")
    lacking = degree_six_fits(accurate.assign(chi_squared=1e3), curves, theory, variance)
    assert (lacking.verdict, lacking.scale_needed) == ("partly", None)
    assert lacking.p_value < 1e-6


def test_e2_is_of_degree_six_and_of_more_points_than_coefficients(regression, fits):
    variance, theory = regression
    table, curves, _, _ = fits
    of_two = fit_tables(variance, theory, N, [3, 6, 9], 2)
    other = degree_six_fits(*of_two, theory, variance)
    assert (other.verdict, other.n_comparisons) == ("not tested at this scale", 0)
    assert other.scale_needed == "degree 6"
    through = degree_six_fits(table.assign(dof=0, chi_squared=0.0), curves, theory, variance)
    assert through.scale_needed == "at least 8 batch sizes below n"


def test_e2_is_refuted_where_no_part_holds(fits):
    table, curves, theory, variance = fits
    bad = table.assign(chi_squared=1e3)
    b, step = theory["b"].astype(float), theory["step"]
    # rising in b and in t; convex in b, then concave
    planted = theory.assign(variance=10.0 * step + b**2)
    assert degree_six_fits(bad, curves, planted, variance).verdict == "partly"
    planted = theory.assign(variance=10.0 * step + 100 * np.sqrt(b))
    found = degree_six_fits(bad, curves, planted, variance)
    assert found.verdict == "refuted"
    assert "in b in 0 of" in found.evidence


def test_e3_counts_twenty_sizes():
    sizes = swept_batch_sizes()
    by_hand = {2**k for k in range(1, 9)} | {40 * k for k in range(1, 13)}
    assert sizes == sorted(by_hand)
    assert len(sizes) == 20
    assert count_of_batch_sizes().verdict == "refuted"
    assert count_of_batch_sizes(stated=20).verdict == "confirmed"
    assert count_of_batch_sizes(high=512).verdict == "confirmed"


def test_e11_on_exact_values_and_on_planted_ratios(regression):
    _, theory = regression
    assert proportional_to_full(theory[theory["step"] == 0], N).scale_needed == "2 iterations"
    found = proportional_to_full(theory, N)
    assert (found.verdict, found.exact) == ("refuted", True)
    assert found.n_comparisons == (STEPS - 1) * (N - 1)
    keys = ["init", "b", "step"]
    wide = theory.pivot(index=keys, columns="quantity", values="variance").reset_index()
    for scale, verdict in ((1.0, "confirmed"), (1.0 + wide["step"], "partly")):
        planted = wide.assign(
            stochastic_gradient=scale * N**2 / wide["b"] * wide["full_gradient"]
        ).melt(id_vars=keys, var_name="quantity", value_name="variance")
        assert proportional_to_full(planted.assign(tensor="all"), N).verdict == verdict


def test_e12_looks_at_the_stated_number_of_runs(regression):
    variance, _ = regression
    clear = variance[variance["b"].isin([2, 8, 32])]
    stated = Extent(PROBLEM, (2, 8, 32), STEPS, RUNS)
    figure = Figure(clear, PROBLEM, stated)
    found = stated_p_values({"Figure 1a": figure})
    assert found.verdict == "confirmed"
    assert found.n_comparisons == 2 * (2 * STEPS - 1)
    assert 0 <= found.p_value < 0.05
    flat = variance.assign(variance=1.0)
    none = Figure(flat, PROBLEM, EXTENT)
    assert stated_p_values({"x": none}).verdict == "refuted"
    assert stated_p_values({"Figure 1a": figure, "x": none}).verdict == "partly"
    # sizes and steps that the figure does not have change nothing
    beside = ~variance["b"].isin([2, 8, 32])
    wide = variance.assign(variance=variance["variance"].mask(beside, 1.0))
    late = dataclasses.replace(stated, steps=STEPS - 2)
    assert stated_p_values({"x": Figure(wide, PROBLEM, stated)}).n_comparisons == 38
    assert stated_p_values({"x": Figure(wide, PROBLEM, late)}).n_comparisons == 2 * 15
    # of another number of runs, or of another problem, a figure is not judged
    for lacking, needed in (
        (dataclasses.replace(stated, runs=1000), "1,000 runs a batch size (here 200)"),
        (dataclasses.replace(stated, runs=40), "40 runs a batch size (here 200)"),
        (dataclasses.replace(stated, problem={"rows": 500}), "500 rows (here 60)"),
    ):
        waiting = stated_p_values({"Figure 2": Figure(clear, PROBLEM, lacking)})
        assert (waiting.verdict, waiting.p_value) == ("not tested at this scale", None)
        assert waiting.scale_needed == f"{needed} for Figure 2"
    # a fragment of its sizes or steps can refute, not confirm
    for lacking, needed in (
        (dataclasses.replace(stated, batch_sizes=(2, 8, 32, 64)), "b = 64"),
        (dataclasses.replace(stated, steps=40), "40 steps (here 10)"),
    ):
        part = stated_p_values({"Figure 2": Figure(clear, PROBLEM, lacking)})
        assert (part.verdict, part.scale_needed) == ("partly", f"{needed} for Figure 2")
        refuted = stated_p_values({"Figure 2": Figure(flat, PROBLEM, lacking)})
        assert refuted.verdict == "refuted"
    one_short = clear[~((clear["b"] == 8) & (clear["step"] == STEPS - 1))]
    short = stated_p_values({"Figure 2": Figure(one_short, PROBLEM, stated)})
    assert short.scale_needed == "10 steps (here 9) for Figure 2"
    # without two of its sizes there is nothing to compare
    for sizes in ((2, 64), (64, 128)):
        lacking = dataclasses.replace(stated, batch_sizes=sizes)
        found = stated_p_values({"Figure 2": Figure(clear, PROBLEM, lacking)})
        assert (found.verdict, found.n_comparisons) == ("not tested at this scale", 0)
