"""Variance of stochastic gradients against the mini-batch size: exact and simulated."""
