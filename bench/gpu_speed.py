"""Speed of training networks on a GPU, for docs/performance.md and the cost model."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from gpu_cases import images, mlp_weights, plan_of, reviews

from pipeline_lib.artifacts.block_tables import BlockTables
from pipeline_lib.models import MODELS
from pipeline_lib.models.perceptron.block import perceptron_block
from pipeline_lib.models.perceptron.cost import multiply_adds as of_perceptron
from pipeline_lib.models.perceptron.memory import BlockSize, block_bytes
from pipeline_lib.models.transformer import Transformer
from pipeline_lib.models.transformer import memory as xlnet_memory
from pipeline_lib.models.transformer.cost import multiply_adds as of_transformer
from pipeline_lib.models.transformer.cost import n_parameters
from pipeline_lib.seeding import seed_sequence
from pipeline_lib.study.block import Hardware
from pipeline_lib.study.cost import UPDATE, Speed
from pipeline_lib.study.optimizers import AdamW
from pipeline_lib.study.settings import Clipping
from pipeline_lib.training.precision import tf32_if


@dataclass(frozen=True)
class Timed:
    """A block that is timed: its steps, a step's operations of all replicas, its memory's estimate.

    ``launches`` has the same kernels a step, of matrices so small that launching is all they take.
    """

    name: str
    kind: str
    replicas: int
    train: Callable[[str], BlockTables]
    launches: Callable[[str], BlockTables]
    steps: int
    operations: float
    estimate: int


def perceptron(b: int, layers: tuple[int, ...], replicas: int, steps: int) -> Timed:
    """Plain SGD, as in Figure 4."""

    def block(layers: tuple[int, ...]) -> Callable[[str], BlockTables]:
        x, y = images(b * steps, layers[0], "float32")
        plan = plan_of(b * steps, b, 1, replicas, evaluated_epochs={}, recorded=[0])
        weights = mlp_weights(layers, "float32")
        return lambda device: perceptron_block(
            weights, {"training": (x, y)}, plan, Hardware(device)
        )

    size = BlockSize(layers, b, b * steps, b * steps)
    return Timed(
        f"MNIST, b = {b}, {replicas} runs",
        "perceptron",
        replicas,
        block(layers),
        block((8,) * (len(layers) - 1) + (10,)),
        steps,
        2.0 * replicas * of_perceptron(layers, b),
        block_bytes(size, replicas, "cuda"),
    )


def transformer(b: int, model: Transformer, replicas: int, steps: int) -> Timed:
    """AdamW and clipping, as in Figure 5."""
    from pipeline_lib.models.transformer.block import Dropout, initial_weights, transformer_block

    sets = {"training": reviews(b * steps, model.vocabulary, model.tokens)["training"]}
    updates = {"optimizer": AdamW("adamw"), "clipping": Clipping(1.0, "tensor")}
    plan = plan_of(b * steps, b, 1, replicas, evaluated_epochs={}, recorded=[0], **updates)

    def block(sizes: dict[str, float]) -> Callable[[str], BlockTables]:
        dropout = Dropout(sizes, seed_sequence(1, "dropout"))
        weights = initial_weights(sizes, model.vocabulary, 0.02, seed_sequence(1, "weights"))
        return lambda device: transformer_block(weights, dropout, sets, plan, device)

    parameters = sum(n_parameters(model).values())
    optimizer = updates["optimizer"]
    assert isinstance(optimizer, AdamW)
    size = xlnet_memory.BlockSize(
        parameters,
        model.sizes,
        b,
        model.tokens,
        b * steps,
        b * steps,
        optimizer,
    )
    return Timed(
        f"XLNet, b = {b}, {replicas} runs",
        "transformer",
        replicas,
        block(model.sizes),
        block(model.sizes | {"d_model": 2 * model.n_head, "d_inner": 8}),
        steps,
        float(replicas) * (2 * of_transformer(model, 3 * b) + UPDATE * parameters),
        xlnet_memory.block_bytes(size, replicas, "cuda"),
    )


def of_paper() -> list[Timed]:
    """Some hundred steps of the paper's MNIST network, and some of its XLNet."""
    layers = (784, 1024, 512, 10)
    model = Transformer(
        "transformer", "reviews", 384, 6, 12, 4096, 0.1, 10_000, 1_000, 5, 31_246, 128
    )
    return [
        perceptron(64, layers, 50, 300),
        perceptron(512, layers, 50, 100),
        transformer(32, model, 10, 10),
    ]


def rehearsal() -> list[Timed]:
    """The same so small that a CPU takes a second."""
    model = Transformer("transformer", "reviews", 8, 2, 2, 16, 0.1, 100, 10, 5, 64, 8)
    return [perceptron(4, (12, 8, 10), 3, 6), transformer(4, model, 2, 2)]


def seconds(train: Callable[[str], object], device: str) -> float:
    """Of the second time: at the first, kernels are loaded and chosen."""
    train(device)
    if device != "cpu":
        torch.cuda.synchronize()
    start = time.perf_counter()
    train(device)
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def busy_share(train: Callable[[str], object], device: str) -> float:
    """Share of the time in which the GPU computes."""
    from torch.profiler import ProfilerActivity, profile

    torch.cuda.synchronize()
    start = time.perf_counter()
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        train(device)
        torch.cuda.synchronize()
        spent = time.perf_counter() - start
    events = seen.key_averages()
    return float(sum(event.self_device_time_total for event in events)) / 1e6 / spent


def report(device: str, blocks: list[Timed]) -> tuple[str, dict[str, list[Speed]]]:
    """A table for docs/performance.md and lines for the kinds' settings; speeds by kind.

    Seconds are those of a whole block, so what a block takes before its first step is among them.
    """
    on_gpu = device != "cpu"
    where = torch.cuda.get_device_name(device) if on_gpu else "this CPU, a rehearsal"
    rows = [
        f"| {where} | precision | steps/s | TFLOP/s | GPU busy | GiB | estimate |",
        "|---|---|---|---|---|---|---|",
    ]
    rates = []
    speeds: dict[str, list[Speed]] = {}
    for block in blocks:
        launching = seconds(block.launches, device) / block.steps
        for tf32 in (False, True) if on_gpu else (False,):
            with tf32_if(tf32):
                if on_gpu:
                    torch.cuda.empty_cache()
                    torch.cuda.reset_peak_memory_stats()
                spent = seconds(block.train, device)
                peak = torch.cuda.max_memory_allocated() if on_gpu else 0
                busy = busy_share(block.train, device) if on_gpu else 1.0
            tflops = block.steps * block.operations / spent / 1e12
            cells = [
                block.name,
                "TF32" if tf32 else "IEEE",
                f"{block.steps / spent:.4g}",
                f"{tflops:.3g}",
                f"{busy:.0%}",
                f"{peak / 2**30:.2f}",
                f"{block.estimate / 2**30:.2f}",
            ]
            rows.append(f"| {' | '.join(cells)} |")
            if not tf32:
                working = max(spent - block.steps * launching, spent / 10)
                rate = block.steps * block.operations / working
                pays = MODELS[block.kind].gpu.pays_for_each
                each = launching / block.replicas if pays == "turn" else launching
                speeds.setdefault(block.kind, []).append(Speed(rate, each, pays))
                rates.append(
                    f"{block.kind}: gpu: ClassVar[Speed] = "
                    f'Speed({rate:.2g}, {each:.1g}, "{pays}")  # {block.name}, {where}'
                )
    return "\n".join([*rows, "", *rates]), speeds
