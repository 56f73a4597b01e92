"""One training block of the XLNet classifier on reviews, under AdamW (Appendix B.4)."""

from collections.abc import Collection, Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from pipeline_lib.data.reviews_table import Tokens
from pipeline_lib.models.transformer.dropout_stack import DropoutReplicas
from pipeline_lib.models.transformer.xlnet import xlnet_module
from pipeline_lib.sampling.epochs import EpochSampler, LastBatch, recorded_steps
from pipeline_lib.seeding import torch_seed
from pipeline_lib.training.adam_epochs import AdamSettings, adam_block
from pipeline_lib.training.checkpoint import Checkpoint
from pipeline_lib.training.groups import EpochBlockResult
from pipeline_lib.training.memory import activation_bytes, most_that_fit
from pipeline_lib.training.optim import linear_warmup_then_decay

# Of each replica: weights, gradients and AdamW's two moments, all float32.
_BYTES_A_PARAMETER = 4 * 4
_CHUNK = 100  # reviews evaluated at once


def xlnet_weights(
    model: Mapping[str, Any], vocabulary: int, scale: float, stream: np.random.SeedSequence
) -> dict[str, NDArray[np.float32]]:
    """Initial weights by parameter name: matrices N(0, scale^2), from ``stream``."""
    module = xlnet_module(vocabulary, **_sizes(model), scale=scale, seed=torch_seed(stream))
    return {name: value.detach().numpy() for name, value in module.named_parameters()}


def xlnet_block(
    weights: Mapping[str, NDArray[np.float32]],
    model: Mapping[str, Any],
    sets: Mapping[str, Tokens],
    learning_rate: float,
    warmup: float,
    settings: AdamSettings,
    batch_size: int,
    epochs: int,
    n_replicas: int,
    stream: np.random.SeedSequence,
    dropout_stream: np.random.SeedSequence,
    record: int | Literal["every"],
    evaluated_epochs: Mapping[str, Collection[int]],
    last_batch: LastBatch = "keep",
    device: str = "cpu",
    allow_tf32: bool = False,
    checkpoint: Checkpoint | None = None,
) -> EpochBlockResult:
    """Train ``n_replicas`` runs, as many at once as fit the memory; see `adam_block` for the rest.

    Args:
        weights: of `xlnet_weights`, the same for all replicas.
        model: d_model, n_layer, n_head, d_inner and dropout.
        sets: token rows by split; ``training`` is trained on.
        learning_rate, warmup: the peak, reached after the share ``warmup`` of all steps; the rate
            falls linearly to 0 from there.
        stream, dropout_stream: seed the orders of the examples and the dropout.
    """
    vocabulary = len(weights["network.transformer.word_embedding.weight"])
    examples = {
        split: (tokens.input_ids, tokens.labels.astype(np.int64)) for split, tokens in sets.items()
    }
    x, y = examples["training"]
    n_parameters = sum(weight.size for weight in weights.values())
    sizes = {name: int(model[name]) for name in ("d_model", "n_layer", "n_head", "d_inner")}
    activations = batch_size * activation_bytes(**sizes, tokens=x.shape[1])
    at_once = most_that_fit(
        lambda n: n * n_parameters * _BYTES_A_PARAMETER + activations,
        n_replicas,
        device,
        f"b = {batch_size}",
    )

    def make_stack(replicas: range) -> DropoutReplicas:
        module = xlnet_module(vocabulary, **_sizes(model), scale=1.0, seed=0)
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                parameter.copy_(torch.as_tensor(weights[name]))
        return DropoutReplicas(module, cross_entropy, replicas, dropout_stream, device)

    sampler = EpochSampler(len(x), batch_size, n_replicas, stream, last_batch)
    n_steps = epochs * sampler.steps_per_epoch
    return adam_block(
        make_stack,
        x,
        y,
        examples,
        linear_warmup_then_decay(n_steps, round(warmup * n_steps), learning_rate),
        batch_size,
        epochs,
        n_replicas,
        stream,
        recorded_steps(n_steps, record, sampler.steps_per_epoch, sampler.short_last),
        evaluated_epochs,
        settings,
        last_batch,
        at_once,
        device,
        _CHUNK,
        allow_tf32,
        checkpoint,
    )


def _sizes(model: Mapping[str, Any]) -> dict[str, Any]:
    return {name: model[name] for name in ("d_model", "n_layer", "n_head", "d_inner", "dropout")}
