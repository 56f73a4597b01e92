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
from pipeline_lib.training.flat import FlatTensors
from pipeline_lib.training.gradient_records import sq_norms_by_tensor
from pipeline_lib.training.memory import NUMBERS_AT_ONCE

# Numbers of a buffer in one update that takes no temporaries: few enough to be counted in 32 bits.
_MOST_AT_ONCE = 2**30


class Update:
    """Clipping and one optimiser of a stack of replicas.

    Args:
        parameters: tensors (R, *shape) by name, updated in place. They are contiguous, or they are
            `FlatTensors`, and so are their gradients.
        optimizer: without it plain SGD, ``w <- w - rate * gradient``.

    Raises ValueError if a parameter is not contiguous.
    """

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        optimizer: Optimizer = PLAIN_SGD,
        clipping: Clipping | None = None,
    ) -> None:
        is_flat = isinstance(parameters, FlatTensors)
        strided = [n for n, p in parameters.items() if not (is_flat or p.is_contiguous())]
        if strided:
            raise ValueError(f"parameters {strided} are not contiguous")
        self.clipping = clipping
        self._is_fused = optimizer.fused
        self._names = list(parameters)
        self._parameters = self._pieces(parameters)
        self._optimizer: torch.optim.Optimizer | None = None
        if optimizer != PLAIN_SGD:
            # One pass without temporaries where torch has one; else one tensor after the other,
            # for whose temporaries there is memory.
            way = {"fused": True} if optimizer.fused else {"foreach": False}
            make = getattr(torch.optim, optimizer.torch_name)
            self._optimizer = make(self._parameters, **optimizer.arguments(), **way)

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
        pieces = self._pieces(gradients)
        if self._optimizer is None:
            for parameter, gradient in zip(self._parameters, pieces, strict=True):
                parameter.sub_(gradient, alpha=learning_rate)
            return
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        for parameter, gradient in zip(self._parameters, pieces, strict=True):
            parameter.grad = gradient.contiguous()
        self._optimizer.step()
        # Fused updates leave the version as it was, by which a stack knows that weights are new.
        torch.autograd.graph.increment_version(self._parameters)
        for parameter in self._parameters:
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
        for number, parameter in enumerate(self._parameters):
            for key, value in state.get(str(number), {}).items():
                # Single numbers stay on the CPU unless the update is one kernel on the device.
                on_device = self._is_fused or value.shape == parameter.shape
                kept = value.to(parameter.device if on_device else "cpu")
                self._optimizer.state[parameter][key] = kept

    def _pieces(self, tensors: Mapping[str, Tensor]) -> list[Tensor]:
        """What is updated as one tensor: that of each name, or as much of a buffer as can be.

        Where pieces are cut does not matter to updates of single elements.
        """
        if not isinstance(tensors, FlatTensors):
            return [tensors[name] for name in self._names]
        most = _MOST_AT_ONCE if self._is_fused else NUMBERS_AT_ONCE
        return list(torch.split(tensors.flat.view(-1), most))


@torch.no_grad()
def clip(gradients: Mapping[str, Tensor], clipping: Clipping) -> None:
    """Shorten each replica's gradient of each tensor, or of all together, to a norm, in place.

    ``gradients`` are (R, *shape). Shorter ones stay as they are (Appendix B.4: "stochastic
    gradients of all parameter matrices are clipped with threshold 1"). What is not finite does not
    become finite.
    """
    squares = sq_norms_by_tensor(gradients)
    if clipping.of == "whole":
        squares = squares.sum(dim=1, keepdim=True)
    norms = squares.sqrt()
    # The quotient is NaN where a norm is infinite, and no overflow passes for a short gradient.
    longer = clipping.norm / norms * (norms / norms)
    factors = torch.where(norms <= clipping.norm, 1.0, longer)
    if isinstance(gradients, FlatTensors):
        gradients.scale(factors)
        return
    of_tensors = factors.expand(-1, len(gradients)).unbind(dim=1)
    for gradient, of_tensor in zip(gradients.values(), of_tensors, strict=True):
        gradient.mul_(of_tensor.to(gradient.dtype).view(-1, *[1] * (gradient.ndim - 1)))
