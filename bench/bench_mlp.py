"""Time of one run-iteration of the MNIST network, statistics included, on this machine.

    python bench/bench_mlp.py [--device cuda] > table.md

Compared are, for 784-1024-512-10 with biases in float32 on made-up images,

- `epoch_block` of the library, with the variance of every tensor recorded at the default cadence
  and without it;
- a plain PyTorch loop over runs (`nn.Sequential`, autograd, SGD), without statistics;
- `torch.func.vmap(grad)` over replicas with the update, without statistics.

The fraction of the peak counts the multiplications that the algebra needs (`multiply_adds`)
against a large float32 matrix product by torch, timed in turn with the rest. Times are the best of
several rounds; memory is what the block's own estimate says for one more replica.
"""

import argparse
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from pipeline_lib.models.initial_weights import network_weights, with_biases
from pipeline_lib.models.perceptron.cost import multiply_adds
from pipeline_lib.models.perceptron.memory import BlockSize, block_bytes
from pipeline_lib.models.perceptron.replicas import MlpReplicas
from pipeline_lib.sampling.epochs import recorded_steps
from pipeline_lib.training.epoch_plan import EpochData, EpochPlan
from pipeline_lib.training.epochs import epoch_block

LAYERS = (784, 1024, 512, 10)
PER_DECADE = 12  # recorded steps, as in config.yaml

Work = tuple[Callable[[], object], float]  # what to time, and what to divide its time by


def best(works: dict[str, Work], rounds: int, device: str) -> dict[str, float]:
    """Shortest time of each work. Rounds take turns, so that all meet the same disturbance."""

    def wait() -> None:
        if device != "cpu":
            torch.cuda.synchronize()

    times: dict[str, list[float]] = {name: [] for name in works}
    for work, _ in works.values():
        work()
    for _ in range(rounds):
        for name, (work, units) in works.items():
            wait()
            start = time.perf_counter()
            work()
            wait()
            times[name].append((time.perf_counter() - start) / units)
    return {name: min(values) for name, values in times.items()}


def gemm(device: str, n: int) -> Work:
    a, b, out = (torch.randn(n, n, device=device) for _ in range(3))
    return lambda: torch.mm(a, b, out=out), 2 * n**3


def images(n: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (n, LAYERS[0])).astype(np.float32)
    return x, rng.integers(0, LAYERS[-1], n)


def block(b: int, steps: int, n: int, threads: int, device: str, per_decade: int | None) -> Work:
    """The library: one epoch of ``steps`` steps of ``n`` replicas."""
    x, y = images(b * steps)
    start = {
        name: torch.as_tensor(weight.astype(np.float32), device=device)
        for name, weight in with_biases(network_weights(LAYERS, 2**0.5, 1, 0)).items()
    }
    recorded = [0] if per_decade is None else recorded_steps(steps, per_decade, steps, False)
    stream = np.random.SeedSequence(1)
    plan = EpochPlan(lambda step: 0.003, b, 1, n, stream, recorded, evaluated_epochs={})

    def work() -> None:
        data = EpochData.on(device, x, y, {})
        epoch_block(lambda replicas: MlpReplicas(start, len(replicas), threads), data, plan)

    return work, n * steps


def module(device: str) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(LAYERS):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1]).to(device)


def plain_loop(b: int, steps: int, device: str) -> Work:
    x, y = (torch.as_tensor(part, device=device) for part in images(b * steps))
    net, loss = module(device), nn.CrossEntropyLoss()
    sgd = torch.optim.SGD(net.parameters(), lr=0.003)

    def work() -> None:
        for part in torch.randperm(len(x), device=device).split(b):
            sgd.zero_grad()
            loss(net(x[part]), y[part]).backward()
            sgd.step()

    return work, steps


def vmapped(b: int, steps: int, n: int, device: str) -> Work:
    x, y = (torch.as_tensor(part, device=device) for part in images(b * steps))
    net = module(device)
    start = {name: p.detach().repeat(n, *[1] * p.ndim) for name, p in net.named_parameters()}

    def loss(parameters: Any, inputs: Any, labels: Any) -> Any:
        return nn.functional.cross_entropy(functional_call(net, parameters, inputs), labels)

    def work() -> None:
        parameters = dict(start)
        order = torch.stack([torch.randperm(len(x), device=device) for _ in range(n)])
        for part in order.split(b, dim=1):
            gradients = vmap(grad(loss))(parameters, x[part], y[part])
            parameters = {k: p - 0.003 * gradients[k] for k, p in parameters.items()}

    return work, n * steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--replicas", type=int, help="default: 8, on a GPU 50")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    device, threads, steps = options.device, options.threads, options.steps
    n = options.replicas or (8 if device == "cpu" else 50)
    torch.set_num_threads(threads)
    where = f"{threads} threads" if device == "cpu" else torch.cuda.get_device_name()
    print(f"{where}, float32, {n} replicas\n")
    print("| b | library, µs | with statistics, µs | of peak | plain loop, µs | vmap(grad), µs |"
          " faster than | MiB a replica |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|")
    for b in options.batch_sizes:
        times = best(
            {
                "peak": gemm(device, 2048 if device == "cpu" else 8192),
                "library": block(b, steps, n, threads, device, None),
                "recorded": block(b, steps, n, threads, device, PER_DECADE),
                "loop": plain_loop(b, steps, device),
                "vmap": vmapped(b, max(1, steps // 6), n, device),
            },
            options.rounds,
            device,
        )
        size = BlockSize(LAYERS, b, b * steps, threads=threads)
        memory = block_bytes(size, n + 1, device) - block_bytes(size, n, device)
        # At paper scale a block takes so many steps that 12 a decade cost nothing; at the default
        # scale some 40 of 1,600 steps are recorded.
        cadence = times["library"] + (times["recorded"] - times["library"]) * _share(steps)
        share = 2 * multiply_adds(LAYERS, b) * times["peak"] / cadence
        others = times["loop"], times["vmap"]
        print(
            f"| {b} | {times['library'] * 1e6:.0f} | {cadence * 1e6:.0f} | {share:.0%} | "
            + " | ".join(f"{t * 1e6:.0f}" for t in others)
            + f" | {', '.join(f'{t / cadence:.1f}×' for t in others)} | {memory / 2**20:.0f} |",
            flush=True,
        )


def _share(steps: int, in_all: int = 1600) -> float:
    """Recorded steps among ``in_all``, relative to those among ``steps``, less the one of both."""
    rate = (len(recorded_steps(in_all, PER_DECADE, in_all, False)) - 1) / in_all
    return rate / ((len(recorded_steps(steps, PER_DECADE, steps, False)) - 1) / steps)


if __name__ == "__main__":
    main()
