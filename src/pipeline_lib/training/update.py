"""How the gradients of R replicas become an update of their weights: clipping, then an optimiser.

Every operation is one of single elements or of one replica's tensors, so replicas do not mix: an
optimiser of `torch.optim` that updates each element by itself takes the stack as it is.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pipeline_lib.study.optimizers import PLAIN_SGD, Optimizer
from pipeline_lib.study.settings import Clipping
from pipeline_lib.training.gradient_records import chunked_sq_norms


class Update:
    """Clipping and one optimiser of a stack of replicas.

    Args:
        parameters: tensors (R, *shape) by name, contiguous, updated in place.
        optimizer: without it plain SGD, ``w <- w - rate * gradient``.

    Raises ValueError if a parameter is not contiguous.
    """

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        optimizer: Optimizer = PLAIN_SGD,
        clipping: Clipping | None = None,
    ) -> None:
        strided = [name for name, p in parameters.items() if not p.is_contiguous()]
        if strided:
            raise ValueError(f"parameters {strided} are not contiguous")
        self.clipping = clipping
        self._parameters = parameters
        self._optimizer: torch.optim.Optimizer | None = None
        self._is_fused = optimizer.fused
        if optimizer != PLAIN_SGD:
            # One pass without temporaries where torch has one; else one tensor after the other,
            # for whose temporaries there is memory.
            way = {"fused": True} if optimizer.fused else {"foreach": False}
            make = getattr(torch.optim, optimizer.torch_name)
            self._optimizer = make(list(parameters.values()), **optimizer.arguments(), **way)

    @property
    def is_plain(self) -> bool:
        """Whether this is plain SGD, which a stack may fuse with its gradients."""
        return self._optimizer is None and self.clipping is None

    def clip(self, gradients: Mapping[str, Tensor]) -> None:
        """Shorten the gradients (R, *shape), in place, if they are to be clipped."""
        if self.clipping is not None:
            clip(gradients, self.clipping)

    @torch.no_grad()
    def step(self, gradients: Mapping[str, Tensor], learning_rate: float) -> None:
        """Update every parameter by its gradient, (R, *shape), which has been clipped."""
        if self._optimizer is None:
            for name, gradient in gradients.items():
                self._parameters[name].sub_(gradient, alpha=learning_rate)
            return
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        for name, parameter in self._parameters.items():
            parameter.grad = gradients[name].contiguous()
        self._optimizer.step()
        # Fused updates leave the version as it was, by which a stack knows that weights are new.
        torch.autograd.graph.increment_version(list(self._parameters.values()))
        for parameter in self._parameters.values():
            parameter.grad = None  # the memory is the stack's

    def state(self) -> dict[str, Any]:
        """What `restore` takes; the tensors are those in use, not copies."""
        if self._optimizer is None:
            return {}
        kept = self._optimizer.state_dict()["state"]
        return {
            str(number): {key: value for key, value in of_tensor.items() if value is not None}
            for number, of_tensor in kept.items()
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave; its tensors are taken over."""
        if self._optimizer is None:
            return
        # Not `load_state_dict`, which rounds a single number to the precision of the weights.
        for number, parameter in enumerate(self._parameters.values()):
            for key, value in state.get(str(number), {}).items():
                # Single numbers stay on the CPU unless the update is one kernel on the device.
                on_device = self._is_fused or value.shape == parameter.shape
                kept = value.to(parameter.device if on_device else "cpu")
                self._optimizer.state[parameter][key] = kept


@torch.no_grad()
def clip(gradients: Mapping[str, Tensor], clipping: Clipping) -> None:
    """Shorten each replica's gradient of each tensor, or of all together, to a norm, in place.

    ``gradients`` are (R, *shape). Shorter ones stay as they are (Appendix B.4: "stochastic
    gradients of all parameter matrices are clipped with threshold 1"). What is not finite does not
    become finite.
    """
    squares = {name: chunked_sq_norms(gradient) for name, gradient in gradients.items()}
    if clipping.of == "whole":
        total = torch.stack(list(squares.values())).sum(dim=0)
        squares = dict.fromkeys(squares, total)
    for name, gradient in gradients.items():
        norms = squares[name].sqrt()
        # The quotient is NaN where a norm is infinite, and no overflow passes for a short gradient.
        longer = clipping.norm / norms * (norms / norms)
        factors = torch.where(norms <= clipping.norm, 1.0, longer)
        gradient.mul_(factors.to(gradient.dtype).view(-1, *[1] * (gradient.ndim - 1)))
