"""The optimisers that an experiment can choose, with the arguments that torch gives them.

They are those of `torch.optim` that update every weight by its own gradient and history alone. For
these a stack of replicas is no more than a larger tensor: one optimiser updates all replicas as
separate optimisers would. Defaults and bounds are torch's.
"""

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from pipeline_lib.study.section import Flag, NotBelowZero, Number, Share, section

Betas = tuple[Share, Share]
Decay = Annotated[Number, Field(ge=0, le=1)]


class Optimizer:
    """What all sections `optimizer` have in common."""

    kind: str
    torch_name: ClassVar[str]
    """The name of the class in `torch.optim`."""
    fused: ClassVar[bool] = False
    """Whether torch updates a tensor in one pass, which takes no temporary memory."""

    def arguments(self) -> dict[str, Any]:
        """The arguments of the class in `torch.optim`, without the learning rate."""
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]
        del plain["kind"]
        return plain

    @property
    def kept(self) -> int:
        """Numbers that are kept of each weight from one step to the next."""
        return 2

    @property
    def temporaries(self) -> int:
        """Numbers of each weight of a tensor that its update takes for the time being."""
        return 0 if self.fused else 2


@section
class Sgd(Optimizer):
    """Stochastic gradient descent; plain if nothing is given."""

    kind: Literal["sgd"] = "sgd"
    momentum: NotBelowZero = 0.0
    """Share of the last update's direction that is kept."""
    dampening: Number = 0.0
    """Share of the gradient that the momentum leaves out."""
    weight_decay: NotBelowZero = 0.0
    """Times the weight, added to its gradient."""
    nesterov: Flag = False
    """Nesterov's momentum; it needs a momentum and no dampening."""

    torch_name: ClassVar[str] = "SGD"
    fused: ClassVar[bool] = True

    @property
    def kept(self) -> int:
        return int(self.momentum > 0)


@section
class Adam(Optimizer):
    """Adam (Kingma & Ba, 2015)."""

    kind: Literal["adam"] = "adam"
    betas: Betas = (0.9, 0.999)
    """Decays of the averages of the gradient and of its square."""
    eps: NotBelowZero = 1e-8
    """Added to the denominator."""
    weight_decay: NotBelowZero = 0.0
    """Times the weight, added to its gradient."""
    amsgrad: Flag = False
    """Divide by the largest average so far (Reddi et al., 2018)."""

    torch_name: ClassVar[str] = "Adam"
    fused: ClassVar[bool] = True

    @property
    def kept(self) -> int:
        return 2 + self.amsgrad


@section
class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov & Hutter, 2019)."""

    kind: Literal["adamw"] = "adamw"
    betas: Betas = (0.9, 0.999)
    """Decays of the averages of the gradient and of its square."""
    eps: NotBelowZero = 1e-8
    """Added to the denominator."""
    weight_decay: NotBelowZero = 0.01
    """Times the learning rate, the share by which a weight shrinks at each step."""
    amsgrad: Flag = False
    """Divide by the largest average so far (Reddi et al., 2018)."""

    torch_name: ClassVar[str] = "AdamW"
    fused: ClassVar[bool] = True

    @property
    def kept(self) -> int:
        return 2 + self.amsgrad


@section
class NAdam(Optimizer):
    """Adam with Nesterov's momentum (Dozat, 2016)."""

    kind: Literal["nadam"] = "nadam"
    betas: Betas = (0.9, 0.999)
    """Decays of the averages of the gradient and of its square."""
    eps: NotBelowZero = 1e-8
    """Added to the denominator."""
    weight_decay: NotBelowZero = 0.0
    """Times the weight, added to its gradient."""
    momentum_decay: NotBelowZero = 0.004
    """Decay of the momentum."""
    decoupled_weight_decay: Flag = False
    """Weight decay as that of adamw."""

    torch_name: ClassVar[str] = "NAdam"


@section
class RAdam(Optimizer):
    """Rectified Adam (Liu et al., 2020)."""

    kind: Literal["radam"] = "radam"
    betas: Betas = (0.9, 0.999)
    """Decays of the averages of the gradient and of its square."""
    eps: NotBelowZero = 1e-8
    """Added to the denominator."""
    weight_decay: NotBelowZero = 0.0
    """Times the weight, added to its gradient."""
    decoupled_weight_decay: Flag = False
    """Weight decay as that of adamw."""

    torch_name: ClassVar[str] = "RAdam"


@section
class RMSprop(Optimizer):
    """RMSprop (Tieleman & Hinton, 2012)."""

    kind: Literal["rmsprop"] = "rmsprop"
    alpha: NotBelowZero = 0.99
    """Decay of the average of the squared gradient."""
    eps: NotBelowZero = 1e-8
    """Added to the denominator."""
    weight_decay: NotBelowZero = 0.0
    """Times the weight, added to its gradient."""
    momentum: NotBelowZero = 0.0
    """Share of the last update that is kept."""
    centered: Flag = False
    """Divide by the deviation of the gradient in place of its size."""

    torch_name: ClassVar[str] = "RMSprop"

    @property
    def kept(self) -> int:
        return 1 + (self.momentum > 0) + self.centered


@section
class Adagrad(Optimizer):
    """Adagrad (Duchi et al., 2011)."""

    kind: Literal["adagrad"] = "adagrad"
    lr_decay: NotBelowZero = 0.0
    """The rate of step t is divided by 1 + t lr_decay."""
    weight_decay: NotBelowZero = 0.0
    """Times the weight, added to its gradient."""
    initial_accumulator_value: NotBelowZero = 0.0
    """Where the sums of squared gradients start."""
    eps: NotBelowZero = 1e-10
    """Added to the denominator."""

    torch_name: ClassVar[str] = "Adagrad"

    @property
    def kept(self) -> int:
        return 1


@section
class Adamax(Optimizer):
    """Adam with the largest gradient in place of the average of squares (Kingma & Ba, 2015)."""

    kind: Literal["adamax"] = "adamax"
    betas: Betas = (0.9, 0.999)
    """Decays of the average of the gradient and of its largest size."""
    eps: NotBelowZero = 1e-8
    """Added to the gradient's size."""
    weight_decay: NotBelowZero = 0.0
    """Times the weight, added to its gradient."""

    torch_name: ClassVar[str] = "Adamax"


@section
class Adadelta(Optimizer):
    """Adadelta (Zeiler, 2012); its learning rate is 1 in that paper."""

    kind: Literal["adadelta"] = "adadelta"
    rho: Decay = 0.9
    """Decay of the averages of squares."""
    eps: NotBelowZero = 1e-6
    """Added to both averages."""
    weight_decay: NotBelowZero = 0.0
    """Times the weight, added to its gradient."""

    torch_name: ClassVar[str] = "Adadelta"


PLAIN_SGD = Sgd()
OPTIMIZERS: tuple[str, ...] = (
    "sgd",
    "adam",
    "adamw",
    "nadam",
    "radam",
    "rmsprop",
    "adagrad",
    "adamax",
    "adadelta",
)
"""The values of `optimizer.kind`."""

REFUSED = {
    "lbfgs": ("it asks for the loss again and again within a step", "adam"),
    "adafactor": ("it divides by means over rows and columns of a matrix", "adam"),
    "muon": ("it makes the update of a whole matrix orthogonal", "sgd"),
    "sparseadam": ("it takes sparse gradients", "adam"),
    "asgd": ("it lowers the learning rate by itself, against `learning_rate`", "sgd"),
    "rprop": ("it has step sizes of its own, without a learning rate, for full gradients", "adam"),
}
"""Other optimisers of `torch.optim`: why they are not offered, and the nearest that is."""


def _known(value: Any) -> Any:
    """The value, if it names an optimiser that is offered; plain SGD for nothing."""
    if value is None:  # a key with nothing below it, which an override may leave
        return PLAIN_SGD
    if isinstance(value, Optimizer) or not isinstance(value, Mapping):
        return value  # the sections check the rest
    if "kind" not in value:
        misspelt = difflib.get_close_matches("kind", map(str, value), n=1)
        told = ".kind: missing; it is required"
        if misspelt:
            told = (
                f".{misspelt[0]}: unknown key; allowed: kind and its arguments; did you mean kind?"
            )
        raise PydanticCustomError("told", "{told}", {"told": told})
    kind = value["kind"]
    if kind in OPTIMIZERS:
        return value
    name = str(kind).lower().replace("_", "").replace("-", "")
    allowed = ", ".join(OPTIMIZERS)
    if name in REFUSED:
        reason, nearest = REFUSED[name]
        text = f"{kind} cannot train replicas side by side: {reason}"
    else:
        close = difflib.get_close_matches(name, OPTIMIZERS, n=1)
        text, nearest = f"{kind!r} is no optimiser that is known here", close[0] if close else ""
    hint = f"; the nearest is {nearest}" if nearest else ""
    raise PydanticCustomError(
        "told", ".kind: {text}", {"text": f"{text}; allowed: {allowed}{hint}"}
    )


AnyOptimizer = Annotated[
    Annotated[
        Sgd | Adam | AdamW | NAdam | RAdam | RMSprop | Adagrad | Adamax | Adadelta,
        Field(discriminator="kind"),
    ],
    BeforeValidator(_known),
]
