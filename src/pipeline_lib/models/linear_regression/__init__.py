"""Least squares with an intercept (Section 4.1 of the paper), by plain SGD."""

from pipeline_lib.models.linear_regression.settings import LinearRegression

__all__ = ["LinearRegression"]
