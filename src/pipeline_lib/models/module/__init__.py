"""Any ``torch.nn.Module``, loss and data set of the user's own."""

from pipeline_lib.models.module.settings import OwnModule

__all__ = ["OwnModule"]
