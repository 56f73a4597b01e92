"""Any module through torch.func: against the hand-derived stack and plain autograd."""

import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor, nn
from torch.nn import functional

from pipeline_lib.errors import ConfigError
from pipeline_lib.models.perceptron.replicas import MlpReplicas
from pipeline_lib.training.labelled import GivenBatch
from pipeline_lib.training.module_stack import ModuleReplicas

FORMS = pytest.mark.parametrize("vectorised", [True, False])


def perceptron() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)
    ).double()


def convolutional(norm: nn.Module | None = None, dropout: float = 0.0) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        norm if norm is not None else nn.GroupNorm(2, 4),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Flatten(),
        nn.Linear(4 * 4 * 4, 3),
    ).double()


def by_name(module: nn.Sequential) -> dict[str, str]:
    """Names within the module by the names of `MlpReplicas`."""
    linear = [name for name, part in module.named_children() if isinstance(part, nn.Linear)]
    return {
        f"{short}{k}": f"{name}.{long}"
        for k, name in enumerate(linear, start=1)
        for short, long in (("W", "weight"), ("b", "bias"))
    }


def batch_of(*shape: int, seed: int = 1) -> GivenBatch:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(*shape, generator=generator, dtype=torch.float64)
    return GivenBatch(x, torch.randint(3, shape[:2], generator=generator))


@FORMS
def test_perceptron_equals_the_hand_derived_one(vectorised: bool) -> None:
    module = perceptron()
    names = by_name(module)
    weights = {short: module.get_parameter(long).detach() for short, long in names.items()}
    derived = MlpReplicas(weights, 4)
    generic = ModuleReplicas(module, functional.cross_entropy, 4, vectorised=vectorised)
    for seed in range(5):
        batch = batch_of(4, 6, 5, seed=seed)
        expected, got = derived.gradients(batch), generic.gradients(batch)
        for short, long in names.items():
            torch.testing.assert_close(got[long], expected[short], rtol=1e-10, atol=1e-13)
        derived.descend(batch, 0.2)
        generic.descend(batch, 0.2)
    examples = batch_of(1, 17, 5)
    one, two = (s.evaluate(examples.x[0], examples.y[0], 4) for s in (derived, generic))
    torch.testing.assert_close(two.loss, one.loss, rtol=1e-10, atol=0)
    assert torch.equal(two.error, one.error)
    assert one.loss.std() > 1e-3, "replicas have parted"


@FORMS
def test_convolutional_network_equals_autograd(vectorised: bool) -> None:
    module = convolutional()
    stack = ModuleReplicas(module, functional.cross_entropy, 3, vectorised=vectorised)
    batch = batch_of(3, 5, 1, 6, 6)
    stack.descend(batch, 0.1)
    gradients = stack.gradients(batch)
    for r in range(3):
        module.load_state_dict({name: p[r] for name, p in stack.parameters.items()})
        module.zero_grad()
        functional.cross_entropy(module(batch.x[r]), batch.y[r]).backward()
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None
            torch.testing.assert_close(gradients[name][r], parameter.grad, rtol=1e-10, atol=1e-13)


@FORMS
def test_the_module_given_is_left_alone(vectorised: bool) -> None:
    module = convolutional()
    before = {name: p.clone() for name, p in module.state_dict().items()}
    stack = ModuleReplicas(module, functional.cross_entropy, 2, vectorised=vectorised)
    stack.descend(batch_of(2, 5, 1, 6, 6), 0.1)
    for name, p in module.state_dict().items():
        assert torch.equal(p, before[name])
        assert not torch.equal(stack.parameters[name][0], p)


@FORMS
def test_frozen_parameters_stay(vectorised: bool) -> None:
    module = perceptron()
    module[0].requires_grad_(False)
    stack = ModuleReplicas(module, functional.cross_entropy, 2, vectorised=vectorised)
    assert set(stack.parameters) == {"2.weight", "2.bias", "4.weight", "4.bias"}
    full = ModuleReplicas(perceptron(), functional.cross_entropy, 2).gradients(batch_of(2, 4, 5))
    for name, gradient in stack.gradients(batch_of(2, 4, 5)).items():
        torch.testing.assert_close(gradient, full[name], rtol=1e-10, atol=1e-13)


@FORMS
def test_dropout_differs_between_replicas_and_is_off_in_evaluation(vectorised: bool) -> None:
    module = convolutional(dropout=0.5)
    stack = ModuleReplicas(module, functional.cross_entropy, 2, vectorised=vectorised)
    one = batch_of(1, 5, 1, 6, 6)
    same = GivenBatch(one.x.repeat(2, 1, 1, 1, 1), one.y.repeat(2, 1))
    gradient = stack.gradients(same)["0.weight"]
    assert not torch.allclose(gradient[0], gradient[1])
    result = stack.evaluate(one.x[0], one.y[0], 2)
    expected = functional.cross_entropy(module.eval()(one.x[0]), one.y[0]).item()
    assert_allclose(result.loss, [expected] * 2, rtol=1e-12)
    again = stack.gradients(same)["0.weight"]
    assert not torch.allclose(again[0], again[1]), "training mode is back"


@pytest.mark.parametrize(
    "norm", [nn.BatchNorm2d(4), nn.InstanceNorm2d(4, track_running_stats=True)]
)
def test_running_statistics_are_refused(norm: nn.Module) -> None:
    with pytest.raises(ConfigError, match=rf"1 is a {type(norm).__name__}.*GroupNorm") as error:
        ModuleReplicas(convolutional(norm), functional.cross_entropy, 2)
    assert "\n" not in str(error.value)


def test_normalisation_without_running_statistics_is_allowed() -> None:
    module = convolutional(nn.BatchNorm2d(4, track_running_stats=False))
    batch = batch_of(2, 5, 1, 6, 6)
    ModuleReplicas(module, functional.cross_entropy, 2, sample=batch).descend(batch, 0.1)


class Counting(nn.Module):
    """Remembers how often it was called."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 3).double()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        out: Tensor = self.layer(x)
        return out


def test_a_buffer_that_training_changes_is_refused() -> None:
    with pytest.raises(ConfigError, match="changes the buffer 'calls'"):
        ModuleReplicas(Counting(), functional.cross_entropy, 2, sample=batch_of(2, 4, 5))


def sum_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(outputs, targets, reduction="sum")


def loss_by_example(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(outputs, targets, reduction="none")


@FORMS
@pytest.mark.parametrize("loss", [sum_loss, loss_by_example])
def test_a_loss_that_is_no_mean_is_refused(loss, vectorised: bool) -> None:
    batch = batch_of(2, 4, 5)
    with pytest.raises(ConfigError, match="loss must be the mean over examples"):
        ModuleReplicas(perceptron(), loss, 2, sample=batch)
    stack = ModuleReplicas(perceptron(), loss, 2, vectorised=vectorised)
    with pytest.raises(ConfigError, match="loss must be the mean over examples"):
        stack.gradients(batch)


def test_regression_has_no_error_rate() -> None:
    stack = ModuleReplicas(perceptron(), functional.mse_loss, 2)
    x, y = torch.randn(9, 5, dtype=torch.float64), torch.randn(9, 3, dtype=torch.float64)
    result = stack.evaluate(x, y, 4)
    expected = functional.mse_loss(perceptron()(x), y).item()
    assert_allclose(result.loss, [expected] * 2, rtol=1e-12)
    assert result.error.isnan().all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_and_cpu_agree() -> None:
    batch = batch_of(3, 5, 1, 6, 6)
    on_cpu, on_gpu = (
        ModuleReplicas(convolutional(), functional.cross_entropy, 3, device=d)
        for d in ("cpu", "cuda")
    )
    expected = on_cpu.gradients(batch)
    for name, gradient in on_gpu.gradients(GivenBatch(batch.x.cuda(), batch.y.cuda())).items():
        torch.testing.assert_close(gradient.cpu(), expected[name], rtol=1e-9, atol=1e-12)


def test_a_state_from_before_the_first_batch_is_gone_on_from() -> None:
    """The check of the first batch draws from the random layers, and is still to be made."""

    def stack() -> ModuleReplicas:
        module = nn.Sequential(nn.Linear(6, 4), nn.Dropout(0.5), nn.Linear(4, 3)).double()
        return ModuleReplicas(module, functional.cross_entropy, 2, vectorised=False)

    batch = batch_of(2, 5, 6)
    first, second = stack(), stack()
    for name, parameter in second.parameters.items():
        parameter.copy_(first.parameters[name])
    state = first.state()
    expected = first.gradients(batch)
    second.restore(state)
    for name, gradient in second.gradients(batch).items():
        assert torch.equal(gradient, expected[name])
