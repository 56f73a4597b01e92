"""Speed of the admission study: the fused kernel against what one would write first.

Prints a Markdown table. Times are the best of several repetitions in this run; compare the ratios,
not the seconds, between machines.
"""

import os
import time
from collections.abc import Callable

import numpy as np
import torch

from pipeline_lib.models.linear_regression.block import regression_block
from pipeline_lib.models.linear_regression.design import RegressionDesign
from pipeline_lib.models.linear_regression.replicas import LinearReplicas
from pipeline_lib.sampling.subsets import ExampleBatch, without_replacement
from pipeline_lib.seeding import seed_sequence
from pipeline_lib.study.block import Hardware
from pipeline_lib.theory.linear_regression import exact_moments
from pipeline_lib.training.steps import StepPlan

N, P, B, REPLICAS = 500, 8, 32, 1000
CORES = len(os.sched_getaffinity(0))


def best(function: Callable[[], object], repetitions: int = 5) -> float:
    """Seconds of the fastest repetition, after one to warm up."""
    function()
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def plain_loop(features: torch.Tensor, target: torch.Tensor, steps: int) -> None:
    """One run: autograd, one mini-batch a step, nothing recorded."""
    weights = torch.zeros(P, dtype=torch.float64, requires_grad=True)
    for step in range(steps):
        batch = torch.randperm(N)[:B]
        loss = 0.5 * ((features[batch] @ weights - target[batch]) ** 2).mean()
        (gradient,) = torch.autograd.grad(loss, weights)
        with torch.no_grad():
            weights -= 0.5 / (step + 1) * gradient


def vmap_grad(features: torch.Tensor, target: torch.Tensor, steps: int) -> None:
    """All replicas: torch.func.vmap of grad, variance over replicas recorded."""
    weights = torch.zeros(REPLICAS, P, dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)

    def loss(w: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return 0.5 * ((x @ w - y) ** 2).mean()

    gradient_of = torch.func.vmap(torch.func.grad(loss))
    for step in range(steps):
        batch = without_replacement(N, B, REPLICAS, generator)
        gradient = gradient_of(weights, features[batch], target[batch])
        gradient.var(dim=0).sum()
        weights -= 0.5 / (step + 1) * gradient


def main() -> None:
    rng = np.random.default_rng(0)
    features, target = rng.standard_normal((N, P)), rng.standard_normal(N)
    x, y = torch.as_tensor(features), torch.as_tensor(target)
    rates = 0.5 / np.arange(1, 2001)

    def kernel(threads: int, steps: int = 300) -> float:
        plan = StepPlan(rates[:steps], B, REPLICAS, seed_sequence(1, "bench"))
        hardware = Hardware(threads=threads)
        seconds = best(lambda: regression_block(features, target, np.zeros(P), plan, hardware))
        return seconds / (steps * REPLICAS)

    loop = best(lambda: plain_loop(x, y, 200)) / 200
    vmapped = best(lambda: vmap_grad(x, y, 10)) / (10 * REPLICAS)
    one, all_cores = kernel(1), kernel(CORES)
    print(f"linear regression, n = {N}, {P} weights, b = {B}, R = {REPLICAS}, {CORES} cores\n")
    print("| one run-iteration | µs | plain loop / this |")
    print("|---|---|---|")
    for name, seconds in (
        ("plain PyTorch loop, no statistics", loop),
        ("torch.func.vmap(grad), variance only", vmapped),
        ("this kernel with all statistics, 1 thread", one),
        (f"this kernel with all statistics, {CORES} threads", all_cores),
    ):
        print(f"| {name} | {seconds * 1e6:.2f} | {loop / seconds:.0f} |")

    exact = best(lambda: exact_moments(features, target, np.ones(P), rates, np.arange(1, N + 1)), 3)
    print(f"\nexact moments, {N} batch sizes x {len(rates)} steps: {exact:.2f} s")

    if torch.cuda.is_available():
        weights = torch.zeros(P, dtype=torch.float64, device="cuda")
        stack = LinearReplicas(RegressionDesign.of(features, target), weights, REPLICAS)
        generator = torch.Generator("cuda").manual_seed(1)

        def gpu_step() -> None:
            stack.gradients(ExampleBatch(without_replacement(N, B, REPLICAS, generator)))
            stack.full_gradients()
            stack.conditional_variance(B)
            torch.cuda.synchronize()

        print(f"GPU, gradients only: {best(gpu_step) / REPLICAS * 1e6:.2f} µs a run-iteration")


if __name__ == "__main__":
    main()
