"""One training block of the XLNet classifier on reviews (Appendix B.4)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from pipeline_lib.artifacts.block_tables import BlockTables
from pipeline_lib.artifacts.checkpoint import Checkpoint
from pipeline_lib.data.reviews_table import Tokens
from pipeline_lib.models.transformer.memory import BlockSize, block_bytes
from pipeline_lib.models.transformer.xlnet import xlnet_module
from pipeline_lib.seeding import torch_seed
from pipeline_lib.training.dropout_stack import DropoutReplicas
from pipeline_lib.training.epoch_plan import EpochData, EpochPlan
from pipeline_lib.training.epochs import epoch_block
from pipeline_lib.training.memory import most_that_fit


@dataclass(frozen=True)
class Dropout:
    """The network's sizes and dropout (`Transformer.sizes`), and the stream that seeds dropout."""

    sizes: Mapping[str, Any]
    stream: np.random.SeedSequence


def initial_weights(
    sizes: Mapping[str, Any], vocabulary: int, scale: float, stream: np.random.SeedSequence
) -> dict[str, NDArray[np.float32]]:
    """Initial weights by parameter name: matrices N(0, scale^2), from ``stream``."""
    module = xlnet_module(vocabulary, sizes, scale, torch_seed(stream))
    return {name: value.detach().numpy() for name, value in module.named_parameters()}


def transformer_block(
    weights: Mapping[str, NDArray[np.float32]],
    dropout: Dropout,
    sets: Mapping[str, Tokens],
    plan: EpochPlan,
    device: str = "cpu",
    checkpoint: Checkpoint | None = None,
) -> BlockTables:
    """Train the runs of ``plan``, as many at once as fit the memory.

    Of its many tensors all together are summarised.

    ``weights`` are those of `initial_weights`, the same for all replicas; ``sets`` token rows by
    split, of which ``training`` is trained on. See `pipeline_lib.training.epochs.epoch_block` for
    the rest.
    """
    vocabulary = len(weights["network.transformer.word_embedding.weight"])
    examples = {
        split: (tokens.input_ids, tokens.labels.astype(np.int64)) for split, tokens in sets.items()
    }
    x, y = examples["training"]
    size = BlockSize(
        sum(weight.size for weight in weights.values()),
        dropout.sizes,
        plan.batch_size,
        x.shape[1],
        len(x),
        sum(len(labels) for _, labels in examples.values()),
        plan.optimizer,
    )
    at_once = most_that_fit(
        lambda n: block_bytes(size, n, device),
        plan.n_replicas,
        device,
        f"b = {plan.batch_size}",
    )

    def make_stack(replicas: range) -> DropoutReplicas:
        module = xlnet_module(vocabulary, dropout.sizes)
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                parameter.copy_(torch.as_tensor(weights[name]))
        return DropoutReplicas(module, cross_entropy, replicas, dropout.stream, device)

    data = EpochData.on(device, x, y, examples)
    return epoch_block(make_stack, data, replace(plan, per_tensor=False), at_once, checkpoint)
