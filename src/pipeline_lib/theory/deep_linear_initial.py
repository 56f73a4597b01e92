"""Exact variance of a linear network of any depth at its initial weights.

Student ``x -> W_L ... W_1 x``, teacher T, ``x ~ N(0, I_p)``, loss
``1/2 E |W_L ... W_1 x - T x|^2``.
With the residual 𝒲 = W_L ... W_1 - T, the product ``B_k = W_L ... W_{k+1}`` above layer k and
``P_k = W_{k-1} ... W_1`` below it, Lemma 7 of arXiv 2004.13146 at m = 2 gives

    var(g_{0,k} | F_0) = (|B_kᵀ 𝒲|² |P_k|² + |B_kᵀ 𝒲 P_kᵀ|²) / b.

At the initial weights the full gradient has no variance, and neither the optimiser nor clipping nor
the rate has had a say.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline_lib.artifacts.schemas import SCHEMAS
from pipeline_lib.estimation.statistics import ALL, FULL, STOCHASTIC
from pipeline_lib.theory.matrix_network import conditional_variances

Array = NDArray[np.float64]


def initial_variances(weights: Sequence[Array], teacher: Array) -> list[float]:
    """``b var(g_{0,k} | F_0)`` for k = 1, ..., L.

    Args:
        weights: W_1 (n_1, n_0), ..., W_L (n_L, n_{L-1}).
        teacher: T (n_L, n_0).

    Raises:
        ValueError: if the shapes do not fit.
    """
    shapes = [weight.shape for weight in weights]
    fits = all(above[1] == below[0] for below, above in pairwise(shapes))
    if not fits or teacher.shape != (shapes[-1][0], shapes[0][1]):
        raise ValueError(f"layers {shapes} and teacher {teacher.shape} do not form a network")
    return conditional_variances(weights, teacher, 1)


def initial_theory_table(
    weights: Sequence[Array], teacher: Array, batch_sizes: Sequence[int], init: int
) -> pd.DataFrame:
    """Rows of the ``theory`` artefact at t = 0, for every given b.

    Tensor ``all`` is all weight matrices together, whose variances add.
    """
    values = initial_variances(weights, teacher)
    of_tensors = {f"W{k}": value for k, value in enumerate(values, start=1)} | {ALL: sum(values)}
    rows = [
        (init, b, 0, quantity, tensor, value / b if quantity == STOCHASTIC else 0.0)
        for b in batch_sizes
        for quantity in (STOCHASTIC, FULL)
        for tensor, value in of_tensors.items()
    ]
    return pd.DataFrame(rows, columns=SCHEMAS["theory"].names)
