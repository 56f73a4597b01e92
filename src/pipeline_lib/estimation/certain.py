"""Where theory says that an estimate has no error, whatever its runs show.

Contributions of runs that do not differ have a spread of 0. That is no standard error: where a
gradient is 0 in all but a few runs, few runs see nothing else. So a spread of 0 is taken as
certainty only where no run could have differed.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline_lib.estimation.statistics import FULL

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Certain:
    """What is known of the runs of one batch size before they are trained.

    shared_steps: how many of the first steps are taken with the initial weights, which all runs
        share: 1, and one more for each learning rate of 0 that they begin with.
    whole_batches: whether every mini-batch is the whole data set and nothing else is random, so
        that all runs are the same (c_b = 0).
    """

    shared_steps: int = 1
    whole_batches: bool = False

    def rows(self, table: pd.DataFrame) -> Bools:
        """Which rows have no error; ``table`` has the columns step, quantity and estimator.

        At shared weights these are the full gradient, whose variance is 0, and the Rao–Blackwell
        form, which is var(g_t | F_0) itself.
        """
        if self.whole_batches:
            return np.ones(len(table), np.bool_)
        shared = table["step"] < self.shared_steps
        exact = (table["quantity"] == FULL) | (table["estimator"] == "rao_blackwell")
        return (shared & exact).to_numpy(np.bool_)
