"""How much memory a block of fully connected networks takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from pipeline_lib.study.optimizers import PLAIN_SGD, Optimizer
from pipeline_lib.training.memory import moment_bytes, most_that_fit

_INDEX = 8  # bytes of an int64

EXAMPLES_AT_ONCE = 1000
"""Examples of a replica whose gradients are averaged over at once."""


@dataclass(frozen=True)
class BlockSize:
    """What decides the memory of a block; `layers` lists inputs, hidden widths and outputs.

    ``n_examples`` is the training set, ``n_evaluated`` all examples of the evaluation sets
    together, ``chunk`` how many of them are evaluated at once and ``itemsize`` the bytes of one
    weight. ``threads`` matters on CPU only. ``averaged`` is the most examples whose gradients are
    averaged over at once at recorded steps.
    """

    layers: Sequence[int]
    batch_size: int
    n_examples: int
    n_evaluated: int = 0
    chunk: int = 1000
    itemsize: int = 4
    threads: int = 1
    optimizer: Optimizer = PLAIN_SGD
    averaged: int = 0


def block_bytes(block: BlockSize, n_replicas: int, device: str = "cpu") -> int:
    """Peak bytes of training ``n_replicas`` at once, beyond Python and its libraries.

    The examples, and for each replica its weights, its gradients, what its optimiser keeps and its
    order of the examples. On CPU activations are those of one replica a thread. On a CUDA device
    they are those of all replicas, and the moments of gradients take temporaries of the largest
    layer. So do optimisers.
    """
    widths = list(block.layers[1:])
    layers = [inputs * outputs + outputs for inputs, outputs in pairwise(block.layers)]
    # Inputs, z_k and d_k; in an evaluation z_k, and twice the outputs for the loss.
    step = max(block.batch_size, block.averaged) * (block.layers[0] + 2 * sum(widths))
    evaluation = block.chunk * (sum(widths) + 2 * widths[-1]) if block.n_evaluated else 0
    examples = (block.n_examples + block.n_evaluated) * (block.layers[0] * block.itemsize + _INDEX)
    on_cpu = device == "cpu"
    at_once = min(block.threads, n_replicas) if on_cpu else n_replicas
    largest = n_replicas * max(layers)
    temporaries = max(
        moment_bytes(largest, block.itemsize, device),
        block.optimizer.temporaries * largest * block.itemsize,
    )
    lasting = (2 + block.optimizer.kept) * sum(layers)
    numbers = n_replicas * lasting + at_once * (step + evaluation)
    orders = n_replicas * block.n_examples * _INDEX
    return examples + numbers * block.itemsize + temporaries + orders


def replicas_that_fit(
    block: BlockSize,
    n_replicas: int,
    device: str = "cpu",
    available: int | None = None,
    share: float = 0.8,
) -> int:
    """`most_that_fit` for a block of perceptrons."""

    def size(replicas: int) -> int:
        return block_bytes(block, replicas, device)

    return most_that_fit(size, n_replicas, device, f"b = {block.batch_size}", available, share)
