"""A transformer that classifies reviews (Sections 4.4 and B.4 of the paper)."""

from pipeline_lib.models.transformer.settings import Transformer

__all__ = ["Transformer"]
