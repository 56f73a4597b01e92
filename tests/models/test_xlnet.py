"""The XLNet classifier: its size, its padding, its weights, and its replicas in two ways."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pipeline_lib.data.tokens import encode, train_vocabulary, vocabulary_size
from pipeline_lib.errors import ConfigError
from pipeline_lib.models.transformer.xlnet import xlnet_module
from pipeline_lib.seeding import seed_sequence
from pipeline_lib.training.dropout_stack import DropoutReplicas
from pipeline_lib.training.labelled import GivenBatch

STREAM = seed_sequence(5, "dropout")
VOCABULARY = 30


TINY = {"d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 24, "dropout": 0.0}
PAPER = {"d_model": 384, "n_layer": 6, "n_head": 12, "d_inner": 4096, "dropout": 0.1}


def tiny(dropout: float = 0.0, seed: int = 0) -> nn.Module:
    return xlnet_module(VOCABULARY, TINY | {"dropout": dropout}, seed=seed)


def sharp(dropout: float = 0.0) -> nn.Module:
    """Weights ten times as large, in float64: attention and scores far from uniform."""
    module = tiny(dropout).double()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "layer_norm" not in name:
                parameter.mul_(10)
    return module


def batches(n_replicas: int, b: int = 4, length: int = 9, seed: int = 1) -> GivenBatch:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, VOCABULARY, (n_replicas, b, length), generator=generator)
    ids[:, ::2, :3] = 0
    return GivenBatch(ids, torch.randint(2, (n_replicas, b), generator=generator))


def stack(replicas: range, dropout: float, vectorised: bool = False) -> DropoutReplicas:
    return DropoutReplicas(sharp(dropout), cross_entropy, replicas, STREAM, vectorised=vectorised)


def test_the_papers_network_has_the_papers_size() -> None:
    with torch.device("meta"):
        module = xlnet_module(31_246, PAPER)
    assert sum(p.numel() for p in module.parameters()) == 35_493_122
    with torch.device("meta"):
        public = xlnet_module(32_000, PAPER)
    assert sum(p.numel() for p in public.parameters()) == 35_782_658


def test_padding_changes_no_score() -> None:
    texts = ["good food and good people", "bad", "the food was cold and the people were loud"] * 4
    model = train_vocabulary(texts, VOCABULARY)
    module = sharp().eval()
    assert vocabulary_size(model) <= VOCABULARY
    short, long = (encode(model, texts, length) for length in (40, 64))
    assert (short.attention_mask.sum(axis=1) < 40).all(), "nothing is cut off"
    with torch.no_grad():
        ours = module(torch.from_numpy(short.input_ids))
        padded = module(torch.from_numpy(long.input_ids))
        for row, mask, score in zip(short.input_ids, short.attention_mask, ours, strict=True):
            alone = module(torch.from_numpy(row[mask == 1][None]))
            assert_allclose(alone[0], score, atol=1e-6)
        assert_allclose(padded, ours, atol=1e-6)
        # The mask is that of `encode`, and does something.
        given = module.network(
            torch.from_numpy(short.input_ids).long(),
            attention_mask=torch.from_numpy(short.attention_mask).double(),
        ).logits
        bare = module.network(torch.from_numpy(short.input_ids).long()).logits
    assert torch.equal(given, ours)
    assert (bare - ours).abs().max() > 1e-3
    assert ours.std(dim=0).min() > 1e-3


def test_weights_are_drawn_from_the_seed_alone() -> None:
    before = torch.get_rng_state()
    one, same, other = (dict(tiny(seed=s).named_parameters()) for s in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    drawn = [name for name in one if not torch.equal(one[name], other[name])]
    for name, weight in one.items():
        assert torch.equal(weight, same[name])
        values = set(weight.detach().flatten().tolist())
        assert name in drawn or values in ({0.0}, {1.0}), name
    entries = torch.cat([one[name].detach().flatten() for name in drawn])
    assert_allclose(float(entries.std()), 0.02, rtol=0.05)
    assert abs(float(entries.mean())) < 5 * 0.02 / len(entries) ** 0.5
    wide = dict(xlnet_module(VOCABULARY, TINY, scale=0.3, seed=3).named_parameters())
    for name, weight in wide.items():
        assert_allclose(weight.detach(), one[name].detach() * (15 if name in drawn else 1), 1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_head": 3}, "n_head 3"),
        ({"d_model": 15, "n_head": 3}, "d_model 15"),
        ({"dropout": 1.0}, "dropout 1.0"),
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        xlnet_module(VOCABULARY, TINY | change)


def test_replicas_have_the_gradients_of_autograd_in_both_ways() -> None:
    batch = batches(3)
    module = sharp().eval()
    expected: dict[str, list[Tensor]] = {name: [] for name, _ in module.named_parameters()}
    losses, wrong = [], []
    for x, y in zip(batch.x, batch.y, strict=True):
        module.zero_grad()
        scores = module(x)
        loss = cross_entropy(scores, y)
        loss.backward()
        losses.append(loss.item())
        wrong.append((scores.argmax(dim=1) != y).sum().item())
        for name, p in module.named_parameters():
            expected[name].append(torch.zeros_like(p) if p.grad is None else p.grad.clone())
    for vectorised in (False, True):
        result = stack(range(3), 0.0, vectorised).gradients_at(0, batch)
        for name, gradient in result.gradients.items():
            assert_allclose(gradient, torch.stack(expected[name]), rtol=1e-9, atol=1e-13)
        assert_allclose(result.loss, losses, rtol=1e-12)
        assert_allclose(result.wrong, wrong)


def flat(gradients: dict[str, Tensor]) -> Tensor:
    return torch.cat([gradient.flatten(start_dim=1) for gradient in gradients.values()], dim=1)


@pytest.mark.parametrize("vectorised", [False, True])
def test_dropout_differs_by_replica_and_step_and_repeats(vectorised: bool) -> None:
    one = batches(1)
    batch = GivenBatch(one.x.expand(2, -1, -1), one.y.expand(2, -1))
    replicas = stack(range(2), 0.5, vectorised)
    before = torch.get_rng_state()
    first = flat(replicas.gradients_at(0, batch).gradients).clone()
    second = flat(replicas.gradients_at(1, batch).gradients).clone()
    again = flat(stack(range(2), 0.5, vectorised).gradients_at(1, batch).gradients)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(second, again)
    apart = 0.1 * first[0].norm()
    assert (first[0] - first[1]).norm() > apart
    assert (first - second).norm(dim=1).min() > apart


def test_dropout_does_not_depend_on_the_group() -> None:
    batch = batches(3)
    whole = flat(stack(range(3), 0.5).gradients_at(7, batch).gradients)
    part = GivenBatch(batch.x[1:], batch.y[1:])
    assert_allclose(whole[1:], flat(stack(range(1, 3), 0.5).gradients_at(7, part).gradients))


@pytest.mark.parametrize("vectorised", [False, True])
def test_evaluation_is_without_dropout(vectorised: bool) -> None:
    batch = batches(1, b=10)
    result = stack(range(2), 0.5, vectorised).evaluate(batch.x[0], batch.y[0], chunk=4)
    module = sharp().eval()
    with torch.no_grad():
        scores = module(batch.x[0])
    assert_allclose(result.loss, [cross_entropy(scores, batch.y[0])] * 2, rtol=1e-10)
    wrong = (scores.argmax(dim=1) != batch.y[0]).double().mean()
    assert_allclose(result.error, np.full(2, wrong))
