"""The XLNet classifier of Section 4.1 and B.4: token rows in, scores of two labels out.

The network is that of `transformers`, with weights drawn here: nothing is downloaded. Token types
are not given, so `mask_emb`, `seg_embed` and `r_s_bias` take no part and have gradient 0. They
count among the paper's 35,493,122 parameters all the same.
"""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import XLNetConfig, XLNetForSequenceClassification

from pipeline_lib.data.tokens import PAD_ID
from pipeline_lib.errors import ConfigError


class ReviewClassifier(nn.Module):
    """Token rows (b, length), integers as of `pipeline_lib.data.tokens`, to scores (b, 2).

    Pads, which come first in a row, are not attended to: a row and the same row behind more pads
    have the same scores but for rounding.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids: Tensor) -> Tensor:
        ids = input_ids.long()
        # The network subtracts the mask from 1.0 and reads its own precision off its weights.
        outputs = self.network(ids, attention_mask=(ids != PAD_ID).float())
        return cast(Tensor, outputs.logits)


def xlnet_module(
    vocab_size: int, sizes: Mapping[str, Any], scale: float = 0.02, seed: int = 0
) -> nn.Module:
    """A `ReviewClassifier` with weights drawn from ``seed``, float32, in training mode.

    Matrices and biases of the attention are N(0, scale^2), other biases 0 and gains 1; 0.02 is
    XLNet's own scale. ``sizes`` are d_model, n_layer, n_head, d_inner and ``dropout``, which is
    that of every place that has one: embeddings, attention, both halves of a layer and the summary.
    Torch's own random state is left as it was.

    Raises ConfigError if ``n_head`` does not divide ``d_model``, if ``d_model`` is odd (half of a
    position's encoding are sines) or if ``dropout`` is not in [0, 1).
    """
    d_model, n_head, dropout = sizes["d_model"], sizes["n_head"], sizes["dropout"]
    if d_model % n_head or d_model % 2:
        raise ConfigError(
            f"xlnet: d_model {d_model}, n_head {n_head}: allowed is an even multiple of n_head"
        )
    if not 0 <= dropout < 1:
        raise ConfigError(f"xlnet: dropout {dropout}: allowed is 0 <= dropout < 1")
    config = XLNetConfig(  # of two labels, as it is by default
        vocab_size=vocab_size,
        **sizes,
        initializer_range=scale,
        summary_last_dropout=dropout,
        summary_type="last",
        pad_token_id=PAD_ID,
        # Hidden states are of use to a next segment only, and a review is one segment.
        use_mems_eval=False,
        use_mems_train=False,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = XLNetForSequenceClassification(config)
    return ReviewClassifier(network)
