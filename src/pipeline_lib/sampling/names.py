"""The ways of drawing mini-batches, by name. Light: planning a study reads them too."""

from typing import Literal

Sampling = Literal["fresh", "with_replacement", "epochs", "shuffled_once", "online"]
"""`fresh`: uniform without replacement, afresh at every step. `with_replacement`: every example
uniform by itself. `epochs`: each epoch visits the examples once, in an order of its own.
`shuffled_once`: in the order of the first epoch. `online`: examples that were never seen before."""

FINITE: tuple[Sampling, ...] = ("epochs", "shuffled_once", "fresh", "with_replacement")
"""Those from a finite set of examples."""
IN_EPOCHS: tuple[Sampling, ...] = ("epochs", "shuffled_once")
"""Those that visit each example once in an epoch."""
DRAWN_GIVEN_PAST: tuple[Sampling, ...] = ("epochs", "fresh", "with_replacement")
"""Those of a finite set whose every mini-batch is a random draw, whatever came before."""
