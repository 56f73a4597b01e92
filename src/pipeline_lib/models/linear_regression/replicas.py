"""R replicas of linear regression through torch: the GPU path, and the kernel's reference."""

import torch
from torch import Tensor

from pipeline_lib.models.linear_regression.design import RegressionDesign
from pipeline_lib.theory.linear_regression import batch_factor


class LinearReplicas:
    """Least squares, mean loss ``(1/n) sum_i (x_i.w - y_i)^2 / 2`` (equation 1 of the paper).

    Args:
        design: the data, n examples with p features.
        initial_weights: shape (p,), the same for all ``n_replicas`` replicas; its device and
            precision are used.
    """

    def __init__(self, design: RegressionDesign, initial_weights: Tensor, n_replicas: int) -> None:
        dtype, device = initial_weights.dtype, initial_weights.device
        self.features, self.target, self.gradient_map, self.dispersion_root = (
            torch.as_tensor(array, dtype=dtype, device=device)
            for array in (
                design.features,
                design.target,
                design.gradient_map,
                design.dispersion_root,
            )
        )
        self.parameters = {"weights": initial_weights.repeat(n_replicas, 1)}

    def gradients(self, batch: Tensor) -> dict[str, Tensor]:
        """Stochastic gradients (R, p); ``batch`` holds each replica's example indices, (R, b)."""
        chosen = self.features[batch]
        residual = torch.einsum("rbp,rp->rb", chosen, self.parameters["weights"])
        residual -= self.target[batch]
        return {"weights": torch.einsum("rbp,rb->rp", chosen, residual) / batch.shape[1]}

    def _extended(self) -> Tensor:
        weights = self.parameters["weights"]
        return torch.cat([weights, torch.ones_like(weights[:, :1])], dim=1)

    def full_gradients(self) -> dict[str, Tensor]:
        """Gradients of the empirical loss, (R, p)."""
        return {"weights": self._extended() @ self.gradient_map}

    def conditional_variance(self, batch_size: int) -> dict[str, Tensor]:
        """Lemma 1: ``c_b ((1/n) sum_i |grad L_i|^2 - |grad L|^2)``, (R,), without replacement."""
        c_b = float(batch_factor(batch_size, len(self.target)))
        spread = (self._extended() @ self.dispersion_root.T).square().sum(dim=1)
        return {"weights": c_b * spread}
