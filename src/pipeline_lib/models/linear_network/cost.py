"""What a block of linear networks costs."""

from collections.abc import Sequence
from itertools import pairwise

from pipeline_lib.estimation.control_variates import enough_runs
from pipeline_lib.models.linear_network.settings import LinearNetwork
from pipeline_lib.study.cost import (
    ITEMSIZE,
    ROW_IN_MEMORY,
    STATISTICS,
    UPDATE,
    BlockCost,
    file_bytes,
    saved_table_bytes,
)
from pipeline_lib.study.experiment import Experiment, IterationExperiment
from pipeline_lib.study.optimizers import Sgd


def multiply_adds(layers: Sequence[int], batch_size: int, reduced: bool = True) -> int:
    """Multiply-adds of one step of one linear network with these widths.

    Of two layers, hidden units are ``reduced`` to p + p2 or all trained, and of the two forms of a
    mini-batch the cheaper is taken:
    `pipeline_lib.models.linear_network.two_layer.multiplications` gives each term. Deeper networks
    go forward and back through the layers, for the mini-batch and again for the population.
    """
    if len(layers) > 3:
        sizes = [inputs * outputs for inputs, outputs in pairwise(layers)]
        of_batch = batch_size * (3 * sum(sizes) - sizes[0] + layers[0] * layers[-1])
        return of_batch + layers[0] * 3 * sum(sizes)
    p, p1, p2 = layers
    hidden = min(p1, p + p2) if reduced else p1
    inputs = batch_size * (p * (p2 + 2 * hidden) + hidden * (p + p2))
    moment = p * p * (min(batch_size, p) + p2 + hidden) + p2 * hidden * p
    return 3 * p2 * hidden * p + min(inputs, moment)


def n_parameters(layers: Sequence[int], reduced: bool = True) -> int:
    """Weights of a network as it is trained, its hidden units ``reduced`` if it has two layers."""
    if len(layers) > 3 or not reduced:
        return sum(inputs * outputs for inputs, outputs in pairwise(layers))
    p, p1, p2 = layers
    return min(p1, p + p2) * (p + p2)


def block_cost(model: LinearNetwork, experiment: Experiment, b: int, threads: int) -> BlockCost:
    """The cost of one block at batch size ``b``."""
    assert isinstance(experiment, IterationExperiment)
    replicas, steps = experiment.runs_per_block, experiment.iterations
    optimizer = experiment.optimizer
    reduced = isinstance(optimizer, Sgd)
    parameters = n_parameters(model.layers, reduced)
    p = model.layers[0]
    # Two gradients, stochastic and of the population, are summarised.
    step = 2 * multiply_adds(model.layers, b, reduced) + 2 * parameters * STATISTICS
    step += 0 if experiment.is_plain else parameters * UPDATE
    groups = -(-replicas // model.replicas_at_once)
    at_once = min(threads, groups) * min(model.replicas_at_once, replicas)
    # Weights and both pairs of gradients; the mini-batch, its moment and the factor of the moment.
    lasting = 3 + optimizer.kept + optimizer.temporaries
    numbers = at_once * (lasting * parameters + p * (b + 3 * p))
    # Each matrix and all together: two estimators of one gradient, one of each other.
    rows = (3 + (experiment.clipping is not None)) * len(model.layers) * steps
    of_noise = len(model.layers) * steps
    # Every group's table stays until they are pooled, which stacks them.
    tables = (2 * groups + 3) * (rows + of_noise) * ROW_IN_MEMORY
    # What control variates need of single runs: four numbers a matrix, in the end five times over.
    matrices = len(model.layers) - 1
    of_runs = 4 * matrices * steps * replicas * 8 if enough_runs(replicas, matrices) else 0
    resident = numbers * ITEMSIZE[model.dtype] + tables + 5 * of_runs
    written = (
        file_bytes("statistics", rows) + file_bytes("divergence", 0) + file_bytes("noise", of_noise)
    )
    saved = groups * (saved_table_bytes("statistics", rows) + saved_table_bytes("noise", of_noise))
    checkpoint = (
        at_once * (1 + optimizer.kept) * parameters * ITEMSIZE[model.dtype] + saved + of_runs
    )
    operations = float(replicas * steps * step)
    return BlockCost(steps, replicas, groups, groups, operations, resident, written, checkpoint)
