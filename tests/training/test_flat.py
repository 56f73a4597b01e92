"""Tensors in one buffer: updates, moments and blocks are those of separate tensors."""

from collections import Counter
from typing import Any

import pytest
import torch
from gpu_cases import cases
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline_lib.estimation.statistics import ALL
from pipeline_lib.study.block import CPU
from pipeline_lib.study.optimizers import AdamW
from pipeline_lib.study.settings import Clipping
from pipeline_lib.training import flat, gradient_records, module_stack, replica_moments, update
from pipeline_lib.training.flat import BLOCK, FlatTensors, Layout
from pipeline_lib.training.gradient_records import all_moments, finite_replicas
from pipeline_lib.training.labelled import GivenBatch
from pipeline_lib.training.module_stack import ModuleReplicas
from pipeline_lib.training.replica_moments import Moments
from pipeline_lib.training.update import Update, clip
from update_cases import EVERY, RATES, SHAPES, STEPS, R, draws, made

TAKE_KERNELS = (flat, gradient_records, replica_moments)
CLIPPINGS = [None, Clipping(0.5, "tensor"), Clipping(0.5, "whole")]


def in_buffer(tensors: dict[str, Tensor]) -> FlatTensors:
    shapes = {name: one.shape[1:] for name, one in tensors.items()}
    made = FlatTensors(Layout(shapes, torch.device("cpu")), R, next(iter(tensors.values())))
    made.fill(tensors)
    return made


@pytest.fixture(params=["compiled", "torch"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """By compiled code, or by torch, as on a GPU."""
    if request.param == "torch":
        for module in TAKE_KERNELS:
            monkeypatch.setattr(module, "has_kernel", lambda tensor: False)
    return str(request.param)


def assert_close(one: dict[Any, Tensor], other: dict[Any, Tensor], rtol: float = 1e-13) -> None:
    assert list(one) == list(other)
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=rtol, atol=0, equal_nan=True)


def test_tensors_begin_at_blocks_and_share_the_memory() -> None:
    tensors = draws(0)
    buffer = in_buffer(tensors)
    assert_close(buffer, tensors, rtol=0)
    assert [begin % BLOCK for begin, _ in buffer.layout.bounds] == [0, 0, 0]
    assert int(buffer.layout.is_used.sum()) == 4 * 5 + 7 + 1
    assert not buffer.flat[:, ~buffer.layout.is_used].any()
    buffer["vector"][1, 2] = 5
    begin, _ = buffer.layout.bounds[1]
    assert buffer.flat[1, begin + 2] == 5
    buffer.fill_replica(1, {name: one[0] for name, one in tensors.items()})
    assert_close({n: b[1] for n, b in buffer.items()}, {n: t[0] for n, t in tensors.items()}, 0)


@pytest.mark.parametrize("given", EVERY.values(), ids=EVERY.keys())
@pytest.mark.parametrize("clipping", CLIPPINGS, ids=["none", "tensor", "whole"])
def test_a_buffer_is_updated_as_separate_tensors_are(
    given: dict[str, Any],
    clipping: Clipping | None,
    way: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if way == "torch":  # and in pieces, where there are temporaries
        monkeypatch.setattr(update, "NUMBERS_AT_ONCE", 10)
    apart, together = draws(0), in_buffer(draws(0))
    one, two = Update(apart, made(given), clipping), Update(together, made(given), clipping)
    for step in range(STEPS):
        gradients = draws(100 + step, scale=10.0 ** (step % 3 - 1))
        in_one = in_buffer(gradients)
        for of, given_gradients in ((one, gradients), (two, in_one)):
            of.clip(given_gradients)
            of.step(given_gradients, RATES[step])
    for name in SHAPES:
        torch.testing.assert_close(together[name], apart[name], rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("columns", [1, 2**26], ids=["in pieces", "at once"])
@pytest.mark.parametrize("per_tensor", [True, False])
def test_moments_are_those_of_separate_tensors(
    per_tensor: bool, columns: int, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gradient_records, "NUMBERS_AT_ONCE", columns)
    tensors = draws(1)
    tensors["vector"][2, 3] = torch.inf  # does not reach the other tensors

    def numbers(of: dict[str, Tensor]) -> dict[Any, Tensor]:
        moments: Moments = all_moments("g", of, per_tensor)
        return {(*key, name): one for key, part in moments.items() for name, one in part.items()}

    found, expected = numbers(in_buffer(tensors)), numbers(tensors)
    assert_close(found, expected)
    if per_tensor:
        assert found["g", "matrix", "sq_deviations"].isfinite().all()
    else:
        assert {key[1] for key in found} == {ALL}


def test_sums_of_16_bits_are_taken_in_64() -> None:
    # The sum of 64 squares of 33 is beyond the largest number of float16.
    like = torch.full((R, BLOCK), 33.0, dtype=torch.float16)
    moments = all_moments("stochastic_gradient", in_buffer({"w": like}), per_tensor=True)
    assert moments["stochastic_gradient", ALL]["sq_norms"].tolist() == [BLOCK * 33.0**2] * R


def test_what_is_not_finite_is_seen_in_its_replica_alone(way: str) -> None:
    buffer = in_buffer(draws(0))
    buffer.flat[:, ~buffer.layout.is_used] = (
        torch.nan
    )  # as an optimiser leaves it that divides by 0
    assert finite_replicas(buffer).tolist() == [True, True, True]
    buffer["number"][1] = torch.nan
    assert finite_replicas(buffer).tolist() == [True, False, True]


def test_clipping_one_tensor_does_not_reach_the_others(way: str) -> None:
    apart = draws(2, scale=10)
    apart["number"][1] = torch.inf
    together = in_buffer(apart)
    clip(apart, Clipping(0.5, "tensor"))
    clip(together, Clipping(0.5, "tensor"))
    assert_close(together, apart)
    assert together["matrix"].isfinite().all()
    assert together["number"][1].isnan()


class Counted(TorchDispatchMode):
    """Counts operations that compute."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        of = [one.alias_info for one in func._schema.returns]
        if not any(alias is not None and not alias.is_write for alias in of):
            self.seen[func.__name__] += 1
        return func(*args, **kwargs or {})


def test_on_a_gpu_an_update_is_a_few_operations_whatever_the_number_of_tensors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in TAKE_KERNELS:
        monkeypatch.setattr(module, "has_kernel", lambda tensor: False)
    counts = {}
    for n_tensors in (3, 200):
        given = {str(k): torch.randn(R, 5, 7) for k in range(n_tensors)}
        for name, tensors in (("flat", in_buffer(given)), ("apart", given)):
            other = in_buffer(given) if name == "flat" else {k: t.clone() for k, t in given.items()}
            updated = Update(tensors, AdamW("adamw"), Clipping(1.0, "tensor"))
            with Counted() as counted:
                all_moments("g", other, per_tensor=True)
                updated.clip(other)
                updated.step(other, 0.1)
            counts[name, n_tensors] = counted.seen.total()
    assert counts["flat", 200] == counts["flat", 3] < 60
    assert counts["apart", 200] > 2000  # what it would be


@pytest.mark.parametrize(
    "name", ["module, convolutions", "module, random layers", "module, recurrent", "xlnet"]
)
def test_blocks_are_those_of_separate_tensors(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = next(case for case in cases() if case.name == name)
    together = case.whole(CPU, None)
    monkeypatch.setattr(module_stack, "can_be_flat", lambda tensors: False)
    apart = case.whole(CPU, None)
    for table in ("statistics", "metrics"):
        one, other = getattr(together, table), getattr(apart, table)
        assert list(one) == list(other)
        for column in one.select_dtypes("number"):
            found, expected = (torch.as_tensor(of[column].to_numpy()) for of in (one, other))
            torch.testing.assert_close(found, expected, rtol=2e-5, atol=1e-9, equal_nan=True)


def test_tensors_of_two_precisions_stay_apart() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(5, 4), nn.Linear(4, 3).double()

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.second(self.first(x).double())
            return out

    batch = GivenBatch(torch.randn(2, 6, 5), torch.randint(3, (2, 6)))
    for vectorised in (True, False):
        stack = ModuleReplicas(Mixed(), cross_entropy, 2, vectorised=vectorised)
        assert not isinstance(stack.parameters, FlatTensors)
        gradients = stack.gradients(batch)
        assert {g.dtype for g in gradients.values()} == {torch.float32, torch.float64}
        Update(stack.parameters, AdamW("adamw")).step(gradients, 0.1)
