"""Linear regression reduced to the few small matrices that its gradients need."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RegressionDesign:
    """What training needs of the data, for the mean loss (1/n) sum_i (x_i.w - y_i)^2 / 2.

    With ``v = (w, 1)``: the full gradient is ``gradient_map.T @ v`` and Lemma 1 of the paper reads
    ``var(g | F_t) = c_b |dispersion_root v|^2``, a sum of squares, which cannot turn negative.
    """

    features: Floats  # (n, p)
    target: Floats  # (n,)
    gradient_map: Floats  # (p + 1, p): (1/n) sum_i (x_i, -y_i) x_i'
    # (p + 1, p + 1), a square root of (1/n) sum_i N_i' N_i with N_i v = grad L_i - grad L.
    dispersion_root: Floats

    @classmethod
    def of(cls, features: Floats, target: Floats) -> "RegressionDesign":
        """From features (n, p) and target (n,)."""
        n = len(features)
        extended = np.column_stack([features, -target])
        gradient_map = extended.T @ features / n
        deviations = np.einsum("ij,ik->ijk", features, extended) - gradient_map.T
        # The triangular factor of the stacked deviations: their Gram matrix is never formed, which
        # would lose half of the digits where the fit is nearly perfect.
        root = np.linalg.qr(deviations.reshape(-1, extended.shape[1]) / np.sqrt(n), mode="r")
        missing = extended.shape[1] - len(root)
        return cls(
            np.ascontiguousarray(features),
            np.ascontiguousarray(target),
            gradient_map,
            np.pad(root, ((0, missing), (0, 0))),
        )
