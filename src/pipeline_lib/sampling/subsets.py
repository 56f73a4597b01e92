"""Mini-batches for R replicas at once, on the device where they are used."""

import torch
from torch import Generator, Tensor


def without_replacement(n: int, batch_size: int, n_replicas: int, generator: Generator) -> Tensor:
    """Independent uniform subsets of ``range(n)``: indices (R, b), on the generator's device.

    Each replica keeps the ``batch_size`` smallest of n random 63-bit keys. Two equal keys, which
    alone could favour a subset, have probability below n^2 / 2^64.
    """
    if batch_size == n:
        # In one order for all, so that replicas that see every example agree to the last bit.
        return torch.arange(n, device=generator.device).expand(n_replicas, n)
    keys = torch.empty((n_replicas, n), dtype=torch.int64, device=generator.device)
    keys.random_(generator=generator)
    return keys.topk(batch_size, dim=1, largest=False, sorted=False).indices
