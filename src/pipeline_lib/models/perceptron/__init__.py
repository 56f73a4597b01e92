"""Fully connected networks on labelled images (Section 4.3 of the paper)."""

from pipeline_lib.models.perceptron.settings import Perceptron

__all__ = ["Perceptron"]
