"""Kinds of loss, told from single examples, pairs and all together."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline_lib.errors import ConfigError
from pipeline_lib.models.module.own_data import load_data
from pipeline_lib.models.module.own_loss import make_loss
from pipeline_lib.models.module.own_objective import objective_of
from pipeline_lib.study.model import COUPLED, MEAN, WEIGHTED


def examples(n: int = 200, rare: int = 1) -> tuple[Tensor, Tensor]:
    """n examples of three classes, of which the last has ``rare``."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(2, (n,), generator=generator)
    y[n // 3 : n // 3 + rare] = 2
    return torch.randn(n, 4, generator=generator), y


def module(zero_head: bool = False) -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    if zero_head:
        nn.init.zeros_(net[2].weight)
        nn.init.zeros_(net[2].bias)
    return net


def contrastive(outputs: Tensor, targets: Tensor) -> Tensor:
    """Each example against all others of the batch."""
    similarity = outputs @ outputs.T
    return functional.cross_entropy(similarity, torch.arange(len(outputs)))


def weights(*values: float):
    return make_loss(functional.cross_entropy, {"weight": list(values)}, "float32")


@pytest.mark.parametrize("zero_head", [False, True])
@pytest.mark.parametrize(
    ("loss", "kind"),
    [
        (functional.cross_entropy, MEAN),
        (nn.CrossEntropyLoss(label_smoothing=0.1), MEAN),
        (lambda o, t: functional.multi_margin_loss(o, t), MEAN),
        (weights(1.0, 1.2, 1.0), WEIGHTED),
        (weights(1.0, 1.0, 20.0), WEIGHTED),  # one example of 200 has another weight
        (weights(1.0, 1.0, 0.0), WEIGHTED),
        (contrastive, COUPLED),
    ],
)
def test_kinds(loss, kind, zero_head: bool) -> None:
    """A last layer of zeros, which gives every example one loss, hides nothing."""
    assert objective_of(module(zero_head), loss, examples()).kind == kind


def test_a_rare_label_that_is_ignored_makes_a_weighted_mean() -> None:
    loss = make_loss(functional.cross_entropy, {"ignore_index": 2}, "float32")
    assert objective_of(module(), loss, examples()).kind == WEIGHTED


def test_normalisation_over_the_batch_couples_examples() -> None:
    net = nn.Sequential(
        nn.Linear(4, 5), nn.BatchNorm1d(5, track_running_stats=False), nn.Linear(5, 3)
    )
    assert objective_of(net, functional.cross_entropy, examples()).kind == COUPLED


def test_dropout_does_not_couple_them() -> None:
    net = nn.Sequential(nn.Linear(4, 5), nn.Dropout(0.5), nn.Linear(5, 3))
    state = torch.random.get_rng_state()
    assert objective_of(net, functional.cross_entropy, examples()).kind == MEAN
    assert net[1].training
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_module_that_takes_no_single_example_is_judged_in_pairs() -> None:
    class Squeezed(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).squeeze()

    x, y = examples()
    net, loss = Squeezed(4, 1), functional.binary_cross_entropy_with_logits
    with pytest.raises(ValueError, match="Target size"):
        loss(net(x[:1]), y[:1].float())
    assert objective_of(net, loss, (x, (y > 0).float())).kind == MEAN


def test_a_sum_is_refused() -> None:
    loss = make_loss(functional.cross_entropy, {"reduction": "sum"}, "float32")
    with pytest.raises(ConfigError, match=r"and it is their sum: .* divided by their number"):
        objective_of(module(), loss, examples())


def test_frames_sparse_matrices_lists_and_memory_maps_are_taken(tmp_path) -> None:
    import pandas as pd
    from scipy import sparse

    x, y = (part.numpy() for part in examples())
    np.save(tmp_path / "x.npy", x)
    forms = {
        "array": (x, y),
        "frame": (pd.DataFrame(x), pd.Series(y)),
        "sparse": (sparse.csr_array(x), y),
        "map": (np.load(tmp_path / "x.npy", mmap_mode="r"), y),
        "lists": (x.tolist(), y.tolist()),
    }
    digests = {load_data(lambda f=f: (f, f), {}, "float32").digest() for f in forms.values()}
    assert len(digests) == 1
    bad = pd.DataFrame({"a": [1.0], "when": ["today"]})
    with pytest.raises(ConfigError, match=r"columns \['when'\] of a frame hold no numbers"):
        load_data(lambda: ((bad, [0]), (bad, [0])), {}, "float32")


def test_what_does_not_fit_the_memory_is_refused_before_it_is_made(monkeypatch) -> None:
    from scipy import sparse

    monkeypatch.setattr("pipeline_lib.models.module.own_data.free_memory", lambda: 2**30)
    huge = sparse.csr_array((10**6, 10**5))
    with pytest.raises(ConfigError, match="take 762939 MiB of memory, 1024 MiB are free"):
        load_data(lambda: ((huge, [0]), (huge, [0])), {}, "float32")


def test_a_pair_may_be_an_iterator() -> None:
    xs, ys = (np.ones((4, 2)), np.ones((3, 2))), (np.zeros(4, int), np.zeros(3, int))
    sets = load_data(lambda: zip(xs, ys, strict=True), {}, "float32").sets
    assert [len(sets[split][1]) for split in ("training", "validation")] == [4, 3]


class Counted(torch.utils.data.Dataset):
    """Items of 400 bytes and a label of 8; how many were read."""

    def __init__(self, n: int) -> None:
        self.n, self.reads = n, 0

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> tuple[np.ndarray, int]:
        self.reads += 1
        return np.full(100, i, dtype=np.float32), i % 3


def test_what_is_larger_than_memory_is_refused_before_it_is_read(tmp_path, monkeypatch) -> None:
    """With a limit of 1 MiB, of which 80 % are allowed; nothing here is really large."""
    monkeypatch.setattr("pipeline_lib.models.module.own_data.free_memory", lambda: 2**20)
    large, small = Counted(2000), Counted(500)
    with pytest.raises(ConfigError, match="take 1 MiB of memory, 1 MiB are free; allowed is what"):
        load_data(lambda: (large, Counted(10)), {}, "float32")
    assert large.reads == 1
    assert len(load_data(lambda: (small, Counted(10)), {}, "float32").sets["training"][1]) == 500
    # A memory map is more than nothing has read of it, and 8-bit images stay small.
    for kind, is_taken in (("float32", False), ("uint8", True), ("bool", True)):
        shape = (800, 400)
        np.lib.format.open_memmap(tmp_path / kind, mode="w+", dtype=kind, shape=shape)
        x, y = np.load(tmp_path / kind, mmap_mode="r"), np.zeros(800, dtype=int)
        few = (x[:10], y[:10])
        if is_taken:
            load_data(lambda part=(x, y), few=few: (part, few), {}, "float32")
            continue
        with pytest.raises(ConfigError, match="1 MiB are free"):
            load_data(lambda part=(x, y), few=few: (part, few), {}, "float32")


def test_labels_that_only_later_items_show_to_be_longer_are_whole() -> None:
    items = [(np.ones(2), label) for label in ("ant", "giraffe", "emu")]

    class Named(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, i: int):
            return items[i]

    assert load_data(lambda: (Named(), Named()), {}, "float32").names == ("ant", "emu", "giraffe")
    items[2] = (np.ones(3), "emu")
    with pytest.raises(ConfigError, match="item 2 is not as the first"):
        load_data(lambda: (Named(), Named()), {}, "float32")


def test_a_class_of_torchvision_is_made_for_each_split() -> None:
    from torchvision.datasets import FakeData

    settings = {"image_size": [3, 8, 8], "num_classes": 4}
    arguments = {"training": {"size": 12, **settings}, "validation": {"size": 5, **settings}}
    data = load_data(FakeData, arguments, "float32")
    x, y = data.sets["training"]
    assert (x.shape, x.dtype.name) == ((12, 3, 8, 8), "uint8")
    assert set(y) <= set(range(4))
    assert len(data.sets["validation"][1]) == 5
    with pytest.raises(ConfigError, match="keys training and validation"):
        load_data(FakeData, {}, "float32")
