"""Handwritten digits as images, as sequences and as words, for networks that others wrote."""
