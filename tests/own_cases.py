"""Modules, losses and data sets as people bring them; each once gave wrong numbers or a crash."""

import random

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import TensorDataset


def labelled(n: int = 40, classes: int = 3, features: int = 5):
    """n examples to train on and ten to validate on."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(n + 10, features)), rng.integers(0, classes, n + 10)
    return (x[:n], y[:n]), (x[n:], y[n:])


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))


# --- weights and layers


class Spectral(nn.Module):
    """A layer of complex weights on the Fourier coefficients of its input."""

    def __init__(self) -> None:
        super().__init__()
        self.filter = nn.Parameter(torch.randn(5, dtype=torch.cfloat))
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.fft.irfft(torch.fft.rfft(x) * self.filter, n=8))


def waves():
    return labelled(features=8)


class Recurrent(nn.Module):
    """The last state of an LSTM, or of a GRU."""

    def __init__(self, kind: str = "LSTM") -> None:
        super().__init__()
        self.rnn = getattr(nn, kind)(3, 4, batch_first=True)
        self.out = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(x)[0][:, -1])


def sequences(n: int = 32):
    x = np.random.default_rng(0).normal(size=(n + 8, 5, 3))
    y = x.sum(axis=(1, 2))[:, None]
    return (x[:n], y[:n]), (x[n:], y[n:])


def weight_normed() -> nn.Module:
    return nn.Sequential(nn.utils.weight_norm(nn.Linear(5, 8)), nn.Tanh(), nn.Linear(8, 3))


def scripted() -> nn.Module:
    return torch.jit.script(plain())


def lazy() -> nn.Module:
    return nn.Sequential(nn.LazyLinear(8), nn.Tanh(), nn.LazyLinear(3))


def drawn_by_numpy() -> nn.Module:
    module = plain()
    with torch.no_grad():
        module[0].weight.copy_(torch.from_numpy(np.random.normal(size=(8, 5))))  # noqa: NPY002
        module[0].bias.fill_(random.random())
    return module


def drawn_unseeded() -> nn.Module:
    module = plain()
    with torch.no_grad():
        module[0].weight.copy_(torch.from_numpy(np.random.default_rng().normal(size=(8, 5))))
    return module


def with_dropout_off() -> nn.Module:
    module = nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.5), nn.Linear(8, 3))
    module[1].eval()
    return module


def with_frozen_norm() -> nn.Module:
    body = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU()).requires_grad_(False)
    with torch.no_grad():
        body[1].running_mean.copy_(torch.linspace(-1, 1, 8))
    body.eval()
    return nn.Sequential(body, nn.Linear(8, 3))


def with_batch_norm() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


class NormalisesInPlace(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.sub_(0.1).div_(0.9))


def normalises_in_place() -> nn.Module:
    return NormalisesInPlace(5, 3)


def drops_in_place() -> nn.Module:
    return nn.Sequential(nn.Dropout(0.5, inplace=True), nn.Linear(5, 3))


class Squeezed(nn.Linear):
    """Loses the dimension of the batch if that has one example."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).squeeze()


def squeezed() -> nn.Module:
    return Squeezed(5, 1)


def one_column() -> nn.Module:
    return nn.Linear(5, 1)


def four_columns() -> nn.Module:
    return nn.Linear(5, 4)


class Tagger(nn.Module):
    def __init__(self, max_norm: float | None = None, sparse: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 6, max_norm=max_norm, sparse=sparse)
        self.out = nn.Linear(6, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(self.embedding(tokens))


class Remembering(nn.Linear):
    """Adds its last outputs to the next ones."""

    def forward(self, x: Tensor) -> Tensor:
        last, self.last = getattr(self, "last", 0.0), super().forward(x)
        return self.last + last


def remembering() -> nn.Module:
    return Remembering(5, 3)


class TwoInputs(nn.Module):
    """Named inputs, and scores among other outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(30, 8)
        self.out = nn.Linear(8, 3)

    def forward(self, tokens: Tensor, mask: Tensor) -> dict[str, Tensor]:
        state = (self.embedding(tokens) * mask[..., None]).sum(dim=1)
        return {"logits": self.out(state), "state": state}


# --- losses and metrics


def squares_of_all_pairs(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().mean()  # (b, 1) - (b,) is (b, b)


def one_minus_correlation(outputs: Tensor, targets: Tensor) -> Tensor:
    o = outputs[:, 0] - outputs[:, 0].mean()
    y = targets - targets.mean()
    return 1 - (o * y).mean() / (o.square().mean() * y.square().mean() + 1e-6).sqrt()


def of_tokens(scores: Tensor, tags: Tensor) -> Tensor:
    return functional.cross_entropy(scores.transpose(1, 2), tags)


weighted = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 20.0]))


def binary(logits: Tensor, targets: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits[:, 0], targets.float())


def summed(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(outputs, targets, reduction="sum")


def second_best(outputs: Tensor, targets: Tensor) -> Tensor:
    """Whether the label is not among the two largest scores."""
    return (outputs.topk(2, dim=-1).indices != targets[:, None]).all(dim=-1)


# --- data sets


def numbers():
    (x, _), (x_valid, _) = labelled()
    return (x, x[:, 0] - x[:, 1]), (x_valid, x_valid[:, 0] - x_valid[:, 1])


def signs(n: int = 40):
    (x, _), (x_valid, _) = labelled(n)
    return (x, (x[:, 0] > 0.4).astype(int)), (x_valid, (x_valid[:, 0] > 0.4).astype(int))


def by_class():
    """Training data sorted by class, the last one rare."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 5)), np.sort(rng.choice(3, p=[0.6, 0.3, 0.1], size=50))
    valid = np.random.default_rng(1).permutation(50)[:10]
    train = np.setdiff1d(np.arange(50), valid)
    return (x[train], y[train]), (x[valid], y[valid])


def tokens(n: int = 32):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 20, size=(n + 8, 7)), rng.integers(0, 4, size=(n + 8, 7))
    for row in range(n + 8):
        y[row, rng.integers(1, 8) :] = -100  # what follows is padding
    return (x[:n], y[:n]), (x[n:], y[n:])


def several_labels():
    (x, _), (x_valid, _) = labelled()
    return (x, (x[:, :4] > 0).astype(int)), (x_valid, (x_valid[:, :4] > 0).astype(int))


def masked(n: int = 24):
    rng = np.random.default_rng(0)
    ids, mask, y = (
        rng.integers(1, 30, (n + 8, 6)),
        rng.random((n + 8, 6)) < 0.7,
        rng.integers(0, 3, n + 8),
    )

    def part(chosen: slice):
        return {"tokens": ids[chosen], "mask": mask[chosen]}, y[chosen]

    return part(slice(n)), part(slice(n, None))


def unseeded():
    x = np.random.default_rng().normal(size=(50, 5))
    return (x[:40], np.arange(40) % 3), (x[40:], np.arange(10) % 3)


def seeded_by_the_pipeline():
    x, y = np.random.normal(size=(50, 5)), np.random.randint(0, 3, 50)  # noqa: NPY002
    return (x[:40], y[:40]), (x[40:], y[40:])


def torch_datasets():
    def of(n: int) -> TensorDataset:
        return TensorDataset(torch.randn(n, 5), torch.randint(0, 3, (n,)))

    return of(40), of(10)


def named():
    names = np.array(["cat", "dog", "emu"])
    (x, y), (x_valid, y_valid) = labelled()
    return (x, names[y]), (x_valid, names[y_valid])


def images():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (50, 5), dtype=np.uint8), rng.integers(0, 3, 50)
    return (x[:40], y[:40]), (x[40:], y[40:])


def from_a_file(path: str):
    x = np.loadtxt(path)
    y = np.arange(len(x)) % 3
    return (x[:40], y[:40]), (x[40:], y[40:])


def prints_and_ends():
    print("no such table")
    raise SystemExit("give a table")
