"""Linear networks of any depth against autograd and against the two-layer network."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy import stats
from torch import Tensor

from pipeline_lib.estimation.inference import sidak_level, variance_interval
from pipeline_lib.estimation.statistics import ALL, FULL, STOCHASTIC
from pipeline_lib.models.linear_network.deep import DeepLinearReplicas
from pipeline_lib.models.linear_network.two_layer import TwoLayerReplicas
from pipeline_lib.sampling.gaussian import GaussianSampler, Inputs, SecondMoment, second_moment
from pipeline_lib.training.loop import Recording, train
from pipeline_lib.training.replica_moments import gradient_moments

DEPTHS = {2: [4, 9, 3], 3: [4, 9, 6, 3], 4: [4, 5, 7, 6, 3]}


def network(layers: list[int], seed: int = 0, scale: float = 0.7) -> tuple[list[Tensor], Tensor]:
    rng = np.random.default_rng(seed)
    weights = [
        torch.from_numpy(scale * rng.standard_normal((rows, columns)) / columns**0.5)
        for columns, rows in pairwise(layers)
    ]
    return weights, torch.from_numpy(rng.standard_normal((layers[-1], layers[0])))


def stack_of(layers: list[int], n_replicas: int) -> DeepLinearReplicas:
    """Replicas whose weights differ."""
    stack = DeepLinearReplicas(*network(layers), n_replicas)
    generator = torch.Generator().manual_seed(2)
    for weight in stack.parameters.values():
        weight += 0.1 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
    return stack


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_autograd(stack: DeepLinearReplicas, r: int, x: Tensor | None) -> dict[str, Tensor]:
    weights = {n: w[r].clone().requires_grad_() for n, w in stack.parameters.items()}
    product = torch.eye(stack.teacher.shape[1], dtype=torch.float64)
    for weight in weights.values():
        product = weight @ product
    error = product - stack.teacher
    loss = error.square().sum() / 2 if x is None else (x @ error.T).square().sum() / (2 * len(x))
    gradients = torch.autograd.grad(loss, list(weights.values()))
    return dict(zip(weights, gradients, strict=True))


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("b", [1, 6])
def test_gradients_equal_autograd(depth: int, b: int) -> None:
    stack, x = stack_of(DEPTHS[depth], 3), normal(3, b, 4)
    for batch in (Inputs(x), SecondMoment(second_moment(x))):
        gradients = stack.gradients(batch)
        assert list(gradients) == [f"W{k}" for k in range(1, depth + 1)]
        for r in range(3):
            for name, expected in by_autograd(stack, r, x[r]).items():
                assert_allclose(gradients[name][r], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("depth", DEPTHS)
def test_full_gradients_equal_autograd(depth: int) -> None:
    stack = stack_of(DEPTHS[depth], 3)
    full = stack.full_gradients()
    for r in range(3):
        for name, expected in by_autograd(stack, r, None).items():
            assert_allclose(full[name][r], expected, rtol=1e-10, atol=1e-12)


def test_depth_2_is_the_two_layer_network() -> None:
    weights, teacher = network(DEPTHS[2])
    deep, two = DeepLinearReplicas(weights, teacher, 5), TwoLayerReplicas(*weights, teacher, 5)
    batches = [Inputs(normal(5, 3, 4, seed=seed)) for seed in range(12)]
    one, other = (
        next(train(stack, iter(batches).__next__, 3, [0.05] * 12)) for stack in (deep, two)
    )
    for key, moments in one.moments.items():
        expected = other.moments[key]
        assert_allclose(moments.sq_deviations, expected.sq_deviations, rtol=1e-9, atol=1e-20)
        assert_allclose(moments.mean_sq_norm, expected.mean_sq_norm, rtol=1e-10)
    for tensor, variance in one.conditional.items():
        assert_allclose(variance, other.conditional[tensor], rtol=1e-10)


@pytest.mark.parametrize("depth", DEPTHS)
def test_conditional_variance_covers_monte_carlo(depth: int) -> None:
    n, b = 30_000, 2
    stack = DeepLinearReplicas(*network(DEPTHS[depth]), n)
    sampler = GaussianSampler(4, b, n, torch.Generator().manual_seed(3), "inputs", torch.float64)
    gradients = stack.gradients(sampler())
    level = sidak_level(0.999, 9)
    for name, exact in stack.conditional_variance(b).items():
        y = gradient_moments(gradients[name])["sq_deviations"].numpy() * n / (n - 1)
        d = y - y.mean()
        interval = variance_interval(n, y.mean(), (d**2).sum(), (d**3).sum(), level)
        assert interval.low < exact[0] < interval.high


@pytest.mark.parametrize("depth", [3, 4])
@pytest.mark.parametrize("form", ["inputs", "moment"])
def test_deeper_networks_train_with_finite_statistics(depth: int, form: str) -> None:
    n, b, steps = 200, 8, 30
    weights, teacher = network(DEPTHS[depth])
    stack = DeepLinearReplicas([w.float() for w in weights], teacher.float(), n)
    sampler = GaussianSampler(4, b, n, torch.Generator().manual_seed(4), form)  # type: ignore[arg-type]
    rates = [0.1 / (t + 1) for t in range(steps)]
    records = list(train(stack, sampler, b, rates, Recording(16)))
    assert [len(record.steps) for record in records] == [16, 14]
    for record in records:
        assert record.finite.all()
        tensors = {*stack.parameters, ALL}
        assert set(record.moments) == {(q, t) for q in (STOCHASTIC, FULL) for t in tensors}
        assert set(record.conditional) == tensors
        for moments in record.moments.values():
            assert np.isfinite(moments.sq_deviations).all()
        # Both estimators of var(g_t | F_0) from the same runs, within simultaneous error.
        plain = record.moments[STOCHASTIC, ALL].sq_deviations * n / (n - 1)
        full = record.moments[FULL, ALL].sq_deviations * n / (n - 1)
        better = record.conditional[ALL] + full
        z = (plain - better).mean(axis=1) / (plain - better).std(axis=1) * n**0.5
        assert np.abs(z).max() < stats.t.isf((1 - sidak_level(0.9999, steps)) / 2, n - 1)


def test_shapes_that_do_not_fit_are_refused() -> None:
    weights, teacher = network(DEPTHS[3])
    with pytest.raises(ValueError, match="do not form a network"):
        DeepLinearReplicas(weights[::-1], teacher, 2)
