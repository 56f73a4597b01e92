"""What theory says of an experiment's runs, against the plans and rates that training follows."""

import dataclasses

import numpy as np
import pytest
import yaml

from pipeline_lib.models import MODELS
from pipeline_lib.sampling.epochs import EpochSampler, steps_per_epoch
from pipeline_lib.study.certain import certain_of
from pipeline_lib.study.config import load_study
from pipeline_lib.study.settings import RaoBlackwell


@pytest.fixture(scope="module")
def experiments(repository):
    raw = yaml.safe_load((repository / "config.yaml").read_text())
    return load_study(raw | {"scale": "paper"}, MODELS).experiments


def test_batches_of_all_rows_are_the_data_set(experiments):
    admission = experiments["admission"]
    assert [certain_of(admission, b, 500).whole_batches for b in (4, 499, 500)] == [0, 0, 1]
    twice = dataclasses.replace(admission, sampling="with_replacement")
    assert not certain_of(twice, 500, 500).whole_batches
    for sampling in ("epochs", "shuffled_once"):
        ordered = dataclasses.replace(admission, sampling=sampling)
        assert certain_of(ordered, 500, 500).whole_batches
    assert not certain_of(experiments["teacher_student"], 512, None).whole_batches
    # dropout is drawn anew for every run, whatever the batch
    assert not certain_of(experiments["yelp"], 500, 500).whole_batches
    assert certain_of(experiments["mnist"], 500, 500).whole_batches


def test_runs_share_their_weights_until_a_rate_is_not_zero(experiments):
    yelp = dataclasses.replace(experiments["yelp"], rao_blackwell=None)
    for share in (0.0, 1e-9, 0.1):
        rate = dataclasses.replace(yelp.learning_rate, warmup=share)
        one = dataclasses.replace(yelp, learning_rate=rate)
        n_steps = one.epochs * steps_per_epoch(100, 8, one.last_batch)
        moved = int(np.flatnonzero(rate.values(n_steps))[0])  # the first step that moves weights
        assert certain_of(one, 8, 100).shared_steps == moved + 1
    assert certain_of(experiments["admission"], 8, 500).shared_steps == 1


def test_examples_that_stand_for_all_leave_nothing_certain(experiments):
    mnist, everything = experiments["mnist"], RaoBlackwell("all")
    assert certain_of(mnist, 64, 60_000).shared_steps == 0
    of_all = dataclasses.replace(mnist, rao_blackwell=everything)
    assert certain_of(of_all, 64, 60_000).shared_steps == 1
    # Dropout is random whatever the examples.
    yelp = dataclasses.replace(experiments["yelp"], rao_blackwell=everything)
    assert certain_of(yelp, 32, 10_000).shared_steps == 0


@pytest.mark.parametrize("last_batch", ["keep", "drop"])
def test_an_epoch_has_as_many_steps_as_its_sampler(last_batch):
    for n, b in ((10, 3), (9, 3), (10, 10), (10, 1)):
        sampler = EpochSampler(n, b, 2, np.random.SeedSequence(0), last_batch)
        whole, rest = divmod(n, b)
        assert sampler.steps_per_epoch == whole + (rest > 0 and last_batch == "keep")
        assert sampler.steps_per_epoch == steps_per_epoch(n, b, last_batch)
        assert sampler.batch_sizes_of_epoch.sum() == (n if last_batch == "keep" else whole * b)
