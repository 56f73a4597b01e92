"""What the values of an experiment do not allow together, though each is allowed."""

from pipeline_lib.errors import ConfigError
from pipeline_lib.sampling.names import DRAWN_GIVEN_PAST, FINITE
from pipeline_lib.study.experiment import EpochExperiment, Experiment, IterationExperiment
from pipeline_lib.study.optimizers import PLAIN_SGD, Sgd
from pipeline_lib.study.settings import Polynomial

MOST_BLOCKS = 100_000  # training jobs of one experiment; Snakemake plans some hundred a second
# Why a way of drawing mini-batches does not go with a kind of model.
_REASON = {
    "online": ", whose examples are a finite set",
    **dict.fromkeys(FINITE, ", whose examples are never seen twice"),
}


def check_experiment(where: str, experiment: Experiment) -> None:
    """ConfigError for what each value allows but all of them together do not."""
    model = experiment.model
    kind = f"a model of kind {model.kind}"
    scale = experiment.initial_weights.scale
    if model.needs_scale and scale is None:
        raise ConfigError(f"{where}.initial_weights.scale: missing; {kind} needs it")
    if not model.needs_scale and scale is not None:
        raise ConfigError(
            f"{where}.initial_weights.scale: {scale} is not for {kind}, which draws its weights "
            "itself; allowed: count, seed"
        )
    _check_updates(where, experiment, kind)
    if experiment.runs % experiment.runs_per_block:
        raise ConfigError(
            f"{where}.runs: {experiment.runs} is not whole blocks; "
            f"allowed: multiples of runs_per_block = {experiment.runs_per_block}"
        )
    draws, sizes = experiment.initial_weights.count, len(experiment.batch_sizes)
    jobs = draws * sizes * len(experiment.blocks)
    if jobs > MOST_BLOCKS:
        raise ConfigError(
            f"{where}.runs_per_block: {experiment.runs_per_block} makes {jobs:,} training jobs "
            f"({draws:,} initial weights, {sizes} batch sizes, {len(experiment.blocks):,} blocks "
            f"of runs); allowed: at most {MOST_BLOCKS:,} jobs"
        )
    if isinstance(experiment, IterationExperiment) and experiment.polynomial is not None:
        _check_polynomial(where, experiment, experiment.polynomial)
    if isinstance(experiment, EpochExperiment):
        _check_averaged(where, experiment)
    model.check(where, experiment)


def check_known(experiment: Experiment, n: int | None = None) -> None:
    """ConfigError for what ``n`` training examples, if they are known, do not allow.

    That is batch sizes above them and rates that cannot be for so many steps. A schedule of the
    user's own is called; this is for the process that plans the study.
    """
    where = f"config: experiments.{experiment.name}"
    if n is not None:
        check_batch_sizes(where, experiment.batch_sizes, n, "training examples of the dataset")
    for steps in _known_steps(experiment, n):
        experiment.learning_rate.warmup_steps(f"{where}.learning_rate.warmup", steps)
        if experiment.learning_rate.is_own:
            experiment.learning_rate.try_own(f"{where}.learning_rate.schedule", steps)


def _known_steps(experiment: Experiment, n: int | None = None) -> list[int]:
    """Steps of a run, by batch size in epochs; none where the data decide and are not known yet."""
    if isinstance(experiment, IterationExperiment):
        return [experiment.iterations]
    assert isinstance(experiment, EpochExperiment)
    n = experiment.model.known_examples() if n is None else n
    return [] if n is None else [experiment.steps(n, b) for b in experiment.batch_sizes if b <= n]


def _check_updates(where: str, experiment: Experiment, kind: str) -> None:
    model, optimizer, sampling = experiment.model, experiment.optimizer, experiment.sampled
    if sampling not in model.samplings:
        raise ConfigError(
            f"{where}.sampling: {sampling} is not for {kind}{_REASON.get(sampling, '')}; "
            f"allowed: {', '.join(model.samplings)}"
        )
    mistake = experiment.learning_rate.mistake()
    if mistake is not None:
        key, text = mistake
        raise ConfigError(f"{where}.learning_rate.{key}: {text}")
    for steps in _known_steps(experiment):
        experiment.learning_rate.warmup_steps(f"{where}.learning_rate.warmup", steps)
    if optimizer != PLAIN_SGD and optimizer.kind not in model.optimizers:
        raise ConfigError(
            f"{where}.optimizer: {optimizer.kind} is not for {kind}; "
            f"allowed: {', '.join(model.optimizers) or 'plain SGD, which is sgd alone'}"
        )
    if (
        isinstance(optimizer, Sgd)
        and optimizer.nesterov
        and (optimizer.momentum == 0 or optimizer.dampening != 0)
    ):
        raise ConfigError(
            f"{where}.optimizer.nesterov: true with momentum {optimizer.momentum} and "
            f"dampening {optimizer.dampening}; allowed: with a momentum and no dampening"
        )
    if experiment.clipping is not None and not model.clips:
        raise ConfigError(f"{where}.clipping: not for {kind}, which does not clip; allowed: none")


def _check_polynomial(where: str, experiment: IterationExperiment, fit: Polynomial) -> None:
    reason = experiment.model.uncovered(experiment)
    if reason is None and experiment.sampled != "fresh":
        reason = f"fits are in c_b, and mini-batches are drawn {experiment.sampled}"
    if reason is not None:
        raise ConfigError(
            f"{where}.polynomial: {reason}; allowed: none, or plain SGD on mini-batches drawn fresh"
        )
    try:
        experiment.learning_rate.exact(1)
    except ValueError as error:
        raise ConfigError(
            f"{where}.polynomial: {error}; allowed: none, or the schedules constant, inverse_time "
            "and step"
        ) from None
    last = fit.steps[-1]
    if last >= experiment.iterations:
        raise ConfigError(
            f"{where}.polynomial.steps: {last} is not a recorded step; "
            f"allowed: 0 to iterations - 1 = {experiment.iterations - 1}"
        )
    if experiment.runs - len(experiment.blocks) < 2:  # degrees of freedom, see `inference`
        raise ConfigError(
            f"{where}.runs: {experiment.runs} have no standard error, by which a fit weighs its "
            "points; allowed: at least 3 with polynomial"
        )
    needed = fit.degree + 2
    if len(experiment.batch_sizes) < needed:
        raise ConfigError(
            f"{where}.polynomial.degree: {fit.degree} needs at least {needed} "
            f"batch sizes to fit and to judge the fit, got {len(experiment.batch_sizes)}"
        )


def _check_averaged(where: str, experiment: EpochExperiment) -> None:
    """ConfigError if mini-batches are no draws, or larger than the examples averaged over."""
    averaged, largest = experiment.rao_blackwell, experiment.batch_sizes[-1]
    if averaged is None:
        return
    if experiment.sampled not in DRAWN_GIVEN_PAST:
        raise ConfigError(
            f"{where}.rao_blackwell: sampling {experiment.sampled} draws no mini-batch after its "
            f"first epoch; allowed with: {', '.join(DRAWN_GIVEN_PAST)}"
        )
    most = averaged.most(largest)
    if most is not None and most < largest:
        raise ConfigError(
            f"{where}.rao_blackwell.examples: {most} is below the largest batch size; "
            f"allowed: all, or at least {largest}"
        )


def check_batch_sizes(where: str, batch_sizes: tuple[int, ...], most: int, of_what: str) -> None:
    """ConfigError if the largest batch size is above ``most``; ``of_what`` names these examples."""
    if batch_sizes[-1] > most:
        raise ConfigError(
            f"{where}.batch_sizes: {batch_sizes[-1]} is above the {most} {of_what}; "
            f"allowed: 1 to {most}"
        )
