"""The kinds of models, one folder each.

Importing this package imports the light half of every kind and neither torch nor numba.
"""

from collections.abc import Mapping

from pipeline_lib.models.linear_network import LinearNetwork
from pipeline_lib.models.linear_regression import LinearRegression
from pipeline_lib.models.module import OwnModule
from pipeline_lib.models.perceptron import Perceptron
from pipeline_lib.models.transformer import Transformer
from pipeline_lib.study.model import Model

MODELS: Mapping[str, type[Model]] = {
    "linear_regression": LinearRegression,
    "linear_network": LinearNetwork,
    "perceptron": Perceptron,
    "transformer": Transformer,
    "module": OwnModule,
}
"""The kinds by the value of ``model.kind``."""

__all__ = [
    "MODELS",
    "LinearNetwork",
    "LinearRegression",
    "OwnModule",
    "Perceptron",
    "Transformer",
]
