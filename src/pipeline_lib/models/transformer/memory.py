"""How much memory a block of XLNet classifiers takes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline_lib.study.optimizers import Optimizer
from pipeline_lib.training.memory import NUMBERS_AT_ONCE, moment_bytes

CHUNK = 100
"""Reviews evaluated at once."""
ITEMSIZE = 4  # bytes of a float32
_INDEX = 8  # bytes of an int64


@dataclass(frozen=True)
class BlockSize:
    """What decides the memory of a block.

    ``parameters`` counts the numbers of all of them, ``sizes`` are those of the network
    (`Transformer.sizes`), and ``n_evaluated`` counts the reviews of all evaluation sets.
    """

    parameters: int
    sizes: Mapping[str, Any]
    batch_size: int
    tokens: int
    n_examples: int
    n_evaluated: int
    optimizer: Optimizer


def activation_bytes(d_model: int, n_layer: int, n_head: int, d_inner: int, tokens: int) -> int:
    """About what a review's activations take in XLNet until its gradient is known, in float32.

    The counts of numbers a token and layer are what the paper's network was seen to take, 0.11 GiB
    a review. One replica has activations at a time.
    """
    a_token = 3 * d_inner + 10 * n_head * tokens + 25 * d_model
    return 4 * n_layer * tokens * a_token


def block_bytes(block: BlockSize, n_replicas: int, device: str = "cpu") -> int:
    """Peak bytes of training ``n_replicas`` at once, beyond Python and its libraries.

    Each replica has its weights, its gradients, what its optimiser keeps and its order of the
    reviews. The module itself, the gradient of one replica and its activations are there once,
    those of training or those of a layer in an evaluation; so are the temporaries of the optimiser
    or, on a GPU, those of moments.
    """
    numbers = n_replicas * block.parameters
    sizes = {name: int(size) for name, size in block.sizes.items() if name != "dropout"}
    activations = max(
        block.batch_size * activation_bytes(**sizes, tokens=block.tokens),
        CHUNK * activation_bytes(**sizes | {"n_layer": 1}, tokens=block.tokens),
    )
    temporaries = max(
        moment_bytes(numbers, ITEMSIZE, device),
        block.optimizer.temporaries * min(numbers, NUMBERS_AT_ONCE) * ITEMSIZE,
    )
    lasting = ((2 + block.optimizer.kept) * n_replicas + 2) * block.parameters
    indices = (block.n_examples + block.n_evaluated) * block.tokens
    indices += n_replicas * block.n_examples
    return ITEMSIZE * lasting + activations + temporaries + _INDEX * indices
