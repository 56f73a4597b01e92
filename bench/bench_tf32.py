"""What TF32 in evaluations does to the losses of the MNIST network, emulated on a CPU.

    python bench/bench_tf32.py [--runs 10] [--results results/quick]

A GPU takes the factors of a product with 10 bits of mantissa and adds in float32. So does this,
with factors rounded to the nearest or, which tensor cores do to what they read as float32, cut. A
change of the mean loss is to be held against the standard error of that mean, which is that of the
runs made here and shrinks as one over the root of their number. Without the images that `make
report` prepares, the examples are made up.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
import yaml
from bench_precision import material
from torch import Tensor
from torch.nn.functional import cross_entropy

from pipeline_lib.models import MODELS
from pipeline_lib.models.perceptron.replicas import MlpReplicas
from pipeline_lib.sampling.epochs import EpochSampler
from pipeline_lib.seeding import seed_sequence
from pipeline_lib.study.config import load_study
from pipeline_lib.training.labelled import ChosenBatch

REPOSITORY = Path(__file__).resolve().parent.parent
_DROPPED = 13  # of the 23 bits of float32's mantissa


def to_nearest(x: Tensor) -> Tensor:
    """float32 numbers rounded to TF32, ties away from 0."""
    bits = x.contiguous().view(torch.int32)
    return ((bits + (1 << (_DROPPED - 1))) >> _DROPPED << _DROPPED).view(torch.float32)


def towards_zero(x: Tensor) -> Tensor:
    """float32 numbers cut to TF32."""
    bits = x.contiguous().view(torch.int32)
    return (bits >> _DROPPED << _DROPPED).view(torch.float32)


@torch.no_grad()
def losses(
    weights: dict[str, Tensor],
    x: Tensor,
    y: Tensor,
    rounded: Callable[[Tensor], Tensor] = lambda x: x,
) -> Tensor:
    """Mean cross-entropy of each perceptron, (R,) float64, factors of products ``rounded``."""
    n_layers, found = len(weights) // 2, []
    for r in range(len(weights["W1"])):
        total = torch.zeros((), dtype=torch.float64)
        for inputs, labels in zip(x.split(2000), y.split(2000), strict=True):
            h = inputs
            for k in range(1, n_layers + 1):
                w, b = weights[f"W{k}"][r], weights[f"b{k}"][r]
                h = torch.addmm(b, rounded(h), rounded(w).T)
                h = h.relu() if k < n_layers else h
            total += cross_entropy(h, labels, reduction="none").sum(dtype=torch.float64)
        found.append(total / len(y))
    return torch.stack(found)


def report(name: str, stack: MlpReplicas, sets: dict[str, tuple[Tensor, Tensor]]) -> None:
    """One row of the table for each split."""
    for split, (x, y) in sets.items():
        exact = losses(stack.parameters, x, y)
        error = float(exact.std()) / len(exact) ** 0.5
        cells = [f"{float(exact.mean()):.4g}", f"{error:.2g}"]
        for rounded in (to_nearest, towards_zero):
            change = float((losses(stack.parameters, x, y, rounded) - exact).mean())
            cells.append(f"{change:.2g} ({abs(change) / error:.2g})")
        print(f"| {name} | {split} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--results", type=Path, default=REPOSITORY / "results" / "quick")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    raw = yaml.safe_load((REPOSITORY / "config.yaml").read_text())
    experiment = load_study(raw | {"scale": "paper"}, MODELS).experiments["mnist"]
    weights, examples, is_own = material(experiment, options.results)
    sets = {
        split: (torch.as_tensor(examples[split][0]), torch.as_tensor(examples[split][1]).long())
        for split in ("training", "validation")
    }
    start = {name: torch.as_tensor(w).float() for name, w in weights.items()}
    print(f"{options.runs} runs, b = 64{'' if is_own else ', made-up examples'}\n")
    print("Changes, in brackets by the standard error:\n")
    print("| after | split | loss | its standard error | to the nearest | cut |")
    print("|---|---|---|---|---|---|")
    # The paper's rate on its examples; and, so that losses become small, a larger one on fewer.
    for name, n, rate, epochs in (
        ("paper", len(sets["training"][1]), 0.003, (1, 3)),
        ("large rate", 6000, 0.1, (2, 10, 40)),
    ):
        stack = MlpReplicas(start, options.runs, options.threads)
        x, y = (of[:n] for of in sets["training"])
        sampler = EpochSampler(n, 64, options.runs, seed_sequence(1, "orders"))
        for epoch in range(max(epochs)):
            order = torch.from_numpy(sampler.order(epoch))
            batches = [ChosenBatch(x, y, chosen) for chosen in order.split(64, dim=1)]
            for first in range(0, len(batches), 64):
                some = batches[first : first + 64]
                stack.descend_through(some, [rate] * len(some))
            if epoch + 1 in epochs:
                of = {"training": (x[:10_000], y[:10_000]), "validation": sets["validation"]}
                report(f"{epoch + 1} epochs, {name}", stack, of)


if __name__ == "__main__":
    main()
