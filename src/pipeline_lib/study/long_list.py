"""Long lists among the parameters of jobs."""

from typing import TypeVar

from pipeline_lib.artifacts.digest import digest

Value = TypeVar("Value", str, float)


class LongList(list[Value]):
    """A list that prints as its length and a digest of its values.

    Snakemake compares parameters by what they print as, and prints both where they differ:
    thousands of learning rates would bury what it says.
    """

    def __repr__(self) -> str:
        return f"<{len(self):,} values, {digest({'values': list(self)})}>"
