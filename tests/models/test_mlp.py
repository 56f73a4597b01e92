"""The perceptron's hand-derived gradients and fused steps against autograd."""

import time

import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor
from torch.nn import functional

from pipeline_lib.models.perceptron.cost import multiply_adds
from pipeline_lib.models.perceptron.replicas import MlpReplicas
from pipeline_lib.training.labelled import ChosenBatch, GivenBatch

LAYERS = (7, 9, 6, 4)
LAYERS_OF_STUDY = (784, 1024, 512, 10)


def weights_of(
    layers: tuple[int, ...], dtype: torch.dtype = torch.float64, seed: int = 0
) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for k in range(1, len(layers)):
        scale = layers[k - 1] ** -0.5
        weights[f"W{k}"] = scale * torch.randn(
            layers[k], layers[k - 1], generator=generator, dtype=dtype
        )
        weights[f"b{k}"] = 0.1 * torch.randn(layers[k], generator=generator, dtype=dtype)
    return weights


def spread(stack: MlpReplicas, seed: int = 5) -> MlpReplicas:
    """``stack`` with weights that differ between replicas, as after some training."""
    generator = torch.Generator().manual_seed(seed)
    for weight in stack.parameters.values():
        noise = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
        weight += 0.1 * noise
    return stack


def batch_of(
    n_replicas: int, b: int, layers: tuple[int, ...], dtype: torch.dtype = torch.float64
) -> GivenBatch:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n_replicas, b, layers[0], generator=generator, dtype=dtype)
    return GivenBatch(x, torch.randint(layers[-1], (n_replicas, b), generator=generator))


def outputs(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
    for k in range(1, len(parameters) // 2 + 1):
        x = functional.linear(x if k == 1 else x.relu(), parameters[f"W{k}"], parameters[f"b{k}"])
    return x


def by_autograd(stack: MlpReplicas, r: int, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    leaves = {
        name: weight[r].double().requires_grad_() for name, weight in stack.parameters.items()
    }
    loss = functional.cross_entropy(outputs(leaves, x.double()), y)
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    return dict(zip(leaves, gradients, strict=True))


def relative(got: Tensor, expected: Tensor) -> float:
    return float((got.double() - expected).norm() / expected.norm())


@pytest.mark.parametrize("as_on_cuda", [False, True])
@pytest.mark.parametrize(
    ("dtype", "limit"), [(torch.float64, 1e-10), (torch.float32, 1e-6)], ids=["double", "single"]
)
@pytest.mark.parametrize("layers", [LAYERS, (5, 3), (64, 48, 40, 32, 10)])
@pytest.mark.parametrize("b", [1, 6])
def test_gradients_equal_autograd(
    b: int, layers: tuple[int, ...], dtype: torch.dtype, limit: float, as_on_cuda: bool
) -> None:
    stack = spread(MlpReplicas(weights_of(layers, dtype), 3, threads=2))
    if as_on_cuda:
        all_at_once(stack)
    batch = batch_of(3, b, layers, dtype)
    gradients = stack.gradients(batch)
    for r in range(3):
        for name, expected in by_autograd(stack, r, batch.x[r], batch.y[r]).items():
            assert relative(gradients[name][r], expected) < limit, name


def all_at_once(stack: MlpReplicas) -> MlpReplicas:
    """``stack`` with each product over all replicas, as on a CUDA device."""
    stack._pool, stack._parts = None, [slice(0, len(stack.parameters["W1"]))]
    return stack


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-14), (torch.float32, 1e-6)])
@pytest.mark.parametrize("as_on_cuda", [False, True])
def test_a_fused_step_is_the_step_along_the_gradient(
    dtype: torch.dtype, limit: float, as_on_cuda: bool
) -> None:
    one, two = (spread(MlpReplicas(weights_of(LAYERS, dtype), 4)) for _ in range(2))
    if as_on_cuda:
        all_at_once(one)
    batch = batch_of(4, 5, LAYERS, dtype)
    for _ in range(3):
        one.descend(batch, 0.3)
        for name, gradient in two.gradients(batch).items():
            two.parameters[name].sub_(gradient, alpha=0.3)
    start = weights_of(LAYERS, dtype)
    for name, weight in one.parameters.items():
        assert relative(weight, two.parameters[name].double()) < limit, name
        assert relative(weight, start[name].double().expand(weight.shape)) > 1e-3, name


@pytest.mark.parametrize("chunk", [1, 4, 100])
@pytest.mark.parametrize("as_on_cuda", [False, True])
@pytest.mark.parametrize("before_training", [False, True])
def test_evaluation_is_that_of_each_replica(
    chunk: int, as_on_cuda: bool, before_training: bool
) -> None:
    stack = MlpReplicas(weights_of(LAYERS), 3, threads=2)
    if not before_training:
        spread(stack)
    if as_on_cuda:
        all_at_once(stack)
    examples = batch_of(1, 11, LAYERS)
    x, y = examples.x[0], examples.y[0]
    result = stack.evaluate(x, y, chunk)
    for r in range(3):
        z = outputs({name: weight[r] for name, weight in stack.parameters.items()}, x)
        assert_allclose(result.loss[r], functional.cross_entropy(z, y), rtol=1e-12)
        assert_allclose(result.error[r], (z.argmax(dim=1) != y).double().mean(), rtol=1e-12)
    assert result.error.min() > 0
    assert result.loss.dtype == result.error.dtype == torch.float64


def test_threads_change_no_value() -> None:
    batch = batch_of(5, 6, LAYERS, torch.float32)
    before = torch.get_num_threads()
    stacks = [MlpReplicas(weights_of(LAYERS, torch.float32), 5, threads=n) for n in (1, 3)]
    for stack in stacks:
        for _ in range(4):
            stack.descend(batch, 0.1)
    for name, weight in stacks[0].parameters.items():
        assert torch.equal(weight, stacks[1].parameters[name])
    assert torch.get_num_threads() == before


def test_many_steps_in_one_go_are_the_steps_one_by_one() -> None:
    one, two = (MlpReplicas(weights_of(LAYERS), 3, threads=2) for _ in range(2))
    batches = [batch_of(3, b, LAYERS) for b in (6, 6, 4)]
    rates = [0.3, 0.2, 0.1]
    one.descend_through(batches, rates)
    for batch, rate in zip(batches, rates, strict=True):
        two.descend(batch, rate)
    for name, weight in one.parameters.items():
        assert torch.equal(weight, two.parameters[name])


def test_batches_of_changing_size_leave_nothing_behind() -> None:
    """The kept memory of a long batch must not leak into a short one."""
    stack, fresh = (MlpReplicas(weights_of(LAYERS), 2) for _ in range(2))
    stack.gradients(batch_of(2, 8, LAYERS))
    short = batch_of(2, 3, LAYERS)
    got, expected = stack.gradients(short), fresh.gradients(short)
    for name, gradient in got.items():
        assert torch.equal(gradient, expected[name])


def test_chosen_examples_are_those_of_the_indices() -> None:
    x, y = torch.arange(24.0).view(6, 4), torch.arange(6)
    batch = ChosenBatch(x, y, torch.tensor([[5, 0], [2, 2], [1, 3]]))
    assert torch.equal(batch.y, batch.indices)
    assert torch.equal(batch.x, x[batch.indices])
    assert batch.size == 2
    inputs, labels = batch.part(slice(1, 3))
    assert torch.equal(inputs, batch.x[1:3])
    assert torch.equal(labels, batch.y[1:3])


def test_products_of_a_step() -> None:
    # 3 for every layer, but no back-propagation into the inputs.
    assert multiply_adds(LAYERS, 2) == 2 * (2 * 7 * 9 + 3 * 9 * 6 + 3 * 6 * 4)


@pytest.mark.parametrize(
    "change",
    [
        {"W2": torch.zeros(6, 8)},
        {"b1": torch.zeros(8)},
        {"b1": torch.zeros(9, 1)},
        {"W9": torch.zeros(2, 2)},
    ],
)
def test_weights_that_form_no_network_are_refused(change: dict[str, Tensor]) -> None:
    with pytest.raises(ValueError, match="form a network"):
        MlpReplicas(weights_of(LAYERS) | change, 2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_and_cpu_agree() -> None:
    weights = weights_of(LAYERS_OF_STUDY)
    batch = batch_of(4, 64, LAYERS_OF_STUDY)
    stacks = [MlpReplicas({n: w.to(d) for n, w in weights.items()}, 4) for d in ("cpu", "cuda")]
    for stack, device in zip(stacks, ("cpu", "cuda"), strict=True):
        for _ in range(5):
            stack.descend(GivenBatch(batch.x.to(device), batch.y.to(device)), 0.1)
    for name, weight in stacks[0].parameters.items():
        torch.testing.assert_close(stacks[1].parameters[name].cpu(), weight, rtol=1e-9, atol=1e-12)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_throughput_on_cuda(capsys: pytest.CaptureFixture[str]) -> None:
    n, b, steps = 100, 64, 50
    weights = {k: w.cuda() for k, w in weights_of(LAYERS_OF_STUDY, torch.float32).items()}
    stack = MlpReplicas(weights, n)
    given = batch_of(n, b, LAYERS_OF_STUDY, torch.float32)
    batch = GivenBatch(given.x.cuda(), given.y.cuda())
    for warm in (True, False):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(5 if warm else steps):
            stack.descend(batch, 3e-3)
        torch.cuda.synchronize()
        seconds = time.perf_counter() - start
    rate = 2 * n * steps * multiply_adds(LAYERS_OF_STUDY, b) / seconds
    with capsys.disabled():
        print(f"\n{n} replicas, b = {b}: {seconds / steps * 1e3:.2f} ms, {rate / 1e12:.1f} TFLOP/s")
    assert all(weight.isfinite().all() for weight in stack.parameters.values())
