"""AdamW, its learning rates and clipping against torch's and transformers' own."""

import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor

from pipeline_lib.study.settings import LearningRate
from pipeline_lib.training.optim import AdamW, clip_per_tensor

R = 3
SHAPES = {"matrix": (4, 5), "vector": (7,), "number": ()}


def draws(seed: int, scale: float = 1.0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: scale * torch.randn(R, *shape, generator=generator, dtype=torch.float64)
        for name, shape in SHAPES.items()
    }


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize("at_once", [2**16, 3])
def test_adamw_is_torchs_for_each_replica(
    weight_decay: float, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline_lib.training.optim._AT_ONCE", {"cpu": at_once})
    betas, eps = (0.8, 0.95), 1e-3
    rates = LearningRate("warmup_linear", 0.2, 4 / 12).values(12)
    stacked = draws(0)
    single = [{name: p[r].clone() for name, p in stacked.items()} for r in range(R)]
    ours = AdamW(stacked, betas, eps, weight_decay)
    theirs = [
        torch.optim.AdamW(list(p.values()), lr=1.0, betas=betas, eps=eps, weight_decay=weight_decay)
        for p in single
    ]
    for step in range(12):
        gradients = draws(100 + step, scale=10.0 ** (step % 3 - 1))
        ours.step(gradients, rates[step])
        for r, optimiser in enumerate(theirs):
            optimiser.param_groups[0]["lr"] = rates[step]
            for name, parameter in single[r].items():
                parameter.grad = gradients[name][r].clone()
            optimiser.step()
            for name, parameter in single[r].items():
                assert_allclose(stacked[name][r], parameter, rtol=1e-12, atol=1e-12)


def test_adamw_goes_on_from_its_state() -> None:
    whole, parts = draws(0), draws(0)
    one, two = AdamW(whole, weight_decay=0.1), AdamW(parts, weight_decay=0.1)
    for step in range(5):
        one.step(draws(step), 0.1)
        if step == 2:
            state = two.state()
            two = AdamW(parts, weight_decay=0.1)
            two.restore(state)
        two.step(draws(step), 0.1)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert one.state()["steps"] == 5


@pytest.mark.parametrize("change", [{"betas": (1.0, 0.9)}, {"eps": -1.0}, {"weight_decay": -0.1}])
def test_adamw_refuses_what_cannot_be(change: dict) -> None:
    with pytest.raises(ValueError, match="allowed are betas"):
        AdamW(draws(0), **change)


def test_adamw_refuses_parameters_it_could_not_update() -> None:
    with pytest.raises(ValueError, match=r"'w'.*not contiguous"):
        AdamW({"w": torch.zeros(2, 3, 4).mT})


@pytest.mark.parametrize(("n_steps", "warmup"), [(10, 0), (10, 4), (1, 0), (7, 6)])
def test_learning_rates_are_those_of_transformers(n_steps: int, warmup: int) -> None:
    from transformers import get_linear_schedule_with_warmup

    optimiser = torch.optim.SGD([torch.zeros(1)], lr=4e-5)
    theirs = get_linear_schedule_with_warmup(optimiser, warmup, n_steps)
    ours = LearningRate("warmup_linear", 4e-5, warmup / n_steps).values(n_steps)
    assert len(ours) == n_steps
    for step in range(n_steps):
        assert_allclose(ours[step], theirs.get_last_lr()[0], rtol=1e-14)
        optimiser.step()
        theirs.step()
    # One more step down the slope it would be 0.
    assert_allclose(ours[-1], 4e-5 / (n_steps - warmup), rtol=1e-14)


@pytest.mark.parametrize(
    ("warmup", "told"), [(-0.1, "greater than or equal to 0"), (1.0, "less than 1")]
)
def test_a_warmup_that_is_no_share_is_refused(warmup: float, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        LearningRate("warmup_linear", 1.0, warmup)


def test_a_warmup_that_leaves_no_step_to_fall_is_refused() -> None:
    with pytest.raises(ValueError, match="0 to 9"):
        LearningRate("warmup_linear", 1.0, 0.96).values(10)


@pytest.mark.parametrize("max_norm", [1.0, 2.5])
def test_clipping_takes_each_replica_and_tensor_alone(max_norm: float) -> None:
    gradients = draws(1)
    gradients["matrix"][0] *= 1e-3
    gradients["vector"][1] = 0
    before = {name: g.clone() for name, g in gradients.items()}
    clip_per_tensor(gradients, max_norm)
    clipped = 0
    for name, gradient in gradients.items():
        for r in range(R):
            norm = float(before[name][r].norm())
            clipped += norm > max_norm
            expected = before[name][r] * min(1.0, max_norm / norm if norm else 1.0)
            assert_allclose(gradient[r], expected, rtol=1e-14)
    assert 0 < clipped < 3 * R


def test_clipping_does_not_hide_what_is_not_finite() -> None:
    gradients = {"w": torch.ones(4, 2)}
    gradients["w"][0, 0], gradients["w"][1, 1] = torch.inf, torch.nan
    gradients["w"][2] = 1e25  # finite, but its squares are not
    clip_per_tensor(gradients)
    assert not gradients["w"][:3].isfinite().all(dim=1).any()
    assert_allclose(gradients["w"][3], 2**-0.5, rtol=1e-7)
    with pytest.raises(ValueError, match="positive"):
        clip_per_tensor(gradients, 0.0)
