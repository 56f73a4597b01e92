"""Time of one run-iteration of the two-layer network, statistics included, on this machine.

    python bench/bench_two_layer.py [--jax-python PATH] > table.md

Compared are, for p = 64, 256 hidden units and 128 outputs in float32,

- `linear_network_block` of the library: both gradients, the population gradients, their variances
  over replicas and the conditional variances, at every step;
- a plain PyTorch loop over runs, with autograd for the stochastic and for the population gradient
  (no statistics over runs, which such a loop cannot compute without keeping every gradient);
- `torch.func.vmap(grad)` over replicas, both gradients and the same statistics, in float32;
- the same in JAX, `jit` of `lax.scan` over `vmap(grad)`, in the interpreter `--jax-python`.

The last two are given the better of several numbers of replicas. The fraction of the peak counts
the multiplications that the library's own algebra needs (`multiplications`), nothing else, against
a large float32 matrix product, by the faster of torch and NumPy, timed in turn with the rest. Times
are the best of several rounds. On a machine with other work, `--cpu-time` compares processor
seconds of one thread instead.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

P, HIDDEN, P2, SCALE = 64, 256, 128, 0.3
CPU_TIME = "--cpu-time"
GROUPS = (20, 100)  # replicas at once that the vectorised alternatives may choose from


def weights() -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(0)
    w1, t1 = (SCALE * rng.standard_normal((HIDDEN, P)) / P**0.5 for _ in range(2))
    w2, t2 = (SCALE * rng.standard_normal((P2, HIDDEN)) / HIDDEN**0.5 for _ in range(2))
    return w1, w2, t2 @ t1


Work = tuple[Callable[[], object], float]  # what to time, and what to divide its time by


def best(works: dict[str, Work], rounds: int) -> dict[str, float]:
    """Shortest time of each work. Rounds take turns, so that all meet the same disturbance."""
    clock = time.process_time if CPU_TIME in sys.argv else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in works}
    for work, _ in works.values():
        work()
    for _ in range(rounds):
        for name, (work, units) in works.items():
            start = clock()
            work()
            times[name].append((clock() - start) / units)
    return {name: min(values) for name, values in times.items()}


def gemms(n: int = 2048) -> dict[str, Work]:
    """A large float32 matrix product by each library, in seconds per floating-point operation."""
    import torch

    a, b, out = torch.randn(n, n), torch.randn(n, n), torch.empty(n, n)
    arrays = a.numpy(), b.numpy()
    return {
        "peak of torch": (lambda: torch.mm(a, b, out=out), 2 * n**3),
        "peak of NumPy": (lambda: np.matmul(*arrays, out=out.numpy()), 2 * n**3),
    }


def block(b: int, steps: int, threads: int, at_once: int) -> Work:
    from pipeline_lib.models.linear_network.block import Grouping, linear_network_block
    from pipeline_lib.models.linear_network.student import Student
    from pipeline_lib.study.block import Hardware
    from pipeline_lib.training.steps import StepPlan

    (w1, w2, teacher), n = weights(), threads * at_once
    plan = StepPlan(0.1 / np.arange(1, steps + 1), b, n, np.random.SeedSequence(1))
    student, grouping = Student((w1, w2), teacher), Grouping(at_once)
    hardware = Hardware(threads=threads)

    def work() -> None:
        linear_network_block(student, plan, grouping, hardware)

    return work, n * steps


def plain_loop(b: int, steps: int) -> Work:
    import torch

    start = [torch.tensor(w, dtype=torch.float32) for w in weights()]

    def work() -> None:
        w1, w2 = (w.clone().requires_grad_() for w in start[:2])
        for t in range(steps):
            x = torch.randn(b, P)
            error = w2 @ w1 - start[2]
            torch.autograd.grad(error.square().sum() / 2, [w1, w2])
            loss = (x @ w1.T @ w2.T - x @ start[2].T).square().sum() / (2 * b)
            g1, g2 = torch.autograd.grad(loss, [w1, w2])
            with torch.no_grad():
                w1 -= 0.1 / (t + 1) * g1
                w2 -= 0.1 / (t + 1) * g2

    return work, steps


def vmapped(b: int, steps: int, n: int) -> Work:
    import torch
    from torch.func import grad, vmap

    w1, w2, teacher = (torch.tensor(w, dtype=torch.float32) for w in weights())

    def loss(parameters: Any, x: Any) -> Any:
        out = x @ parameters[0].T @ parameters[1].T
        return (out - x @ teacher.T).square().sum() / (2 * b)

    def population_loss(parameters: Any) -> Any:
        return (parameters[1] @ parameters[0] - teacher).square().sum() / 2

    def work() -> None:
        parameters = (w1.repeat(n, 1, 1), w2.repeat(n, 1, 1))
        for t in range(steps):
            g = vmap(grad(loss))(parameters, torch.randn(n, b, P))
            full = vmap(grad(population_loss))(parameters)
            for gradient in (*g, *full):
                gradient.square().sum((1, 2))
                (gradient - gradient.mean(0)).square().sum((1, 2))
            error = parameters[1] @ parameters[0] - teacher
            error.square().sum((1, 2)) * parameters[0].square().sum((1, 2))
            parameters = tuple(w - 0.1 / (t + 1) * d for w, d in zip(parameters, g, strict=True))

    return work, n * steps


def jax_scan(b: int, steps: int, n: int) -> Work:
    import jax
    import jax.numpy as jnp

    w1, w2, teacher = (jnp.asarray(w, jnp.float32) for w in weights())

    def loss(parameters: Any, x: Any) -> Any:
        out = x @ parameters[0].T @ parameters[1].T
        return jnp.sum((out - x @ teacher.T) ** 2) / (2 * b)

    def population_loss(parameters: Any) -> Any:
        return jnp.sum((parameters[1] @ parameters[0] - teacher) ** 2) / 2

    def step(carry: Any, t: Any) -> Any:
        parameters, key = carry
        key, sub = jax.random.split(key)
        x = jax.random.normal(sub, (n, b, P), jnp.float32)
        g = jax.vmap(jax.grad(loss))(parameters, x)
        full = jax.vmap(jax.grad(population_loss))(parameters)
        norms = [jnp.sum(d**2, (1, 2)) for d in (*g, *full)]
        deviations = [jnp.sum((d - d.mean(0)) ** 2, (1, 2)) for d in (*g, *full)]
        error = parameters[1] @ parameters[0] - teacher
        spread = jnp.sum(error**2, (1, 2)) * jnp.sum(parameters[0] ** 2, (1, 2))
        moved = tuple(w - 0.1 / (t + 1) * d for w, d in zip(parameters, g, strict=True))
        return (moved, key), (norms, deviations, spread)

    @jax.jit
    def run(key: Any) -> Any:
        parameters = tuple(jnp.repeat(w[None], n, axis=0) for w in (w1, w2))
        return jax.lax.scan(step, (parameters, key), jnp.arange(steps, dtype=jnp.float32))

    key = jax.random.key(0)
    return lambda: jax.block_until_ready(run(key)), n * steps


def jax_times(python: str, batch_sizes: list[int], steps: int, rounds: int) -> dict[int, float]:
    """Times of JAX, measured by this file under the interpreter ``python``."""
    sizes = ["--batch-sizes", *map(str, batch_sizes)]
    command = [python, __file__, "--only-jax", "--steps", str(steps), "--rounds", str(rounds)]
    if CPU_TIME in sys.argv:
        command = ["taskset", "-c", "0", *command, CPU_TIME]
    done = subprocess.run([*command, *sizes], capture_output=True, text=True, check=True)
    return {int(b): value for b, value in json.loads(done.stdout).items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[4, 16, 64, 256])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--replicas-at-once", type=int, default=20)
    parser.add_argument(CPU_TIME, action="store_true", help="processor seconds of one thread")
    parser.add_argument("--jax-python", help="interpreter of an environment that has JAX")
    parser.add_argument("--only-jax", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    sizes, steps, rounds = options.batch_sizes, options.steps, options.rounds
    if options.only_jax:
        works = {b: {f"{n}": jax_scan(b, steps, n) for n in GROUPS} for b in sizes}
        json.dump({b: min(best(work, rounds).values()) for b, work in works.items()}, sys.stdout)
        return

    import torch

    from pipeline_lib.models.linear_network.two_layer import multiplications

    threads = 1 if options.cpu_time else options.threads
    torch.set_num_threads(threads)
    jax = jax_times(options.jax_python, sizes, steps, rounds) if options.jax_python else {}
    print(f"{threads} threads, float32\n")
    print("| b | library, µs | of peak | plain loop, µs | vmap(grad), µs | JAX, µs | faster than |")
    print("|---|---|---|---|---|---|---|")
    total = 0.0
    for b in sizes:
        works = {
            **gemms(),
            "library": block(b, 20 * steps, threads, options.replicas_at_once),
            "loop": plain_loop(b, 20 * steps),
            **{f"vmap {n}": vmapped(b, steps, n) for n in GROUPS},
        }
        times = best(works, rounds)
        ours = times["library"]
        peak = min(times["peak of torch"], times["peak of NumPy"])
        share = 2 * min(multiplications(P, P + P2, P2, b).values()) * peak / ours
        others = [times["loop"], min(times[f"vmap {n}"] for n in GROUPS), jax.get(b)]
        columns = " | ".join("not measured" if t is None else f"{t * 1e6:.0f}" for t in others)
        ratios = ", ".join("–" if t is None else f"{t / ours:.1f}×" for t in others)
        print(f"| {b} | {ours * 1e6:.0f} | {share:.0%} | {columns} | {ratios} |", flush=True)
        print(f"b = {b}: GEMM peak {1e-9 / peak:.0f} GFLOP/s", file=sys.stderr)
        total += ours * 1e6
    unit = "min of one processor" if options.cpu_time else "min"
    print(f"\n1,000 runs of 1,000 iterations for these sizes: {total / 60:.1f} {unit}")


if __name__ == "__main__":
    main()
