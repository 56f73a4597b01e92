"""Optimisers of stacks, learning rates and clipping against torch's and transformers' own."""

import math
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor

from pipeline_lib.artifacts.state_archive import read_state, write_state
from pipeline_lib.errors import ConfigError
from pipeline_lib.study.learning_rate import LearningRate
from pipeline_lib.study.optimizers import OPTIMIZERS, REFUSED, AnyOptimizer
from pipeline_lib.study.settings import Clipping
from pipeline_lib.training.update import Update, clip
from update_cases import EVERY, PLAIN, RATES, STEPS, R, draws, made

OPTIMIZER = pytest.mark.parametrize("given", EVERY.values(), ids=EVERY.keys())


def torchs(given: dict[str, Any], parameters: list[Tensor]) -> torch.optim.Optimizer:
    """Torch's own, by a name that is looked up among its classes."""
    by_name = {name.lower(): cls for name, cls in vars(torch.optim).items()}
    arguments = {key: value for key, value in given.items() if key != "kind"}
    return by_name[given["kind"]](parameters, lr=1.0, **arguments)


@OPTIMIZER
@pytest.mark.parametrize("clipping", [None, Clipping(0.5, "tensor"), Clipping(0.5, "whole")])
def test_a_stack_is_updated_as_separate_replicas_are(
    given: dict[str, Any], clipping: Clipping | None
) -> None:
    stacked = draws(0)
    single = [{name: p[r].clone() for name, p in stacked.items()} for r in range(R)]
    ours = Update(stacked, made(given), clipping)
    theirs = [torchs(given, list(p.values())) for p in single]
    for step in range(STEPS):
        gradients = draws(100 + step, scale=10.0 ** (step % 3 - 1))
        for r, optimiser in enumerate(theirs):
            optimiser.param_groups[0]["lr"] = RATES[step]
            for name, parameter in single[r].items():
                parameter.grad = gradients[name][r].clone()
            if clipping is not None:
                whole = [list(single[r].values())]
                parts = whole if clipping.of == "whole" else [[p] for p in single[r].values()]
                for part in parts:
                    torch.nn.utils.clip_grad_norm_(part, clipping.norm)
            optimiser.step()
        ours.clip(gradients)
        ours.step(gradients, RATES[step])
        for r in range(R):
            for name, parameter in single[r].items():
                # Torch's own clipping adds 1e-6 to the norm.
                rtol = 1e-12 if clipping is None else 1e-5
                assert_allclose(stacked[name][r], parameter, rtol=rtol, atol=rtol)


@OPTIMIZER
def test_an_optimiser_goes_on_bit_for_bit_from_its_state_in_a_file(
    given: dict[str, Any], tmp_path: Path
) -> None:
    whole, parts = draws(0), draws(0)
    one, two = Update(whole, made(given)), Update(parts, made(given))
    for step in range(5):
        one.step(draws(step), 0.1)
        if step in (0, 2):  # before the first step there is nothing
            write_state(tmp_path / "state.zip", {}, two.state())
            two = Update(parts, made(given))
            two.restore(read_state(tmp_path / "state.zip", {}))
        two.step(draws(step), 0.1)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


@OPTIMIZER
def test_what_is_kept_of_each_weight_is_counted(given: dict[str, Any]) -> None:
    parameters = draws(0)
    update = Update(parameters, made(given))
    update.step(draws(1), 0.1)
    kept = update.state().get("0", {}).values()
    assert sum(tensor.shape == parameters["matrix"].shape for tensor in kept) == made(given).kept


def test_every_optimiser_of_torch_is_offered_or_refused_with_a_reason() -> None:
    theirs = {
        name.lower()
        for name, cls in vars(torch.optim).items()
        if isinstance(cls, type) and cls is not torch.optim.Optimizer
    }
    assert theirs == set(OPTIMIZERS) | set(REFUSED)
    assert {nearest for _, nearest in REFUSED.values()} <= set(OPTIMIZERS)
    assert get_args(get_args(AnyOptimizer)[0]) == tuple(type(made(one)) for one in PLAIN.values())


@pytest.mark.parametrize("given", PLAIN.values(), ids=PLAIN.keys())
def test_arguments_and_defaults_are_those_of_torch(given: dict[str, Any]) -> None:
    optimizer = made(given)
    theirs = torchs(given, [torch.zeros(1)]).defaults
    for name, value in optimizer.arguments().items():
        assert theirs[name] == value, name


def test_replicas_do_not_mix() -> None:
    """One replica with a gradient that is not finite leaves the others as they were."""
    for given in EVERY.values():
        clean, spoilt = draws(0), draws(0)
        one = Update(clean, made(given), Clipping(0.5, "whole"))
        two = Update(spoilt, made(given), Clipping(0.5, "whole"))
        for step in range(3):
            gradients, bad = draws(step), draws(step)
            bad["matrix"][1, 0, 0] = torch.inf
            for update, of_update in ((one, gradients), (two, bad)):
                update.clip(of_update)
                update.step(of_update, 0.1)
        for name in clean:
            for r in (0, 2):
                assert torch.equal(clean[name][r], spoilt[name][r])
        assert not spoilt["matrix"][1].isfinite().all()


@OPTIMIZER
def test_gradients_are_those_of_the_same_name(given: dict[str, Any]) -> None:
    weights = {name: torch.zeros(R, 3) for name in ("a", "b")}
    update = Update(weights, made(given))
    update.step({"b": torch.ones(R, 3), "a": torch.zeros(R, 3)}, 0.1)
    assert not weights["a"].any()
    assert weights["b"].all()


def test_parameters_that_could_not_be_updated_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'w'.*not contiguous"):
        Update({"w": torch.zeros(2, 3, 4).mT})


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
    with pytest.raises(ConfigError, match=r"0\.96 takes all steps, 10;"):
        LearningRate("warmup_linear", 1.0, 0.96).values(10)


@pytest.mark.parametrize("max_norm", [1.0, 2.5])
def test_clipping_takes_each_replica_and_tensor_alone(max_norm: float) -> None:
    gradients = draws(1)
    gradients["matrix"][0] *= 1e-3
    gradients["vector"][1] = 0
    before = {name: g.clone() for name, g in gradients.items()}
    clip(gradients, Clipping(max_norm, "tensor"))
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
    clip(gradients, Clipping(1.0, "tensor"))
    assert not gradients["w"][:3].isfinite().all(dim=1).any()
    assert_allclose(gradients["w"][3], 2**-0.5, rtol=1e-7)


def test_clipping_as_a_whole_takes_each_replica_alone() -> None:
    gradients = draws(1)
    for gradient in gradients.values():
        gradient[0] *= 1e-3
    before = {name: g.clone() for name, g in gradients.items()}
    clip(gradients, Clipping(1.0, "whole"))
    for r in range(R):
        norm = math.sqrt(sum(float(g[r].square().sum()) for g in before.values()))
        assert (norm > 1) == (r > 0)
        for name, gradient in gradients.items():
            assert_allclose(gradient[r], before[name][r] / max(1.0, norm), rtol=1e-14)


def twice(step: int) -> float:
    return 2.0 / (1 + step)


def negative(step: int) -> float:
    return 1.0 - step


def failing(step: int) -> float:
    raise RuntimeError("no rate today")


@pytest.mark.parametrize(("n_steps", "warmup"), [(20, 0), (20, 5), (7, 6)])
def test_a_cosine_is_that_of_transformers(n_steps: int, warmup: int) -> None:
    from transformers import get_cosine_schedule_with_warmup

    optimiser = torch.optim.SGD([torch.zeros(1)], lr=0.3)
    theirs = get_cosine_schedule_with_warmup(optimiser, warmup, n_steps)
    ours = LearningRate("cosine", 0.3, warmup / n_steps).values(n_steps)
    for step in range(n_steps):
        assert_allclose(ours[step], theirs.get_last_lr()[0], rtol=1e-12, atol=1e-15)
        optimiser.step()
        theirs.step()


def test_a_cosine_without_warmup_is_that_of_torch() -> None:
    optimiser = torch.optim.SGD([torch.zeros(1)], lr=0.3)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 20, eta_min=0.1)
    for rate in LearningRate("cosine", 0.3, final=0.1).values(20):
        assert_allclose(rate, theirs.get_last_lr()[0], rtol=1e-12)
        optimiser.step()
        theirs.step()


def test_steps_drop_as_those_of_torch() -> None:
    optimiser = torch.optim.SGD([torch.zeros(1)], lr=0.3)
    theirs = torch.optim.lr_scheduler.StepLR(optimiser, 5, gamma=0.1)
    schedule = LearningRate("step", 0.3, every=0.25, factor=0.1)
    for rate in schedule.values(20):
        assert_allclose(rate, theirs.get_last_lr()[0], rtol=1e-12)
        optimiser.step()
        theirs.step()
    # The same shares of a shorter training, and rates as decimals that are known exactly.
    assert [str(rate) for rate in schedule.exact(4)] == ["3/10", "3/100", "3/1000", "3/10000"]


def test_a_rate_may_be_a_function_of_ones_own() -> None:
    rates = LearningRate(f"{__name__}:twice", 0.5).values(3)
    assert_allclose(rates, [1.0, 0.5, 1 / 3], rtol=1e-15)
    for name, told in (
        ("negative", "a rate of -0.5 at step 2; allowed: finite numbers of at least 0"),
        ("failing", "fails: RuntimeError: no rate today"),
        ("absent", "has no 'absent'"),
    ):
        with pytest.raises(ConfigError, match=told):
            LearningRate(f"{__name__}:{name}", 0.5).values(3)
