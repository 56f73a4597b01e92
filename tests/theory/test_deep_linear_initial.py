"""t = 0 of linear networks of any depth: against two layers, and many samples."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from pipeline_lib.models.linear_network.deep import DeepLinearReplicas
from pipeline_lib.theory.deep_linear_initial import initial_theory_table, initial_variances
from pipeline_lib.theory.two_layer import initial_variance


def network(layers: list[int]) -> tuple[list[np.ndarray], np.ndarray]:
    rng = np.random.default_rng(len(layers))
    pairs = pairwise(layers)
    weights = [rng.standard_normal((rows, columns)) for columns, rows in pairs]
    return weights, rng.standard_normal((layers[-1], layers[0]))


def test_two_layers_are_those_of_the_paper() -> None:
    (w1, w2), teacher = network([4, 5, 3])
    expected = initial_variance(w1, w2, teacher)
    assert_allclose(initial_variances([w1, w2], teacher), [expected.g1[1], expected.g2[1]])


@pytest.mark.parametrize("layers", [[3, 2], [3, 4, 2, 3], [2, 3, 3, 2, 2]])
def test_any_depth_agrees_with_autograd_over_many_samples(layers: list[int]) -> None:
    weights, teacher = network(layers)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400_000, layers[0], generator=generator, dtype=torch.float64)
    output, parts = x, []
    for weight in weights:  # the gradient of one sample is an outer product
        parts.append(output)
        output = output @ torch.as_tensor(weight).T
    delta = output - x @ torch.as_tensor(teacher).T
    found = []
    for weight, below in zip(reversed(weights), reversed(parts), strict=True):
        mean = delta.T @ below / len(x)
        sizes = delta.square().sum(dim=1) * below.square().sum(dim=1)
        error = float(sizes.std()) / len(x) ** 0.5
        found.append((float(sizes.mean() - mean.square().sum()), error))
        delta = delta @ torch.as_tensor(weight)
    for exact, (value, error) in zip(initial_variances(weights, teacher), found[::-1], strict=True):
        assert abs(value - exact) < 5 * error
        assert error < 0.02 * exact


@pytest.mark.parametrize("layers", [[3, 4, 2, 3], [2, 3, 3, 2, 2]])
def test_the_table_is_what_the_stack_says_of_its_initial_weights(layers: list[int]) -> None:
    weights, teacher = network(layers)
    stack = DeepLinearReplicas([torch.as_tensor(w) for w in weights], torch.as_tensor(teacher), 2)
    table = initial_theory_table(weights, teacher, [1, 7], init=3)
    assert set(table["init"]) == {3}
    assert set(table["step"]) == {0}
    rows = table[table["quantity"] == "stochastic_gradient"].set_index(["tensor", "b"])["variance"]
    for b in (1, 7):
        conditional = {name: float(v[0]) for name, v in stack.conditional_variance(b).items()}
        for name, value in conditional.items():
            assert_allclose(rows[name, b], value, rtol=1e-12)
        assert_allclose(rows["all", b], sum(conditional.values()), rtol=1e-12)
    assert (table[table["quantity"] == "full_gradient"]["variance"] == 0).all()


def test_shapes_that_do_not_fit_are_refused() -> None:
    weights, teacher = network([3, 4, 2, 3])
    with pytest.raises(ValueError, match="do not form a network"):
        initial_variances(weights, teacher.T[:1])
