"""Tables of linear networks: the counter-example exactly and by simulation, degrees, t = 2."""

from fractions import Fraction

import numpy as np
import pytest

from pipeline_lib.artifacts.files import write_table
from pipeline_lib.estimation.statistics import FULL, STOCHASTIC
from pipeline_lib.theory.bartlett import second_step_variance
from pipeline_lib.theory.batch_polynomial import value_at
from pipeline_lib.theory.counterexample import counterexample_table, simulate_first_step
from pipeline_lib.theory.matrix_network import layer_variances
from pipeline_lib.theory.network_tables import network_degrees_table, second_step_table
from pipeline_lib.theory.scalar_depth import DeepScalarNetwork
from pipeline_lib.theory.scalar_network import ScalarNetwork, variance_at_step
from pipeline_lib.theory.studied_networks import (
    COUNTEREXAMPLE,
    COUNTEREXAMPLE_RATE,
    random_network,
    solve_studied,
    solved_matrix,
    solved_scalar,
)


def test_the_variance_at_b_1_by_hand():
    """x xᵀ J x xᵀ = 0, so at b = 1 the weights after a step commute with x xᵀ up to J alone.

    With x = r (cos φ, sin φ) the gradient's moments are those of polynomials in r² ~ 2 Exp(1):
    integrated here over φ and r by quadrature, with no use of the library.
    """
    nodes, weights = np.polynomial.laguerre.laggauss(8)
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    j = np.array([[0.0, -1.0], [1.0, 0.0]])
    gap = 10 * j
    mean, square, own = np.zeros((2, 2)), 0.0, 0.0
    for node, weight in zip(nodes, weights, strict=True):
        for angle in angles:
            x = np.sqrt(2 * node) * np.array([np.cos(angle), np.sin(angle)])
            s = np.outer(x, x)
            w1, w2 = np.eye(2) - gap @ s, np.eye(2) - gap @ s
            after = w2 @ w1 - (np.eye(2) - gap)
            gradient = w2.T @ after
            p = weight / len(angles)
            mean += p * gradient
            square += p * np.sum(gradient**2)
            own += p * 3 * np.sum(gradient**2)
    exact = layer_variances(COUNTEREXAMPLE, COUNTEREXAMPLE_RATE, 1)[0]
    assert float(value_at(exact.stochastic, 1)) == pytest.approx(own + square - np.sum(mean**2))


def test_estimates_agree_with_the_exact_values_where_the_tails_are_light():
    exact = layer_variances(COUNTEREXAMPLE, COUNTEREXAMPLE_RATE, 1)
    b, runs = 64, 40_000
    for (quantity, tensor), one in simulate_first_step(b, runs, seed=3).items():
        layer = exact[int(tensor[1]) - 1]
        polynomial = layer.stochastic if quantity == STOCHASTIC else layer.population
        error = np.sqrt(one.m2 / (runs * (runs - 1)))
        assert abs(one.mean - float(value_at(polynomial, b))) < 4 * error


def test_the_counterexample_table():
    table = counterexample_table([1, 2, 3], [2], 1000, 0, 0.95)
    assert len(table) == 4 * 3
    assert table["variance"].notna().sum() == 4
    rising = table[table["b"] == 2]["exact"].to_numpy() > table[table["b"] == 1]["exact"].to_numpy()
    assert rising.all()
    chosen = table[
        (table["b"] == 2) & (table["quantity"] == STOCHASTIC) & (table["tensor"] == "W1")
    ]
    truth = value_at(layer_variances(COUNTEREXAMPLE, 1, 1)[0].stochastic, 2)
    assert chosen["exact"].iloc[0] == float(truth)


def test_conditional_variances_of_the_counterexample_are_independent():
    """Their part of the spread has the divisor n (n - 1), that of the deviations n (dof - 1)."""
    runs = 5
    table = counterexample_table([2], [2], runs, 0, 0.95).set_index(["quantity", "tensor"])
    for key, one in simulate_first_step(2, runs, 0).items():
        assert (one.conditional_m2 > 0) == (key[0] == STOCHASTIC)
        square = (one.m2 - one.conditional_m2) / (runs * 3) + one.conditional_m2 / (runs * 4)
        expected = np.sqrt(max(square, one.m2 / (runs * 4)))
        assert table.loc[key, "std_error"] == pytest.approx(expected, rel=1e-12)


def test_degrees_and_b_0_of_several_networks():
    solved = [
        *solved_matrix("counter-example", COUNTEREXAMPLE, 1),
        *solved_scalar(
            "deep", DeepScalarNetwork((Fraction(1, 2), 2, Fraction(2, 3)), 1), Fraction(1, 5), 1
        ),
    ]
    table = network_degrees_table(solved)
    assert (table["degree"] <= table["bound"]).all()
    at_start = table[(table["step"] == 0) & (table["quantity"] == FULL)]
    assert at_start["decreasing_from_integer"].isna().all()
    rows = table[(table["network"] == "counter-example") & (table["step"] == 1)]
    assert (rows["decreasing_from_integer"] == 2).all()
    assert (rows["decreasing_from_real_low"] > 1).all()
    deep = table[(table["network"] == "deep") & (table["step"] == 1)]
    assert (deep["degree"] == deep["bound"]).all()
    assert deep["depth"].unique().tolist() == [3]


def test_the_second_step_table_joins_three_engines():
    network = random_network((2, 2, 1), np.random.default_rng(0), 4)
    table = second_step_table({"small": (network, Fraction(1, 5))}, [2])
    assert len(table) == 3 * 4
    rows = table.set_index(["step", "quantity", "tensor"])["variance"]
    first = layer_variances(network, Fraction(1, 5), 1)[1]
    assert rows[1, STOCHASTIC, "W2"] == pytest.approx(
        float(value_at(first.stochastic, 2)), rel=1e-9
    )
    assert rows[0, FULL, "W1"] == 0
    arrays = [
        np.array([[float(v) for v in row] for row in m])
        for m in (*network.weights, network.teacher)
    ]
    last = second_step_variance((arrays[0], arrays[1]), arrays[2], (0.2, 0.2), 2)
    assert rows[2, FULL, "W1"] == last.population_g1


def test_what_the_study_solves(tmp_path):
    table = network_degrees_table(solve_studied(seed=0, max_step=1))
    write_table(tmp_path / "one.parquet", table, "network_degrees")
    assert (table["degree"] <= table["bound"]).all()
    assert set(table["depth"]) == {1, 2, 3, 4, 5}
    two = variance_at_step(ScalarNetwork(Fraction(3, 2), Fraction(-1, 2), 1), [Fraction(1, 5)], 1)
    rows = table[(table["network"] == "scalar, 2 layers") & (table["step"] == 1)]
    assert rows["degree"].max() == two.g1.degree()
