"""Independent random streams, named by what they are for.

Every stream is derived from the study's one seed and a name such as
``("batches", "admission", init, b, block)``, so two streams never coincide, adding a batch size or
a block changes no other stream, and no stream depends on the order in which jobs run.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray


def seed_sequence(seed: int, *name: str | int) -> np.random.SeedSequence:
    """The seed sequence of the stream ``name`` of the study's ``seed`` (a non-negative integer)."""
    text = "/".join(str(part) for part in name)
    digest = hashlib.sha256(text.encode()).digest()
    return np.random.SeedSequence([seed, *np.frombuffer(digest, dtype=np.uint32).tolist()])


def replica_states(sequence: np.random.SeedSequence, n_replicas: int) -> NDArray[np.uint64]:
    """States of xoshiro256++ for ``n_replicas`` replicas, shape (R, 4).

    Replica ``r`` gets the same state whatever ``n_replicas`` is.
    """
    words = sequence.generate_state(4 * n_replicas, np.uint64).astype(np.uint64, copy=False)
    return words.reshape(n_replicas, 4)


def torch_seed(sequence: np.random.SeedSequence) -> int:
    """A 63-bit seed for ``torch.Generator.manual_seed``."""
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))
