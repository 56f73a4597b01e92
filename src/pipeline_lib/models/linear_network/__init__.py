"""Linear networks that learn a teacher from online samples (Section 3.2 of the paper)."""

from pipeline_lib.models.linear_network.settings import LinearNetwork

__all__ = ["LinearNetwork"]
