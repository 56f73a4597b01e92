"""The emulation of TF32: how it rounds, and that without it the losses are those of the library."""

from pathlib import Path

import pytest
import torch

from pipeline_lib.models.perceptron.replicas import MlpReplicas


@pytest.fixture
def bench(repository: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(repository / "bench"))
    import bench_tf32

    return bench_tf32


def test_numbers_keep_ten_bits(bench) -> None:
    ulp = 2.0**-10
    given = torch.tensor([1.0, 1 + ulp, 1 + 0.49 * ulp, 1 + ulp / 2, 1.9999999, -1 - 0.75 * ulp, 0])
    nearest = [1.0, 1 + ulp, 1.0, 1 + ulp, 2.0, -1 - ulp, 0]
    cut = [1.0, 1 + ulp, 1.0, 1.0, 2 - ulp, -1.0, 0]
    assert bench.to_nearest(given).tolist() == nearest
    assert bench.towards_zero(given).tolist() == cut
    x = torch.randn(1000) * 10 ** torch.linspace(-9, 9, 1000)
    assert ((bench.to_nearest(x) - x).abs() <= x.abs() * ulp / 2).all()
    assert ((bench.towards_zero(x) - x).abs() <= x.abs() * ulp).all()
    assert (bench.to_nearest(x).view(torch.int32) & 0x1FFF == 0).all()


def test_without_rounding_losses_are_those_of_the_library(bench) -> None:
    torch.manual_seed(0)
    shapes = {"W1": (20, 9), "b1": (20,), "W2": (4, 20), "b2": (4,)}
    stack = MlpReplicas({name: torch.randn(shape) for name, shape in shapes.items()}, 3)
    for parameter in stack.parameters.values():
        parameter += 0.1 * torch.randn_like(parameter)
    x, y = torch.randn(50, 9), torch.randint(4, (50,))
    expected = stack.evaluate(x, y).loss
    torch.testing.assert_close(bench.losses(stack.parameters, x, y), expected, rtol=1e-6, atol=0)
    rounded = bench.losses(stack.parameters, x, y, bench.to_nearest)
    assert 1e-7 < float((rounded / expected - 1).abs().max()) < 1e-2
