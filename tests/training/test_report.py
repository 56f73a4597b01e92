"""Records of steps: what becomes of a step does not depend on those recorded with it."""

import numpy as np
import torch

from pipeline_lib.estimation.statistics import ALL, STOCHASTIC
from pipeline_lib.training.loop import step_moments
from pipeline_lib.training.report import Report, gather_record


def test_a_step_alone_in_its_record_is_rounded_as_among_others():
    """Of many tensors, whose sum depends on the order in which they are added."""
    generator = torch.Generator().manual_seed(2)
    reports = []
    for _ in range(40):
        gradients = {
            f"w{k}": torch.randn(3, 5, generator=generator, dtype=torch.double) for k in range(30)
        }
        variances = {name: gradient.var(dim=1) for name, gradient in gradients.items()}
        reports.append(Report(step_moments(STOCHASTIC, gradients), variances))
    together = gather_record(np.arange(40), reports)
    for step, report in enumerate(reports):
        alone = gather_record(np.array([step]), [report])
        one, other = (record.moments[STOCHASTIC, ALL] for record in (alone, together))
        for name in ("mean_sq_norm", "sq_norm_of_mean", "sq_deviations"):
            assert np.array_equal(getattr(one, name)[0], getattr(other, name)[step]), name
        assert np.array_equal(alone.conditional[ALL][0], together.conditional[ALL][step])
