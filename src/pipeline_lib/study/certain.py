"""What theory says of an experiment's runs before they are trained."""

from pipeline_lib.estimation.certain import Certain
from pipeline_lib.sampling.epochs import steps_per_epoch
from pipeline_lib.study.experiment import EpochExperiment, Experiment, IterationExperiment


def certain_of(experiment: Experiment, batch_size: int, n_rows: int | None) -> Certain:
    """Of the runs at ``batch_size`` on data of ``n_rows``, None where examples are drawn online.

    A warm-up begins with a rate of 0, so that the second step too is taken with the initial
    weights. A mini-batch is the whole data set if it holds n_rows different examples. Networks that
    average over examples know their first step only if they take all of them and nothing else is
    random, and later ones not where an epoch has fewer left.
    """
    iterations = 0
    if isinstance(experiment, IterationExperiment):
        iterations = experiment.iterations
    elif isinstance(experiment, EpochExperiment) and n_rows is not None and batch_size <= n_rows:
        per_epoch = steps_per_epoch(n_rows, batch_size, experiment.last_batch)
        iterations = experiment.epochs * per_epoch
    starts_at_zero = iterations > 0 and experiment.learning_rate.starts_at_zero(iterations)
    shared_steps = 2 if starts_at_zero else 1
    if isinstance(experiment, EpochExperiment) and experiment.is_averaged:
        in_all = n_rows is not None and experiment.averaged_examples(batch_size, n_rows) >= n_rows
        if not (in_all and experiment.model.only_batches_random):
            shared_steps = 0
        elif experiment.sampled == "epochs":
            shared_steps = 1
    return Certain(
        shared_steps,
        n_rows is not None
        and batch_size >= n_rows
        and experiment.sampled != "with_replacement"
        and experiment.model.only_batches_random,
    )
