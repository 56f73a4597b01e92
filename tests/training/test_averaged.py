"""Variances averaged over the mini-batches that could have been drawn, against enumeration."""

from collections.abc import Mapping
from itertools import combinations, permutations, product

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor, nn
from torch.nn import functional

from pipeline_lib.estimation.statistics import FULL, STOCHASTIC, statistics_rows
from pipeline_lib.models.perceptron.replicas import MlpReplicas
from pipeline_lib.sampling.epochs import EpochSampler
from pipeline_lib.training.averaged import Draw, averaged_report
from pipeline_lib.training.dropout_stack import DropoutReplicas
from pipeline_lib.training.epoch_plan import EpochData, EpochPlan
from pipeline_lib.training.epoch_run import EpochRun
from pipeline_lib.training.example_gradients import moments_of_examples
from pipeline_lib.training.gradient_records import all_moments
from pipeline_lib.training.labelled import ChosenBatch, ExampleMoments
from pipeline_lib.training.module_stack import ModuleReplicas
from pipeline_lib.training.report import Report, gather_record

STREAM = np.random.SeedSequence(5)


def problem(n: int) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """A perceptron of 3-2-2 units and n examples, float64."""
    generator = torch.Generator().manual_seed(3)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    weights = {"W1": normal(2, 3), "b1": normal(2), "W2": normal(2, 2), "b2": normal(2)}
    return weights, normal(n, 3), torch.randint(2, (n,), generator=generator)


class AllSequences(EpochSampler):
    """One replica for every sequence of draws: ``orders`` by epoch and ``subsets`` by step."""

    orders: list[np.ndarray]
    subsets: dict[int, np.ndarray] | None = None

    def order(self, epoch: int) -> np.ndarray:
        return self.orders[epoch]

    def drawn_from(self, epoch: int, place: int, order: np.ndarray, most: int) -> np.ndarray:
        if self.subsets is None:
            return super().drawn_from(epoch, place, order, most)
        return self.subsets[epoch * self.steps_per_epoch + place]


def statistics(sampler: AllSequences, n: int, plan: EpochPlan) -> pd.DataFrame:
    """The rows of a training whose replicas are all sequences of draws, indexed."""
    weights, x, y = problem(n)
    stack = MlpReplicas(weights, plan.n_replicas)
    run = EpochRun(stack, sampler, EpochData(x, y, {}), plan)
    run.train(lambda run: None)
    rows = run.tables()["statistics"]
    return rows.set_index(["quantity", "estimator", "tensor", "step"]).sort_index()


def plan_of(sampler: EpochSampler, epochs: int, recorded: list[int], examples: int) -> EpochPlan:
    return EpochPlan(
        learning_rates=[0.7] * (epochs * sampler.steps_per_epoch),
        batch_size=sampler.batch_size,
        epochs=epochs,
        n_replicas=len(sampler.replicas),
        stream=STREAM,
        recorded=recorded,
        evaluated_epochs={},
        last_batch="keep" if sampler.short_last else "drop",
        sampling=sampler.sampling,
        averaged=examples,
    )


def expectations(rows: pd.DataFrame, quantity: str, estimator: str) -> pd.Series:
    """What `estimator` is in expectation over runs, each a sequence of equal probability.

    The sample variance of all R sequences has the divisor R - 1, their own variance has R.
    """
    chosen = rows.loc[quantity, estimator]
    own = chosen["conditional_variance"].where(chosen["conditional_m2"].notna(), 0.0)
    r = chosen["n_replicas"]
    return own + (chosen["contribution_mean"] - own) * (r - 1) / r


@pytest.mark.slow
@pytest.mark.parametrize(("n", "b", "last_batch"), [(5, 2, "keep"), (5, 2, "drop"), (6, 3, "keep")])
def test_epochs_equal_the_enumeration_of_all_orders(n: int, b: int, last_batch: str) -> None:
    orders = np.array(list(permutations(range(n))))
    sampler = AllSequences(n, b, len(orders), STREAM, last_batch)  # type: ignore[arg-type]
    sampler.orders = [orders]
    recorded = list(range(n // b))
    full = None
    for examples in range(b, n + 1):
        rows = statistics(sampler, n, plan_of(sampler, 1, recorded, examples))
        enumerated = expectations(rows, STOCHASTIC, "sample")
        averaged = expectations(rows, STOCHASTIC, "rao_blackwell")
        assert_allclose(averaged, enumerated, rtol=1e-11)
        # The variance of the mean over all that is left is the same from any number of them.
        of_full = expectations(rows, FULL, "sample")
        if examples == n:
            assert rows.loc[FULL, "sample"]["conditional_m2"].max() < 1e-25
        full = of_full if full is None else full
        assert_allclose(of_full, full, rtol=1e-10, atol=1e-12)
    assert enumerated.min() > 1e-3


@pytest.mark.slow
def test_the_second_epoch_equals_the_enumeration_of_pairs_of_orders() -> None:
    n, b = 4, 2
    pairs = list(product(permutations(range(n)), repeat=2))
    sampler = AllSequences(n, b, len(pairs), STREAM)
    sampler.orders = [np.array([pair[epoch] for pair in pairs]) for epoch in range(2)]
    for examples in (2, 3, 4):
        rows = statistics(sampler, n, plan_of(sampler, 2, [0, 1, 2, 3], examples))
        enumerated = expectations(rows, STOCHASTIC, "sample")
        averaged = expectations(rows, STOCHASTIC, "rao_blackwell")
        assert_allclose(averaged, enumerated, rtol=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize("sampling", ["fresh", "with_replacement"])
@pytest.mark.parametrize("examples", [2, 3, 4])
def test_batches_drawn_afresh_equal_enumeration(sampling: str, examples: int) -> None:
    n, b = 4, 2
    if sampling == "fresh":
        batches = list(combinations(range(n), b))
    else:
        batches = list(product(range(n), repeat=b))
    subsets = list(combinations(range(n), examples))
    sequences = list(product(batches, subsets, batches))
    sampler = AllSequences(n, b, len(sequences), STREAM, sampling=sampling)  # type: ignore[arg-type]
    sampler.orders = [np.array([first + second for first, _, second in sequences])]
    sampler.subsets = {1: np.array([subset for _, subset, _ in sequences])}
    rows = statistics(sampler, n, plan_of(sampler, 1, [1], examples))
    enumerated = expectations(rows, STOCHASTIC, "sample")
    averaged = expectations(rows, STOCHASTIC, "rao_blackwell")
    assert_allclose(averaged, enumerated, rtol=1e-11)


@pytest.mark.slow
def test_examples_are_uniform_subsets_of_what_batches_are_drawn_from() -> None:
    for sampling in ("fresh", "with_replacement"):
        sampler = EpochSampler(5, 2, 4000, STREAM, sampling=sampling)  # type: ignore[arg-type]
        drawn = sampler.drawn_from(0, 1, sampler.order(0), 3)
        assert all(len(set(one)) == 3 for one in drawn.tolist())
        counts = np.bincount(drawn.ravel(), minlength=5)
        # Each example is in a subset of 3 of 5 with probability 3/5.
        assert (abs(counts - 2400) < 5 * np.sqrt(4000 * 0.24)).all()
        assert (drawn != sampler.drawn_from(0, 2, sampler.order(0), 3)).any()
        assert (sampler.drawn_from(0, 1, sampler.order(0), 9) == np.arange(5)).all()
        # Some of them, at random: each of five in two of them with probability 2/5.
        some = sampler.some_of(sampler.drawn_from(0, 1, sampler.order(0), 9), 0, 1, 2)
        counts = np.bincount(some.ravel(), minlength=5)
        assert (abs(counts - 1600) < 5 * np.sqrt(4000 * 0.24)).all()
        assert all(len(set(one)) == 2 for one in some.tolist())
    sampler = EpochSampler(5, 2, 3, STREAM)
    order = sampler.order(0)
    assert (sampler.drawn_from(0, 1, order, 2) == order[:, 2:4]).all()
    assert (sampler.drawn_from(0, 1, order, 9) == order[:, 2:]).all()
    with pytest.raises(ValueError, match="shuffled once"):
        EpochSampler(5, 2, 3, STREAM, sampling="shuffled_once").drawn_from(0, 0, order, 2)


@pytest.mark.parametrize("vectorised", [True, False])
def test_modules_equal_the_hand_derived_network(vectorised: bool) -> None:
    weights, x, y = problem(30)
    module = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2)).double()
    names = {"W1": "0.weight", "b1": "0.bias", "W2": "2.weight", "b2": "2.bias"}
    module.load_state_dict({long: weights[short] for short, long in names.items()})
    stack = ModuleReplicas(module, functional.cross_entropy, 3, vectorised=vectorised)
    derived = MlpReplicas(weights, 3)
    for short, long in names.items():
        moved = derived.parameters[short] + torch.arange(3.0).view(3, *[1] * weights[short].ndim)
        derived.parameters[short].copy_(moved)
        stack.parameters[long].copy_(moved)
    chosen = torch.from_numpy(
        np.random.default_rng(0).permuted(np.tile(np.arange(30), (3, 1)), axis=1)
    )
    examples = ChosenBatch(x, y, chosen[:, :20])
    expected, found = (s.example_moments(0, examples, examples) for s in (derived, stack))
    for short, long in names.items():
        assert_allclose(found.gradients[long], expected.gradients[short], rtol=1e-11, atol=1e-14)
        assert_allclose(found.sq_norms[long], expected.sq_norms[short], rtol=1e-11)
        assert (found.own_noise[long] == 0).all()


def test_gradients_and_norms_are_those_of_single_examples() -> None:
    weights, x, y = problem(2500)  # more than are taken at once
    stack = MlpReplicas(weights, 2)
    chosen = torch.stack([torch.arange(2500), torch.arange(2500).flip(0)])
    examples = ChosenBatch(x, y, chosen)
    found = stack.example_moments(0, examples, examples)
    single = MlpReplicas(weights, 2500).gradients(ChosenBatch(x, y, torch.arange(2500)[:, None]))
    for name, gradients in single.items():
        expected = gradients.flatten(1).square().sum(dim=1).mean().expand(2)
        assert_allclose(found.sq_norms[name], expected, rtol=1e-11)
        assert_allclose(found.gradients[name][0], gradients.mean(dim=0), rtol=1e-9, atol=1e-13)


class Halves:
    """Two units, each kept with probability 1/2 and doubled: gradients of (w . m x - y)² / 2."""

    x = torch.tensor([[1.0, 2.0], [-1.0, 0.5], [0.3, -2.0]], dtype=torch.float64)
    y = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
    weights = torch.tensor([0.7, -1.3], dtype=torch.float64)
    masks = torch.tensor([[0.0, 0.0], [0.0, 2.0], [2.0, 0.0], [2.0, 2.0]], dtype=torch.float64)

    def gradient(self, example: int, mask: Tensor) -> Tensor:
        inputs = mask * self.x[example]
        return (self.weights @ inputs - self.y[example]) * inputs


@pytest.mark.slow
@pytest.mark.parametrize("with_replacement", [False, True])
@pytest.mark.parametrize(("b", "chosen"), [(1, 2), (1, 3), (2, 2), (2, 3)])
def test_dropout_equals_the_enumeration_of_masks(
    b: int, chosen: int, with_replacement: bool
) -> None:
    """Three examples, masks of two units: every mini-batch and every choice, with all masks."""
    halves = Halves()
    gradients = torch.stack(
        [torch.stack([halves.gradient(i, mask) for mask in halves.masks]) for i in range(3)]
    )
    if with_replacement:
        batches = list(product(range(3), repeat=b))
    else:
        batches = list(combinations(range(3), b))
    means = [
        torch.stack([gradients[i, mask] for i, mask in zip(batch, masks, strict=True)]).mean(dim=0)
        for batch in batches
        for masks in product(range(4), repeat=b)
    ]
    of_batch = float(torch.stack(means).var(dim=0, correction=0).sum())
    subsets = list(combinations(range(3), chosen))
    # Each replica is a subset with its masks, and the second masks of its examples.
    replicas = [
        (subset, first, second)
        for subset in subsets
        for first in product(range(4), repeat=chosen)
        for second in product(range(4), repeat=chosen)
    ]
    calls = np.zeros(len(replicas), dtype=int)

    def of_replica(r: int, x: Tensor, y: Tensor) -> Mapping[str, Tensor]:
        subset, *draws = replicas[r]
        # The mean; then twice for the variance of the draws.
        masks = draws[max(0, calls[r] - 1)]
        calls[r] += 1
        return {"w": torch.stack([gradients[i, m] for i, m in zip(subset, masks, strict=True)])}

    indices = torch.tensor([subset for subset, _, _ in replicas])
    examples = ChosenBatch(halves.x, halves.y, indices)
    parameters = {"w": halves.weights.expand(len(replicas), 2)}
    found = moments_of_examples(parameters, examples, examples, of_replica)
    report = averaged_report(found, Draw(b, chosen, 3, with_replacement), True)
    conditional, excess = (
        float(part["all"].mean()) for part in (report.conditional, report.excess)
    )
    assert conditional == pytest.approx(of_batch, rel=1e-12)
    spread = found.gradients["w"].var(dim=0, correction=0).sum()
    assert excess == pytest.approx(float(spread), rel=1e-12)
    sq_gradient = found.gradients["w"].square().sum(dim=1).mean() - excess
    assert sq_gradient == pytest.approx(float(gradients.mean(dim=(0, 1)).square().sum()), rel=1e-9)


@pytest.mark.slow
def test_dropout_of_a_stack_agrees_with_the_enumeration() -> None:
    halves = Halves()
    module = nn.Sequential(nn.Dropout(0.5), nn.Linear(2, 1, bias=False)).double()
    with torch.no_grad():
        module[1].weight.copy_(halves.weights)

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs[:, 0] - targets).square().mean() / 2

    n_replicas = 600
    stack = DropoutReplicas(module, loss, range(n_replicas), STREAM)
    stack._is_checked = True  # a regression has no wrong labels to check
    every = ChosenBatch(halves.x, halves.y, torch.arange(3).expand(n_replicas, 3))
    before = torch.random.get_rng_state()
    found = stack.example_moments(4, every, every)
    assert torch.equal(torch.random.get_rng_state(), before)
    report = averaged_report(found, Draw(1, 3, 3), True)
    gradients = torch.stack(
        [torch.stack([halves.gradient(i, mask) for mask in halves.masks]) for i in range(3)]
    )
    exact = float(gradients.flatten(0, 1).var(dim=0, correction=0).sum())
    values = report.conditional["all"].numpy()
    assert abs(values.mean() - exact) < 5 * values.std() / np.sqrt(n_replicas)
    own = float(gradients.var(dim=1, correction=0).sum(dim=1).mean())
    noise = found.own_noise["1.weight"].numpy()
    assert abs(noise.mean() - own) < 5 * noise.std() / np.sqrt(n_replicas)
    # Replicas and steps have draws of their own, the same each time.
    again, later = (stack.example_moments(s, every, every) for s in (4, 5))
    assert torch.equal(again.sq_norms["1.weight"], found.sq_norms["1.weight"])
    assert not torch.equal(later.sq_norms["1.weight"], found.sq_norms["1.weight"])
    assert found.sq_norms["1.weight"].std() > 0


def test_a_single_example_that_is_left_has_no_variance() -> None:
    moments = ExampleMoments(
        {"w": torch.tensor([[3.0], [4.0]])}, {"w": torch.tensor([9.0, 16.0])}, {}
    )
    report = averaged_report(moments, Draw(1, 1, 1), True)
    assert (report.conditional["all"] == 0).all()
    assert (report.excess["all"] == 0).all()


def test_tensors_add_up_to_all_together() -> None:
    weights, x, y = problem(9)
    stack = MlpReplicas(weights, 4)
    chosen = torch.arange(9).expand(4, 9)
    reports: list[Report] = []
    for per_tensor in (True, False):
        examples = ChosenBatch(x, y, chosen)
        found = stack.example_moments(0, examples, examples)
        report = averaged_report(found, Draw(2, 9, 9), per_tensor)
        gradients = stack.gradients(ChosenBatch(x, y, chosen[:, :2]))
        reports.append(report.with_moments(all_moments(STOCHASTIC, gradients, per_tensor)))
    frames = [
        statistics_rows(gather_record(np.array([0]), [report]), np.array([0])) for report in reports
    ]
    every, together = (f[f["tensor"] == "all"].set_index(["quantity", "estimator"]) for f in frames)
    assert len(frames[0]) == 5 * len(frames[1]) == 15
    numbers = ["contribution_mean", "contribution_m2", "conditional_variance", "mean_sq_norm"]
    assert_allclose(every[numbers], together.loc[every.index, numbers], rtol=1e-12)
