"""R replicas of linear regression through torch: the GPU path, and the kernel's reference."""

from collections.abc import Mapping

import torch
from torch import Tensor

from pipeline_lib.models.linear_regression.design import RegressionDesign
from pipeline_lib.sampling.names import Sampling
from pipeline_lib.sampling.subsets import ExampleBatch
from pipeline_lib.theory.linear_regression import batch_factor


class LinearReplicas:
    """Least squares, mean loss ``(1/n) sum_i (x_i.w - y_i)^2 / 2`` (equation 1 of the paper).

    Args:
        design: the data, n examples with p features.
        initial_weights: shape (p,), the same for all ``n_replicas`` replicas; its device and
            precision are used.
        sampling: how mini-batches are drawn, which decides their variance given the weights.
    """

    def __init__(
        self,
        design: RegressionDesign,
        initial_weights: Tensor,
        n_replicas: int,
        sampling: Sampling = "fresh",
    ) -> None:
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
        self._sampling = sampling

    def gradients(self, batch: ExampleBatch) -> dict[str, Tensor]:
        """Stochastic gradients (R, p)."""
        chosen, residual = self._residuals(batch.chosen)
        return {"weights": torch.einsum("rbp,rb->rp", chosen, residual) / batch.chosen.shape[1]}

    def _residuals(self, examples: Tensor) -> tuple[Tensor, Tensor]:
        """Features (R, m, p) and residuals (R, m) of ``examples`` (R, m)."""
        chosen = self.features[examples]
        residual = torch.einsum("rbp,rp->rb", chosen, self.parameters["weights"])
        residual -= self.target[examples]
        return chosen, residual

    def _extended(self) -> Tensor:
        weights = self.parameters["weights"]
        return torch.cat([weights, torch.ones_like(weights[:, :1])], dim=1)

    def full_gradients(self) -> dict[str, Tensor]:
        """Gradients of the empirical loss, (R, p)."""
        return {"weights": self._extended() @ self.gradient_map}

    def conditional_variance(self, batch_size: int) -> dict[str, Tensor]:
        """Lemma 1: ``c_b ((1/n) sum_i |grad L_i|^2 - |grad L|^2)``, (R,).

        With replacement 1/b stands for c_b.
        """
        c_b = float(batch_factor(batch_size, len(self.target)))
        if self._sampling == "with_replacement":
            c_b = 1 / batch_size
        return {"weights": c_b * self._dispersion()}

    def example_variance(
        self, conditional: Mapping[str, Tensor], batch_size: int
    ) -> dict[str, Tensor]:
        """``1/(n-1) sum_i |grad L_i - grad L|^2`` over all examples, (R,), whatever is drawn."""
        n = len(self.target)
        return {"weights": n / (n - 1) * self._dispersion()}

    def _dispersion(self) -> Tensor:
        return (self._extended() @ self.dispersion_root.T).square().sum(dim=1)

    def conditional_from_batch(
        self, batch: ExampleBatch
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]] | None:
        """Of g_t, given all steps before, the variance (R,) and the mean (R, p) in epochs.

        Lemma 1 on the m examples that the epoch has left. Afresh the mean is the full gradient:
        None.
        """
        if batch.left is None:
            return None
        b, m = batch.chosen.shape[1], batch.left.shape[1]
        left, residual = self._residuals(batch.left)
        of_examples = left * residual[:, :, None]
        mean = of_examples.mean(dim=1)
        if m == b:
            return {"weights": torch.zeros_like(mean[:, 0])}, {"weights": mean}
        factor = (m - b) / (b * (m - 1))
        spread = (of_examples - mean[:, None]).square().sum(dim=(1, 2)) / m
        return {"weights": factor * spread}, {"weights": mean}
