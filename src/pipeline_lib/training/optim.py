"""Adam with decoupled weight decay for R replicas at once, and clipping.

Every operation is one of single elements or of one replica's tensor, so replicas do not mix.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from pipeline_lib.training.gradient_records import chunked_sq_norms

# Elements updated at once: few enough to stay in a CPU's cache, and on a CUDA device few enough
# for the temporaries to be small.
_AT_ONCE = {"cpu": 2**16, "cuda": 2**26}


class AdamW:
    """Adam (Kingma & Ba, 2015) with the weight decay of Loshchilov & Hutter (2019), in place.

    With gradients g_t, t = 1, 2, ..., and moments m_0 = v_0 = 0,

        m_t = beta_1 m_{t-1} + (1 - beta_1) g_t,      v_t = beta_2 v_{t-1} + (1 - beta_2) g_t^2,
        w <- (1 - lr decay) w - lr (m_t / (1 - beta_1^t)) / (sqrt(v_t / (1 - beta_2^t)) + eps).

    Args:
        parameters: tensors (R, *shape), contiguous, by name. Updated in place.

    Raises ValueError if a coefficient is out of its range or a parameter is not contiguous.
    """

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        if not all(0 <= beta < 1 for beta in betas) or eps < 0 or weight_decay < 0:
            raise ValueError(
                f"betas {betas}, eps {eps}, weight decay {weight_decay}: allowed are betas in "
                "[0, 1), the others not negative"
            )
        strided = [name for name, p in parameters.items() if not p.is_contiguous()]
        if strided:
            raise ValueError(f"parameters {strided} are not contiguous")
        self.parameters = parameters
        self.betas = betas
        self.eps = eps
        self.weight_decay = weight_decay
        self.steps = 0
        self.first: dict[str, Tensor] = {}
        self.second: dict[str, Tensor] = {}

    @torch.no_grad()
    def step(self, gradients: Mapping[str, Tensor], learning_rate: float) -> None:
        """Update every parameter by its gradient, (R, *shape)."""
        if not self.first:  # here, so that a state to resume from takes no second memory
            self.first = {name: torch.zeros_like(p) for name, p in self.parameters.items()}
            self.second = {name: torch.zeros_like(p) for name, p in self.parameters.items()}
        self.steps += 1
        for name, parameter in self.parameters.items():
            tensors = (parameter, gradients[name], self.first[name], self.second[name])
            for w, g, m, v in _pieces(tensors):
                self._update(w, g, m, v, learning_rate)

    def state(self) -> dict[str, Any]:
        """What `restore` takes; the tensors are those in use, not copies."""
        return {"steps": self.steps, "first": self.first, "second": self.second}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; its tensors are taken over."""
        self.steps = state["steps"]
        for own, given in ((self.first, state["first"]), (self.second, state["second"])):
            own.clear()
            own.update({name: m.to(self.parameters[name].device) for name, m in given.items()})

    def _update(self, w: Tensor, g: Tensor, m: Tensor, v: Tensor, learning_rate: float) -> None:
        beta_1, beta_2 = self.betas
        m.mul_(beta_1).add_(g, alpha=1 - beta_1)
        v.mul_(beta_2).addcmul_(g, g, value=1 - beta_2)
        scale = (v / (1 - beta_2**self.steps)).sqrt_().add_(self.eps)
        w.mul_(1 - learning_rate * self.weight_decay)
        w.addcdiv_(m, scale, value=-learning_rate / (1 - beta_1**self.steps))


def _pieces(tensors: tuple[Tensor, ...]) -> Iterator[list[Tensor]]:
    """Views of consecutive elements of tensors of one shape."""
    flat = [tensor.reshape(-1) for tensor in tensors]
    at_once = _AT_ONCE[flat[0].device.type]
    for start in range(0, len(flat[0]), at_once):
        yield [tensor[start : start + at_once] for tensor in flat]


@torch.no_grad()
def clip_per_tensor(gradients: Mapping[str, Tensor], max_norm: float = 1.0) -> None:
    """Scale each replica's gradient of each tensor down to the norm ``max_norm``, in place.

    ``gradients`` are (R, *shape). Shorter ones stay as they are (Appendix B.4: "stochastic
    gradients of all parameter matrices are clipped with threshold 1"). What is not finite does not
    become finite. Raises ValueError unless ``max_norm`` is positive.
    """
    if not max_norm > 0:
        raise ValueError(f"max_norm {max_norm}: allowed is a positive number")
    for gradient in gradients.values():
        norms = chunked_sq_norms(gradient).sqrt_()
        # The quotient is NaN where a norm is infinite, and no overflow passes for a short gradient.
        factors = torch.where(norms <= max_norm, 1.0, max_norm / norms * (norms / norms))
        gradient.mul_(factors.to(gradient.dtype).view(-1, *[1] * (gradient.ndim - 1)))
