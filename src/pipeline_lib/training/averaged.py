"""Variances averaged over the mini-batches that could have been drawn, for any network.

Given F_t, all that came before step t, the mini-batch is a uniform b-subset of m examples: all of
the data where it is drawn afresh, those that the epoch has left in epochs. M of them, chosen at
random, have gradients with mean G and sample variance V (divisor M - 1). Lemma 1 holds for any loss
that is a mean over examples, on any set, so

    var(g_t | F_t) = (1/b - 1/m) E[V | F_t],    var(G | F_t) = (1/M - 1/m) E[V | F_t],

and var(g_t | F_0) = E[(1/b - 1/M) V] + var(G | F_0): estimated by the mean over runs of the first
and the sample variance over runs of G, without bias for every M from b to m. M = b with the
mini-batch itself is the plain estimator. Draws with replacement have (1 - 1/m)/b in place of
1/b - 1/m.

Random layers, such as dropout, draw for each example. With s^2 the variance of one example's
gradient that comes from these draws, V estimates their sum with that between examples, and s^2/m is
added to both variances above: their difference, and with it the estimate, is the same. Only
|grad L|^2 and its variance, and draws with replacement, need s^2 itself.
"""

from dataclasses import dataclass

from pipeline_lib.estimation.statistics import FULL
from pipeline_lib.training.gradient_records import named_sums, summed, tensor_moments
from pipeline_lib.training.labelled import ExampleMoments
from pipeline_lib.training.report import Report


@dataclass(frozen=True)
class Draw:
    """``b`` examples drawn out of ``left``, of which ``chosen`` tell the variance."""

    b: int
    chosen: int
    left: int
    with_replacement: bool = False


def averaged_report(examples: ExampleMoments, draw: Draw, per_tensor: bool) -> Report:
    """The report of a step whose mini-batch could have been any of ``draw``.

    Its full gradient is G, the mean over the chosen examples; see `pipeline_lib.training.report`.
    """
    b, chosen, left = draw.b, draw.chosen, draw.left
    of_means = tensor_moments(examples.gradients)
    # A single example is the mini-batch and all that is left: nothing varies given F_t.
    unbiased = chosen / (chosen - 1) if chosen > 1 else 0.0
    trace = summed(
        {
            name: unbiased * (norms - of_means[name]["sq_norms"])
            for name, norms in examples.sq_norms.items()
        },
        per_tensor,
    )
    noise = summed(examples.own_noise, per_tensor)
    of_batch, of_noise = 1 / b - 1 / left, 1 / left
    if draw.with_replacement:
        of_batch, of_noise = (1 - 1 / left) / b, 1 / (left * b)
    conditional = {name: of_batch * v + of_noise * noise.get(name, 0) for name, v in trace.items()}
    of_chosen = 1 / chosen - 1 / left
    excess = {name: of_chosen * v + noise.get(name, 0) / left for name, v in trace.items()}
    return Report(named_sums(FULL, of_means, per_tensor), conditional, excess, trace)
